"""What no handler should ever have to think of: sizes, time-outs, bytes that are no text, and the Host.

It stands in front of Connexion and raises `Refused`; `_problems` answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamrec.handlers._problems import Refused
from streamrec.settings import Settings

LONGEST_PATH = 2048  # bytes, as sent
LONGEST_QUERY = 8192
MOST_HEADERS = 100
MOST_HEADER_BYTES = 32_768
IDLE_SECONDS = 10.0  # between two pieces of a body
BODY_SECONDS = 120.0  # for a whole body
UPLOAD_SECONDS = 86_400.0  # for one that goes to the disk
MULTIPART_BYTES = 65_536  # what a form may have around its file
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FOLDERS = (b"/ui/", b"/console/")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a body: the bytes that a client is told, the seconds, and what a form may have beside its file."""

    most: int
    seconds: float
    around: int = 0

    def check(self, size: int) -> None:
        """Raises Refused for a body that is larger."""
        if size > self.most + self.around:
            raise Refused(
                413,
                "content-too-large",
                f"The body may have {self.most} bytes.",
                headers={"Connection": "close"},
                limit_bytes=self.most,
            )


class Guard:
    """ASGI middleware: checks the head at once, and bounds the body while it is read."""

    def __init__(self, app: ASGIApp, *, settings: Settings, is_upload: Callable[[str, str], bool]) -> None:
        """`is_upload` tells by method and path which bodies are large, and streamed to the disk."""
        self.app = app
        self._settings = settings
        self._is_upload = is_upload
        self._hosts = Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._is_upload(scope["method"], scope["path"]):
                bounds = Bounds(self._settings.max_upload_bytes, UPLOAD_SECONDS, around=MULTIPART_BYTES)
            else:
                bounds = Bounds(self._settings.max_body_bytes, BODY_SECONDS)
            self._check_head(scope, bounds)
            receive = _bounded(receive, bounds)
        await self.app(scope, receive, send)

    def _check_head(self, scope: Scope, bounds: Bounds) -> None:
        headers = scope["headers"]
        check_target(scope.get("raw_path") or scope["path"].encode(), scope["query_string"])
        check_headers(headers)
        host = self._hosts.check(_values(headers, b"host"))
        if scope["method"] not in _SAFE_METHODS:
            check_origin(_values(headers, b"origin"), host)
        check_length(_values(headers, b"content-length"), bounds)
        if any(value.strip().lower() != b"identity" for value in _values(headers, b"content-encoding")):
            raise Refused(415, "unsupported-media-type", "Content-Encoding: compressed bodies are not taken here.")


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


# --- the head ---------------------------------------------------------------------------------------------


def check_target(path: bytes, query: bytes) -> None:
    """A request target that every component reads alike (RFC 9112, 3.2.1: origin-form).

    Raises:
        Refused: it is too long, no path, not UTF-8, holds control characters or an empty segment.
    """
    if len(path) > LONGEST_PATH or len(query) > LONGEST_QUERY:
        raise Refused(
            414, "uri-too-long", f"The path may have {LONGEST_PATH} bytes and the query {LONGEST_QUERY}, as sent."
        )
    if not path.startswith(b"/"):
        raise Refused(400, "bad-request", "The request target must be a path.")
    if b"//" in path:
        raise Refused(404, "not-found", "There is nothing at this path: it has an empty segment.")
    if path.endswith(b"/") and path != b"/" and not path.startswith(_FOLDERS):
        # Starlette would redirect to an address made from the client's Host.
        raise Refused(404, "not-found", "There is nothing at this path: leave out the slash at its end.")
    if _CONTROL.search(_text(path, "path")) or _CONTROL.search(_text(query.replace(b"+", b" "), "query")):
        raise Refused(400, "bad-request", "The path and the query must not contain control characters.")


def _text(quoted: bytes, part: str) -> str:
    try:
        return unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError as exc:
        raise Refused(400, "bad-request", f"The {part} must be percent-encoded UTF-8.") from exc


def check_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """Bounds on number and size.

    Raises:
        Refused: there are too many or too large ones.
    """
    if len(headers) > MOST_HEADERS or sum(len(key) + len(value) for key, value in headers) > MOST_HEADER_BYTES:
        raise Refused(
            431,
            "request-header-fields-too-large",
            f"A request may have {MOST_HEADERS} header fields of {MOST_HEADER_BYTES} bytes together.",
        )


class Hosts:
    """The names under which this API answers; any other is a rebinding attack or a mistake.

    Without `allowed_hosts` these are the loopback names, the name the API is bound to, this machine's name, and
    every literal address: DNS cannot be rebound to a name that is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._listed = {host.lower() for host in settings.allowed_hosts}
        self._own = {*LOOPBACK, settings.host.lower(), socket.gethostname().lower()}

    def check(self, given: list[bytes]) -> str:
        """The `Host` of a request.

        Raises:
            Refused: it is missing, given twice, malformed, or not ours.
        """
        text = given[0].decode("latin-1") if len(given) == 1 else ""
        match = _HOST.fullmatch(text)
        if match is None:
            raise Refused(400, "bad-request", "Host: must be given once, as name or name:port.")
        if not self._is_ours(match.group(1).lower()):
            raise Refused(
                421, "misdirected-request", "Host: this name is not served here (setting allowed_hosts)."
            )
        return text.lower()

    def _is_ours(self, name: str) -> bool:
        if self._listed:
            return (
                "*" in self._listed
                or name in self._listed
                or any(listed.startswith(".") and name.endswith(listed) for listed in self._listed)
            )
        return name in self._own or _is_address(name.strip("[]"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_origin(given: list[bytes], host: str) -> None:
    """A change asked for by a page must come from a page of ours: a browser sends `Origin`, other clients do not.

    Raises:
        Refused: another site asks.
    """
    if any(_authority(origin.decode("latin-1").lower()) != host for origin in given):
        raise Refused(403, "cross-origin", "Origin: another site may not change anything here.")


def _authority(origin: str) -> str | None:
    """The host and port of an origin, or None if it is none: urlsplit raises for a broken address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def check_length(given: list[bytes], bounds: Bounds) -> None:
    """The declared length, so that a body too large is refused before it is sent.

    Raises:
        Refused: it is out of bounds.
    """
    if given:
        is_number = given[0].isdigit() and len(given[0]) < 20
        bounds.check(int(given[0]) if is_number else sys.maxsize)


# --- the body ---------------------------------------------------------------------------------------------


def _bounded(receive: Receive, bounds: Bounds) -> Receive:
    """A receive channel that counts bytes and does not wait for ever for the next piece of a body."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + bounds.seconds
    size = 0
    is_done = False

    async def bounded() -> Message:
        nonlocal size, is_done
        if is_done:
            return await receive()
        try:
            async with asyncio.timeout(min(IDLE_SECONDS, deadline - loop.time())):
                message = await receive()
        except TimeoutError as exc:
            raise Refused(
                408, "request-timeout", "The body came too slowly.", headers={"Connection": "close"}
            ) from exc
        size += len(message.get("body", b""))
        bounds.check(size)
        is_done = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    return bounded
