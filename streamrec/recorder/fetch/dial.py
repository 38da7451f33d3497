"""From a name to a connected socket: DNS, the egress rules, TCP and TLS, none of which blocks the loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import cache
from typing import Final

from streamrec import egress
from streamrec.clock import Clock
from streamrec.errors import EgressDenied
from streamrec.models import GapReason
from streamrec.recorder.fetch import wire
from streamrec.recorder.fetch.errors import Refused

CONNECT_SECONDS: Final = 3.0
HANDSHAKE_SECONDS: Final = 5.0
STAGGER_SECONDS: Final = 0.25  # RFC 8305 section 5: the "connection attempt delay"
KEEP_SECONDS: Final = 3600.0
MOST_KEPT: Final = 4096
MOST_ADDRESSES: Final = 8


class Resolver:
    """Addresses that may be connected to; the last good answer serves while DNS fails, for an hour."""

    def __init__(
        self,
        clock: Clock,
        allow: tuple[str, ...] = (),
        resolve: Callable[[str], list[str]] = egress.resolve_bounded,
    ) -> None:
        """`allow` is STREAMREC_EGRESS_ALLOW; `resolve` blocks for a bounded time and returns [] for a failure."""
        self._clock = clock
        self._allow = frozenset(entry.lower() for entry in allow)
        self._resolve = resolve
        self._kept: dict[str, tuple[float, list[str]]] = {}

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """All addresses of `host`, each checked. Connect to one of these, never to the name.

        Raises Refused: `dns` or `egress_denied`.
        """
        literal = egress.literal(host)
        found = [str(literal)] if literal is not None else await self._look_up(host)
        if not found:
            raise Refused(GapReason.DNS, "The host name cannot be resolved.")
        try:
            egress.check_addresses(host, port, found, self._allow)
        except EgressDenied as exc:
            raise Refused(GapReason.EGRESS_DENIED, exc.detail) from exc
        return tuple(dict.fromkeys(found))[:MOST_ADDRESSES]

    async def _look_up(self, host: str) -> list[str]:
        found = await asyncio.to_thread(self._resolve, host)
        now = self._clock.monotonic()
        if found:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[host] = (now, found)
            return found
        kept_at, kept = self._kept.get(host, (0.0, []))
        return kept if now - kept_at <= KEEP_SECONDS else []


async def dial(
    url: egress.StreamUrl,
    resolver: Resolver,
    *,
    deadline: float | None = None,
    receive_bytes: int | None = None,
    tls_verify: bool = True,
) -> socket.socket:
    """A connected non-blocking socket to the server of an http or https URL; an `ssl.SSLSocket` for https.

    `deadline` is in the running loop's `time()`; `receive_bytes` sizes the receive buffer, as it must be before
    the connection is made (tcp(7)).

    Raises Refused: `dns`, `egress_denied`, `source_refused` or `tls`.
    """
    try:
        async with asyncio.timeout_at(deadline):
            addresses = await resolver.addresses(url.host, url.port)
            sock = await _connect(addresses, url.port, receive_bytes)
            return await _secured(sock, url.host, trust(tls_verify)) if url.scheme == "https" else sock
    except TimeoutError:
        raise Refused(GapReason.SOURCE_REFUSED, "The host cannot be reached.") from None


async def _connect(addresses: tuple[str, ...], port: int, receive_bytes: int | None) -> socket.socket:
    """The first connection that is made; the next address is tried when one fails or is slow (RFC 8305)."""
    tasks: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    try:
        for address in addresses:
            tasks.append(asyncio.create_task(_connect_one(address, port, receive_bytes)))
            is_last = len(tasks) == len(addresses)
            if (winner := await _winner(tasks, CONNECT_SECONDS if is_last else STAGGER_SECONDS)) is not None:
                return winner.result()
        raise _refused(tasks[-1])
    finally:
        await _abandon([task for task in tasks if task is not winner])


async def _winner(tasks: list[asyncio.Task[socket.socket]], seconds: float) -> asyncio.Task[socket.socket] | None:
    """The first that connects within `seconds`; None once all have failed, too."""
    deadline = asyncio.get_running_loop().time() + seconds
    while running := [task for task in tasks if not task.done()]:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return None
        await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        connected = [task for task in tasks if task.done() and _failure(task) is None]
        if connected:
            return connected[0]
    return None


def _failure(task: asyncio.Task[socket.socket]) -> OSError | None:
    exception = task.exception()
    assert exception is None or isinstance(exception, OSError), exception
    return exception


def _refused(task: asyncio.Task[socket.socket]) -> Refused:
    refused = task.done() and isinstance(_failure(task), ConnectionRefusedError)
    detail = "The connection was refused." if refused else "The host cannot be reached."
    return Refused(GapReason.SOURCE_REFUSED, detail)


async def _abandon(tasks: list[asyncio.Task[socket.socket]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()  # it was made in the moment in which another one won


async def _connect_one(address: str, port: int, receive_bytes: int | None) -> socket.socket:
    """Raises OSError, of which TimeoutError is one."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


@cache
def trust(tls_verify: bool = True) -> ssl.SSLContext:
    """The system's certificates, read once, with names checked; or whoever answers, where a channel says so."""
    context = ssl.create_default_context()
    if not tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _secured(sock: socket.socket, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The socket after a TLS handshake that proved it is `host`, if `context` asks for that."""
    secured: ssl.SSLSocket | None = None
    try:
        secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await _shake_hands(secured)
        return secured
    except TimeoutError:
        raise Refused(GapReason.TLS, "The TLS handshake took too long.") from None
    except ssl.SSLError as exc:
        raise Refused(GapReason.TLS, f"TLS failed: {words(exc)}.") from None
    except (OSError, ValueError):
        raise Refused(GapReason.TLS, "TLS failed: the server hung up.") from None
    finally:
        if secured is None or secured.version() is None:
            (secured or sock).close()


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            await wire.readable(sock)
        except ssl.SSLWantWriteError:
            await wire.writable(sock)


def words(exc: ssl.SSLError) -> str:
    """What is wrong with a handshake, to be put into a sentence."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return str(exc.verify_message).rstrip(".")
    return (exc.reason or "unknown error").replace("_", " ").lower()
