"""A server that answers each connection with the next of its scripts, to the byte."""

from __future__ import annotations

import enum
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

TLS: Path = Path(__file__).parent / "tls"


class End(enum.Enum):
    """What a script may end with, instead of an orderly close."""

    RESET = "the connection is reset"
    HOLD = "the connection stays open, and nothing more comes"


Step = bytes | float | End
Script = Sequence[Step]
"""Bytes to send, seconds to pause, and how it ends."""


class Scripted:
    """Threads on a loopback port; the last script serves all connections that follow."""

    def __init__(self, scripts: Sequence[Script], certificate: str | None) -> None:
        self.requests: list[str] = []
        self._scripts = list(scripts)
        self._stopping = threading.Event()
        self._context = _context(certificate) if certificate else None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://{self.authority}/live"

    def then(self, *scripts: Script) -> None:
        """Scripts for the connections to come, when they must name the port."""
        self._scripts = list(scripts)

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._stopping.is_set():
                connection, _ = self._server.accept()
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                threading.Thread(target=self._answer, args=(connection, script), daemon=True).start()

    def _answer(self, connection: socket.socket, script: Script) -> None:
        with connection, suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self.requests.append(connection.recv(8192).decode("latin-1"))
            for step in script:
                self._take(connection, step)
            connection.close()

    def _take(self, connection: socket.socket, step: Step) -> None:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif step is End.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self._stopping.wait(step if isinstance(step, float) else None)


def _context(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / f"{certificate}.pem")
    return context


@contextmanager
def serving(*scripts: Script, certificate: str | None = None) -> Iterator[Scripted]:
    """A server with these scripts; with TLS if `certificate` names one of tests/station/tls."""
    server = Scripted(scripts, certificate)
    try:
        yield server
    finally:
        server.stop()


def answer(body: bytes = b"", *fields: str, start: str = "HTTP/1.1 200 OK") -> bytes:
    """A head with these fields, and a body."""
    return "\r\n".join([start, *fields, "", ""]).encode() + body


def redirect(location: str) -> list[Step]:
    return [answer(b"", f"Location: {location}", start="HTTP/1.1 302 Found")]
