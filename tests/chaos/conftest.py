"""A world in which nothing runs yet: what is wrong with it is planted, and the oracle must tell it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.world import Channel, Tested, World
from tests.station import faulty, hls
from tests.station.numbered import Numbered


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A station with one radio, a channel on it, and an instance that was not started."""
    (tmp_path / "data" / "archive").mkdir(parents=True)
    instance = Tested(tmp_path, [])
    with faulty.running() as station:
        mount = station.add("m0", Numbered(0), burst_frames=0, own_door=True)
        channel = Channel(0, 1, [mount], {"capture": "auto", "keyname": "chaos-0000"})
        yield World(instance, station, hls.Origin(), [channel], [], tmp_path / "data" / "archive")
    instance.client.close()
