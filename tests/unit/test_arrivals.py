"""When what a chunk brings came."""

from __future__ import annotations

import pytest

from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat
from streamrec.recorder.arrivals import arrived, framed_late
from streamrec.recorder.events import Chunk, Opened
from tests import samples

SECOND = 16_000  # bytes
MEDIA, GARBAGE = samples.sample("mp3.mp3"), bytes(SECOND)


def told(data: bytes, left_seconds: float) -> list[tuple[float, float]]:
    """Seconds of media, and when they came, of a chunk that was read at 2 and of which so much had come at 1."""
    framer = framer_for(FileFormat.MP3)
    framer.gathers = True
    _, arrivals = arrived(framer, Chunk(data, 2.0, left_bytes=round(SECOND * left_seconds), left_at=1.0))
    return [(round(sum(unit.duration for unit in units) / FLICKS, 1), at) for units, at in arrivals]


def test_what_is_all_media_came_when_the_last_of_it_came() -> None:
    assert told(MEDIA[: 2 * SECOND], 1) == [(2.0, 2.0)]


def test_media_before_garbage_came_when_it_was_left_unread() -> None:
    assert told(MEDIA[: SECOND // 2] + 3 * GARBAGE[: SECOND // 2], 1) == [(0.5, 1.0), (0.0, 2.0)]


def test_media_behind_garbage_came_with_the_rest() -> None:
    assert told(MEDIA[:2000] + GARBAGE + MEDIA[2000 : SECOND - 2000], 1) == [(0.1, 1.0), (0.7, 2.0)]


def test_nothing_is_lost_or_doubled_for_being_looked_at_twice() -> None:
    data = MEDIA[: SECOND // 2] + GARBAGE + MEDIA[SECOND // 2 : SECOND]
    plain, once = framer_for(FileFormat.MP3), framer_for(FileFormat.MP3)
    goes_on, arrivals = arrived(once, Chunk(data, 2.0, left_bytes=SECOND, left_at=1.0))
    units = [unit for units, _ in arrivals for unit in units]

    assert [*units, *goes_on.flush()] == [*plain.feed(data), *plain.flush()]
    assert goes_on.dropped == plain.dropped


@pytest.mark.parametrize(
    ("opened", "size", "late"),
    [
        (Opened(FileFormat.MP3, "mp3", "icy"), 384, 1),
        (Opened(FileFormat.AAC, "aac", "ffmpeg"), 384, 1),
        (Opened(FileFormat.MP3, "mp3", "ffmpeg"), 1044, 2),
        (Opened(FileFormat.MP3, "mp3", "ffmpeg"), 384, 4),
        (Opened(FileFormat.MP3, "mp3", "ffmpeg"), 24, 6),
    ],
)
def test_what_an_ffmpeg_keeps_of_an_mp3_came_before_the_silence(opened: Opened, size: int, late: int) -> None:
    """A kilobyte, and the frame that our own framer keeps; whoever reads for himself keeps that one only."""
    assert framed_late(opened, [Unit(bytes(size), FLICKS // 40, True)] * 20) == late
