"""An S3 server of this process's own with an empty bucket for each test, and one that does not obey."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
from moto.server import ThreadedMotoServer

from streamrec.archive.storage import Bucket

ACCESS_KEY = "AKIAEXAMPLEKEY000000"
SECRET_KEY = "a-secret-that-nobody-may-see"


@contextmanager
def running() -> Iterator[str]:
    """The address of the server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def new_bucket(endpoint: str) -> Bucket:
    """An empty bucket."""
    name = f"archive-{uuid4().hex}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return Bucket(name, endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY)


@contextmanager
def faulty(endpoint: str, fault: str) -> Iterator[str]:
    """The address of a server that passes everything on to another one, but for what is put there.

    It `refuses` it, `forgets` it, `truncates` it, or `misnames` it: its ETag is another's.
    """

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Nobody wants to read it."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_put = self.command == "PUT"
            if is_put and fault == "refuses":
                self._reply(500, {}, b"")
                return
            if is_put and fault == "forgets":
                self._reply(200, {"ETag": '"0123456789abcdef0123456789abcdef"'}, b"")
                return
            sent = body[: len(body) // 2] if is_put and fault == "truncates" else body
            headers = {name: value for name, value in self.headers.items() if not _is_about_the_whole(name)}
            found = httpx.request(self.command, endpoint + self.path, headers=headers, content=sent, timeout=60)
            kept = {name: value for name, value in found.headers.items() if name in {"etag", "content-type"}}
            if is_put and fault == "misnames":
                kept["etag"] = '"0123456789abcdef0123456789abcdef"'
            if self.command == "HEAD":
                kept |= {
                    name: found.headers[name]
                    for name in ("content-length", "last-modified")
                    if name in found.headers
                }
            self._reply(found.status_code, kept, found.content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the library

        def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    front = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{front.server_port}"
    finally:
        front.shutdown()
        front.server_close()


@contextmanager
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def stalling(beginning: bytes) -> Iterator[str]:
    """The address of a server that answers once, with the beginning of ten bytes, and then falls silent."""
    told = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n"
    head = f'{told}ETag: "a"\r\nLast-Modified: Thu, 26 Nov 2026 22:00:00 GMT\r\n\r\n'
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.sendall(head.encode() + beginning)
                over.wait(60)

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()


def _is_about_the_whole(name: str) -> bool:
    """Headers that would show that a body was cut."""
    return name.lower() in {"content-length", "host"} or name.lower().startswith("x-amz-checksum")
