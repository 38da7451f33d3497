"""One GET: asked, answered, and followed to where it leads."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamrec import __version__
from streamrec.egress import Credentials, StreamUrl
from streamrec.models import GapReason
from streamrec.recorder.fetch import head, wire
from streamrec.recorder.fetch.dial import Resolver, dial
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import REDIRECTS, Trail

AGENT: Final = f"streamrec/{__version__}"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of which the head is read, and the body is still to come; whoever holds it closes `sock`."""

    sock: socket.socket
    head: head.Head
    rest: bytes  # of the body, what came with the head
    url: StreamUrl  # where it came from, after redirects


async def get(
    trail: Trail,
    resolver: Resolver,
    *,
    headers: Mapping[str, str],
    deadline: float | None = None,
    receive_bytes: int | None = None,
    tls_verify: bool = True,
) -> Answer:
    """The first answer on `trail` that is no redirect, on a connection of its own; its status is 200 to 299.

    Raises Refused for whatever goes wrong.
    """
    while True:
        sock = await dial(
            trail.url, resolver, deadline=deadline, receive_bytes=receive_bytes, tls_verify=tls_verify
        )
        answer: Answer | None = None
        try:
            await send(sock, compose(trail.url, trail.credentials, {"Connection": "close", **headers}))
            first, rest = await head.read(sock)
            if first.status not in REDIRECTS or not first.text("location"):
                first.require_success()
                answer = Answer(sock, first, rest, trail.url)
                return answer
            trail.follow(location(first))
        finally:
            if answer is None:
                sock.close()


def location(redirect: head.Head) -> str:
    """Where a redirect points; servers write UTF-8 there, which arrives as Latin-1 (RFC 9110 section 5.5)."""
    return redirect.text("location").encode("latin-1", "replace").decode("utf-8", "replace")


async def send(sock: socket.socket, request: bytes) -> None:
    """Raises Refused (`source_ended`) when the server hangs up."""
    try:
        await wire.send_all(sock, request)
    except OSError:
        raise Refused(GapReason.SOURCE_ENDED, "The connection was reset.") from None


def compose(url: StreamUrl, credentials: Credentials | None, headers: Mapping[str, str]) -> bytes:
    """The bytes of a GET. `url` is as `egress.parse` gave it, so nothing in it can break the line. Pure."""
    target = "/" + url.url.partition("://")[2].partition("/")[2]
    if "?" in url.url.partition("://")[2].partition("/")[0]:
        target = "/?" + url.url.partition("?")[2]
    fields = {"Host": host_field(url), "User-Agent": AGENT, "Accept": "*/*", **headers}
    if credentials is not None:
        fields["Authorization"] = authorization(credentials)
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


def host_field(url: StreamUrl) -> str:
    """The field `Host` (RFC 9110 section 7.2)."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port == _DEFAULT_PORTS.get(url.scheme) else f"{host}:{url.port}"


def authorization(credentials: Credentials) -> str:
    """The field `Authorization` (RFC 7617), in UTF-8."""
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
