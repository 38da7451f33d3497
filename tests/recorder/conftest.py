"""A station that misbehaves on command, and noise for it to play."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.station import clips, faulty
from tests.station.clips import Clip
from tests.station.faulty import Station


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Two minutes of MP3, every frame unlike every other."""
    return clips.make_radio(tmp_path_factory.mktemp("noise"), 120)


@pytest.fixture
def station() -> Iterator[Station]:
    """A station without mounts."""
    with faulty.running() as running:
        yield running


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
        """Say nothing."""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder, and the port on which its files are served at once, as no live station does."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, server.server_port
        server.shutdown()
        thread.join()
