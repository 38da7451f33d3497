"""The way from a URL to where it leads: redirects and playlist entries under one rule. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urldefrag, urljoin

from streamrec import egress
from streamrec.egress import Credentials, StreamUrl
from streamrec.errors import Invalid
from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused

MOST_HOPS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAFE: Final = "%/:?=&;+$,@!*'()~[]-._"
_PLAIN: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*(?:\?[\w.~=&%-]*)?", re.ASCII)
"""A relative path without anything to normalise, as most segments of a playlist have it."""


class Trail:
    """Where a request began, and where it has been since.

    Where it leads is only parsed here; whether that may be connected to, `dial` decides at every hop.
    """

    def __init__(self, start: StreamUrl, credentials: Credentials | None = None) -> None:
        self.start = start
        self.url = start
        self._credentials = credentials
        self._seen = {start.url}

    @property
    def credentials(self) -> Credentials | None:
        """Those of the start, while we are at the same server; None anywhere else."""
        return self._credentials if self.url.is_same_server(self.start) else None

    def follow(self, location: str) -> None:
        """Move to where a redirect or a playlist points, relative to where we are.

        Raises Refused: `source_error` for a loop or more than MOST_HOPS, `unsupported` for anything but http(s).
        """
        url = resolve(self.url, location)
        if url.url in self._seen:
            raise Refused(GapReason.SOURCE_ERROR, "The server redirects in a circle.")
        if len(self._seen) > MOST_HOPS:
            raise Refused(GapReason.SOURCE_ERROR, "The server redirects too often.")
        self._seen.add(url.url)
        self.url = url


def resolve(base: StreamUrl, reference: str) -> StreamUrl:
    """The http or https URL that `reference` means when found at `base`, without fragment.

    Bytes that a URL may not have are percent-encoded, as browsers do. A user name in it is not used.

    Raises Refused: `unsupported`.
    """
    folder = base.url.partition("?")[0].rpartition("/")[0]
    if _PLAIN.fullmatch(reference) and folder.count("/") > 1 and "/." not in folder:
        return _beside(base, f"{folder}/{reference}")
    try:
        text = quote(urldefrag(reference.strip()).url, safe=_SAFE, encoding="utf-8", errors="replace")
        url = egress.parse(urljoin(base.url, text))
    except (Invalid, ValueError):
        raise Refused(GapReason.UNSUPPORTED, "The server leads to an address that cannot be used.") from None
    if url.scheme not in {"http", "https"}:
        raise Refused(GapReason.UNSUPPORTED, f"The server leads to a {url.scheme} address.")
    return url


def _beside(base: StreamUrl, url: str) -> StreamUrl:
    """Another address on the same server, put together of what was checked, for a tenth of the price."""
    if len(url) > egress.MAX_URL_LENGTH:
        raise Refused(GapReason.UNSUPPORTED, "The server leads to an address that cannot be used.")
    return StreamUrl(url, base.scheme, base.host, base.port, credentials=None, has_userinfo=False)
