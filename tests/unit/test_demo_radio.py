"""What the demo's radio sends: music by the clock, titles in band."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from streamrec import demo
from streamrec.demo import music, radio


@dataclass
class StoppedClock:
    """A clock whose two faces are set by hand."""

    wall: float = 0.0
    ticks: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)

    def monotonic(self) -> float:
        return self.ticks

    async def sleep(self, seconds: float) -> None:
        self.ticks += seconds


def _radio(clock: StoppedClock | None = None) -> radio.Radio:
    seconds = music.TUNE_SECONDS * len(music.TUNES)
    return radio.Radio(bytes(seconds * radio.BYTES_PER_SECOND), clock or StoppedClock())


def _split(stream: bytes) -> tuple[bytes, list[str]]:
    """Undo the tagging as a player does: the audio, and the titles of the blocks that are not empty."""
    audio, titles = b"", []
    while len(stream) > radio.META_INTERVAL:
        audio += stream[: radio.META_INTERVAL]
        size = stream[radio.META_INTERVAL] * 16
        text = stream[radio.META_INTERVAL + 1 : radio.META_INTERVAL + 1 + size]
        titles += [text.rstrip(b"\0").decode()] if size else []
        stream = stream[radio.META_INTERVAL + 1 + size :]
    return audio + stream, titles


def test_every_station_fits_the_rules_of_a_channel() -> None:
    """Keynames have exactly ten characters and the URLs lie below the given address."""
    stations = demo.stations("http://127.0.0.1:8001/")

    assert [len(station["keyname"]) for station in stations] == [10, 10]
    assert all(station["url"].startswith("http://127.0.0.1:8001/") for station in stations)


def test_every_tune_lasts_as_long_as_every_other() -> None:
    """Titles are computed from the position, so the samples of a tune must fill its time exactly."""
    expected = 4 * music.RATE * music.TUNE_SECONDS * len(music.TUNES)

    assert len(music.pcm()) == expected


@given(pieces=st.lists(st.integers(0, 40_000), max_size=12))
def test_tagging_leaves_the_audio_as_it_is(pieces: list[int]) -> None:
    """However the stream is cut into pieces, taking the blocks out again gives the audio."""
    station = _radio()
    tagger = radio.Tagger(station)
    audio = [bytes([number + 1]) * size for number, size in enumerate(pieces)]

    stream = b"".join(tagger.tagged(piece, 0) for piece in audio)

    assert _split(stream)[0] == b"".join(audio)


def test_a_title_is_sent_once_and_the_next_when_it_changes() -> None:
    """Between two changes the blocks are empty, as Icecast's are."""
    station = _radio()
    tagger = radio.Tagger(station)
    second_tune = music.TUNE_SECONDS * radio.BYTES_PER_SECOND

    stream = b"".join(
        tagger.tagged(bytes(radio.META_INTERVAL), live) for live in (0, 1, second_tune, second_tune + 1)
    )

    titles = _split(stream + b"\0")[1]
    assert titles == [f"StreamTitle='{tune.title}';" for tune in music.TUNES[:2]]


@given(title=st.text(max_size=5000))
def test_a_block_says_its_own_length(title: str) -> None:
    """The first byte counts units of sixteen bytes, whatever the title."""
    block = radio.block(title)

    assert len(block) == 1 + 16 * block[0]


def test_the_live_edge_moves_with_the_clock_in_whole_frames() -> None:
    """Ten seconds later, ten seconds of frames more have been sent."""
    clock = StoppedClock(wall=1_000_000.5)
    station = _radio(clock)
    before = station.live()

    clock.ticks += 12.0

    assert station.live() - before == 12 * radio.BYTES_PER_SECOND
    assert before % radio.FRAME_BYTES == 0


@given(start=st.integers(0, 1 << 45), size=st.integers(0, 100_000))
def test_the_programme_repeats_without_a_seam(start: int, size: int) -> None:
    """A stretch of all time has as many bytes as asked for, and continues the one before it."""
    loop = bytes(index % 251 for index in range(3840))
    station = radio.Radio(loop, StoppedClock())

    stretch = station.audio(start, start + size)

    assert len(stretch) == size
    assert station.audio(start, start + size // 2) + station.audio(start + size // 2, start + size) == stretch
