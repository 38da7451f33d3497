"""An answer's head: HTTP/1.0, HTTP/1.1 and SHOUTcast's `ICY 200 OK`, bounded."""

from __future__ import annotations

import asyncio
import http
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from streamrec import clock
from streamrec.models import GapReason
from streamrec.recorder.fetch import wire
from streamrec.recorder.fetch.errors import Refused

HEAD_BYTES: Final = 16_384
HEAD_LINES: Final = 100
HEAD_SECONDS: Final = 5.0

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"(HTTP/1\.[01]|ICY) +(\d{3})(?: +([^\r\n]*))?", re.IGNORECASE)
_DENIED: Final = frozenset({401, 403, 404, 410, 451})


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the header fields of an answer; all texts are hostile."""

    version: str  # "HTTP/1.0", "HTTP/1.1" or "ICY"
    status: int
    phrase: str
    fields: Mapping[str, str]  # by names in lower case

    def text(self, name: str) -> str:
        """The first field of this name, in any case; "" if there is none."""
        return self.fields.get(name.lower(), "")

    def number(self, name: str) -> int | None:
        """The same as a number; None if it is none, or one that nobody means."""
        text = self.text(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None

    @property
    def is_chunked(self) -> bool:
        """RFC 9112 section 6.1: "chunked" is the last transfer coding."""
        return self.text("transfer-encoding").lower().rpartition(",")[2].strip() == "chunked"

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on this connection once the body is read (RFC 9112 section 9.3)."""
        options = {option.strip() for option in self.text("connection").lower().split(",")}
        if self.version != "HTTP/1.1":
            return self.version == "HTTP/1.0" and "keep-alive" in options
        return "close" not in options

    @property
    def retry_after_seconds(self) -> float | None:
        """What `Retry-After` asks for (RFC 9110 section 10.2.3: seconds or a date), never negative."""
        seconds = self.number("retry-after")
        if seconds is not None:
            return float(seconds)
        try:
            when = parsedate_to_datetime(self.text("retry-after"))
            return max(0.0, (when - clock.now()).total_seconds()) if when.tzinfo else None
        except (ValueError, TypeError, IndexError, OverflowError):
            return None

    def require_success(self) -> None:
        """Raises Refused unless the status is 200 to 299: `source_denied`, or else `source_error`."""
        if 200 <= self.status < 300:
            return
        reason = GapReason.SOURCE_DENIED if self.status in _DENIED else GapReason.SOURCE_ERROR
        detail = f"The server answered {self.status} {_phrase(self.status)}".strip() + "."
        waits = self.retry_after_seconds if self.status in {429, 503} else None
        raise Refused(reason, detail, retry_after_seconds=waits)


def parse(data: bytes) -> tuple[Head, bytes] | None:
    """The head at the beginning of `data` and the bytes behind it; None if more must come first. Pure.

    Raises Refused: it is no answer, or too long a one.
    """
    if not any(start.startswith(data[: len(start)].upper()) for start in (b"HTTP/1.", b"ICY ")):
        raise Refused(GapReason.NOT_MEDIA, "What answers there is not an HTTP server.")
    end = _END.search(data, 0, HEAD_BYTES)
    if end is None:
        if len(data) >= HEAD_BYTES:
            raise Refused(GapReason.SOURCE_ERROR, "The server's answer begins with too many header fields.")
        return None
    line, _, rest = data[: end.start()].partition(b"\n")
    match = _STATUS.match(line)
    if match is None:
        raise Refused(GapReason.NOT_MEDIA, "What answers there is not an HTTP server.")
    version, status, phrase = match.groups()
    head = Head(version.decode().upper(), int(status), (phrase or b"").decode("latin-1").strip(), _fields(rest))
    return head, data[end.end() :]


def _phrase(status: int) -> str:
    """The usual one: what the server says instead may be anything, our credentials among it."""
    return next((known.phrase for known in http.HTTPStatus if known == status), "")


def _fields(lines: bytes) -> dict[str, str]:
    """The first field of each name, which is in lower case (RFC 9112 section 5).

    An own reader, because the standard library's, made for mail, takes several times as long.
    """
    if lines.count(b"\n") >= HEAD_LINES:
        raise Refused(GapReason.SOURCE_ERROR, "The server's answer begins with too many header fields.")
    fields: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\n"):
        name, colon, text = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), text.strip())
    return fields


Read = Callable[[socket.socket, int], Awaitable[bytes]]
"""Waits for bytes: `wire.read_some` or `wire.read_soon`."""


async def read(
    sock: socket.socket, *, seconds: float = HEAD_SECONDS, more: Read = wire.read_some
) -> tuple[Head, bytes]:
    """The head of the next answer, and what has come of the body.

    Interim answers (1xx) are passed over. Raises Refused: `stalled` when the head is not there in time,
    `source_ended` when the server hangs up, `not_media` or `source_error` when it is none.
    """
    data = b""
    try:
        async with asyncio.timeout(seconds):
            while True:
                parsed = parse(data)
                if parsed is not None and parsed[0].status >= 200:
                    return parsed
                if parsed is not None:
                    data = parsed[1]
                    continue
                came = await more(sock, HEAD_BYTES)
                if not came:
                    raise Refused(GapReason.SOURCE_ENDED, "The server hung up without an answer.")
                data += came
    except TimeoutError:
        raise Refused(GapReason.STALLED, "The server did not answer in time.") from None
    except OSError:
        raise Refused(GapReason.SOURCE_ENDED, "The connection was reset.") from None
