"""An S3 server of this process's own, with an empty bucket for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
