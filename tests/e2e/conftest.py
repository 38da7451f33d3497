"""Stations for the end-to-end tests; each fixture is one real origin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.station import clips, faulty, icecast, nginx, pushed


@pytest.fixture(scope="session")
def radio_clip(tmp_path_factory: pytest.TempPathFactory) -> clips.Clip:
    """Five minutes of MP3 in which no frame repeats."""
    return clips.make_radio(tmp_path_factory.mktemp("radio"))


@pytest.fixture(scope="session")
def television_clip(tmp_path_factory: pytest.TempPathFactory) -> clips.Clip:
    """Five minutes of pictures in which none repeats."""
    return clips.make_television(tmp_path_factory.mktemp("television"))


@pytest.fixture(scope="module")
def icecast_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[icecast.Icecast]:
    """A real Icecast without sources."""
    with icecast.running(tmp_path_factory.mktemp("icecast")) as server:
        yield server


@pytest.fixture(scope="module")
def hls_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Origin]:
    """A real nginx that serves live HLS."""
    with nginx.hls(tmp_path_factory.mktemp("hls")) as origin:
        yield origin


@pytest.fixture(scope="module")
def rtmp_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Origin]:
    """A real nginx-rtmp."""
    with nginx.rtmp(tmp_path_factory.mktemp("rtmp")) as origin:
        yield origin


@pytest.fixture(scope="module")
def pushed_televisions(
    tmp_path_factory: pytest.TempPathFactory, television_clip: clips.Clip
) -> Iterator[dict[str, pushed.Television]]:
    """An RTSP server that asks for a password, an SRT server that asks for a passphrase, and a sender over UDP."""
    folder = tmp_path_factory.mktemp("pushed")
    with (
        pushed.rtsp(folder, television_clip, pushed.PASSWORD) as rtsp,
        pushed.srt(folder, television_clip, pushed.PASSPHRASE) as srt,
        pushed.udp(folder, television_clip) as udp,
    ):
        yield {"rtsp": rtsp, "srt": srt, "udp": udp}


@pytest.fixture(scope="module")
def station() -> Iterator[faulty.Station]:
    """Our own station."""
    with faulty.running() as station:
        yield station
