"""Files out of units: where they are cut, what is in them, and what a failing disk costs."""

from __future__ import annotations

import base64
import hashlib
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from streamrec.archive import layout, pieces
from streamrec.archive.files import Tree
from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.diskfault import DiskFault
from streamrec.recorder.facts import Fact, RunEnded, RunStarted, SegmentClosed
from streamrec.recorder.spool import Spool
from streamrec.recorder.writer import SegmentWriter
from tests import samples
from tests.fakes import NOON, FakeClock

AUDIO = (FileFormat.MP3, FileFormat.AAC)


def wall(media: int) -> datetime:
    """The first unit begins 1.7 s before noon."""
    return NOON + timedelta(microseconds=media * 1_000_000 // FLICKS) - timedelta(seconds=1.7)


@dataclass
class Disk:
    """A data folder of its own."""

    folder: Path
    archive: Tree
    spool: Spool
    clock: FakeClock

    def writer(
        self, file_format: FileFormat = FileFormat.MP3, *, seconds: int = 2, media: int = 0
    ) -> SegmentWriter:
        run = RunStarted(uuid4(), 1, uuid4(), "ffmpeg", file_format, "codec", wall(0))
        return SegmentWriter(
            archive=self.archive,
            spool=self.spool,
            run=run,
            keyname="radio-one_",
            segment_seconds=seconds,
            media=media,
            monotonic=self.clock.monotonic,
        )

    @property
    def files(self) -> list[SegmentClosed]:
        return [fact for fact in self.spool.pending() if isinstance(fact, SegmentClosed)]

    @property
    def kinds(self) -> list[str]:
        return [type(fact).__name__ for fact in self.spool.pending()]

    def data(self, fact: SegmentClosed) -> bytes:
        return (self.archive.path / fact.key).read_bytes()

    @property
    def names(self) -> set[str]:
        return {
            str(path.relative_to(self.archive.path)) for path in self.archive.path.rglob("*") if path.is_file()
        }

    def check(self) -> None:
        """Every row-to-be has its file, of its size and hash, and there is nothing else but spoiled files."""
        for fact in self.files:
            data = self.data(fact)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (fact.size_bytes, fact.sha256)
            assert fact.start_time < fact.end_time
        assert {name for name in self.names if not name.endswith(layout.BAD)} == {fact.key for fact in self.files}
        assert self.spool.open_segments() == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Tree(tmp_path / "archive") as archive, Spool(tmp_path / "spool") as spool:
        yield Disk(tmp_path, archive, spool, FakeClock())


def write_all(writer: SegmentWriter, units: Sequence[Unit], *, at_once: int = 7) -> SegmentClosed | None:
    for begin in range(0, len(units), at_once):
        writer.append(units[begin : begin + at_once], wall)
        writer.sync()
    return writer.close(wall, "stalled")


@pytest.mark.parametrize("name", samples.names(*FileFormat))
def test_files_meet_at_wall_clock_multiples(disk: Disk, name: str) -> None:
    """Each but the first begins at the first cut at or after a multiple, and exactly where the last one ends."""
    units = samples.units_of(name)
    cuts = [wall(sum(unit.duration for unit in units[:index])) for index, unit in enumerate(units) if unit.is_cut]

    write_all(disk.writer(samples.format_of(name)), units)

    disk.check()
    starts = [fact.start_time for fact in disk.files]
    assert starts[0] == wall(0)
    multiples = [NOON + timedelta(seconds=2 * n) for n in range(3)]
    assert starts[1:] == [min(cut for cut in cuts if cut >= each) for each in multiples if cuts[-1] >= each]
    assert all(before.end_time == after.start_time for before, after in pairwise(disk.files))
    assert disk.files[-1].end_time == wall(sum(unit.duration for unit in units))


@pytest.mark.parametrize("name", samples.names(*FileFormat))
def test_files_hold_the_run_and_each_plays_alone(disk: Disk, name: str) -> None:
    units = samples.units_of(name)

    write_all(disk.writer(samples.format_of(name)), units)

    header = units[0].header if samples.format_of(name) is FileFormat.MP4 else b""
    parts = [disk.data(fact) for fact in disk.files]
    if name != "radio.ts":  # its files begin with tables where the stream has none
        assert b"".join(part.removeprefix(header) for part in parts) == samples.joined(units)
    for fact, part in zip(disk.files, parts, strict=True):
        assert part.startswith(header)
        samples.ffmpeg("-i", str(disk.archive.path / fact.key), "-f", "null", "-")


@pytest.mark.parametrize("name", samples.names(*FileFormat))
def test_the_index_of_a_file_has_all_of_it_in_pieces_at_cuts(disk: Disk, name: str) -> None:
    """They follow each other from the header to the end, in bytes and in time; a player can begin at each."""
    units = samples.units_of(name) * 3
    writer = disk.writer(samples.format_of(name), seconds=60)

    closed = write_all(writer, units)

    assert closed is not None
    index = indexed(closed)
    assert index.size_bytes == closed.size_bytes
    assert index.length == closed.end_time - closed.start_time
    assert index.count > 1
    assert index.header_bytes == (len(units[0].header) if samples.format_of(name) is FileFormat.MP4 else 0)
    lengths = [piece.duration / 1e6 for piece in index]
    assert all(4 <= length < 7.5 for length in lengths[:-1]), lengths
    data = disk.data(closed)
    for piece in index:
        assert any(data.startswith(unit.data, piece.offset) for unit in units if unit.is_cut)


def framed(name: str, data: bytes, chunk: int, *, gathers: bool) -> list[Unit]:
    """The frames of data that comes in chunks; those of a chunk in one if it `gathers`."""
    framer = framer_for(samples.format_of(name))
    framer.gathers = gathers
    units = [unit for at in range(0, len(data), chunk) for unit in framer.feed(data[at : at + chunk])]
    return [*units, *framer.flush()]


@pytest.mark.parametrize("name", samples.names(*AUDIO))
@pytest.mark.parametrize("seconds", [2, 60])
@pytest.mark.parametrize("chunk", [4_000, 30_000, 1 << 20])
def test_files_and_their_pieces_end_at_the_same_frames_however_many_come_as_one(
    disk: Disk, name: str, seconds: int, chunk: int
) -> None:
    data = samples.joined(samples.units_of(name) * 3)
    single, together = (framed(name, data, chunk, gathers=gathers) for gathers in (False, True))
    assert len(together) < len(single)

    write_all(disk.writer(samples.format_of(name), seconds=seconds), single)
    expected = disk.files
    write_all(disk.writer(samples.format_of(name), seconds=seconds), together, at_once=1)

    found = disk.files[len(expected) :]
    assert [(f.start_time, f.end_time, f.sha256, f.index) for f in found] == [
        (f.start_time, f.end_time, f.sha256, f.index) for f in expected
    ]


def test_gathered_pictures_without_length_are_written(disk: Disk) -> None:
    """As those of a television whose time stamps stand still."""
    units = samples.units_of("tv.ts")
    still = Unit(units[0].data + units[1].data, 0, True, units[0].header, frames=2)
    writer = disk.writer(FileFormat.TS, seconds=60)

    closed = write_all(writer, [*units, still])

    assert closed is not None
    assert disk.data(closed).endswith(still.data)


def test_a_growing_file_tells_only_what_the_system_has(disk: Disk) -> None:
    units = samples.units_of("mp3.mp3") * 2
    writer = disk.writer(seconds=60)

    for begin in range(0, len(units), 20):
        writer.append(units[begin : begin + 20], wall)
        part = disk.archive.path / f"{writer.key}{layout.PART}"
        told = pieces.decoded(writer.growing.data).size_bytes if writer.growing else 0
        assert told <= part.stat().st_size

    assert writer.growing is not None
    writer.close(wall, "stalled")
    assert writer.growing is None


def indexed(fact: SegmentClosed) -> pieces.Index:
    assert fact.index is not None
    return pieces.decoded(base64.b64decode(fact.index))


def test_facts_are_told_in_the_order_of_the_design(disk: Disk) -> None:
    write_all(disk.writer(seconds=3), samples.units_of("mp3.mp3"))

    assert disk.kinds == ["RunStarted", "SegmentClosed", "SegmentClosed", "SegmentClosed", "RunEnded"]
    ended = disk.spool.pending()[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.end_time, ended.reason) == (disk.files[-1].end_time, "stalled")


def test_an_unfinished_file_is_a_part_that_the_spool_knows(disk: Disk) -> None:
    writer = disk.writer(seconds=60)

    writer.append(samples.units_of("mp3.mp3")[:50], wall)

    (opened,) = disk.spool.open_segments()
    assert disk.names == {opened.key + layout.PART}
    assert disk.files == []
    assert (writer.key, writer.start_time) == (opened.key, wall(0))
    assert writer.size_bytes == len(samples.joined(samples.units_of("mp3.mp3")[:50]))
    assert writer.media_seconds == pytest.approx(50 * 1152 / 44_100)


def test_a_writer_that_wrote_nothing_leaves_nothing(disk: Disk) -> None:
    assert disk.writer().close(wall, "stalled") is None
    assert (disk.names, disk.kinds) == (set(), [])


def test_closing_twice_is_closing_once(disk: Disk) -> None:
    writer = disk.writer()
    writer.append(samples.units_of("mp3.mp3")[:10], wall)

    assert writer.close(wall, "stalled") is not None
    assert writer.close(wall, "stalled") is None
    assert disk.kinds == ["RunStarted", "SegmentClosed", "RunEnded"]
    assert (writer.key, writer.start_time, writer.size_bytes, writer.media_seconds) == (None, None, 0, 0.0)


def test_a_run_may_begin_late_in_its_media(disk: Disk) -> None:
    units = samples.units_of("mp3.mp3")
    skipped = sum(unit.duration for unit in units[:20])

    write_all(disk.writer(media=skipped), units[20:])

    assert disk.files[0].start_time == wall(skipped)
    assert b"".join(map(disk.data, disk.files)) == samples.joined(units[20:])


def test_another_segment_length_holds_from_the_next_file(disk: Disk) -> None:
    writer, units = disk.writer(seconds=2), samples.units_of("mp3.mp3")
    writer.append(units[:80], wall)  # 2.09 s: past noon

    writer.segment_seconds = 3600
    write_all(writer, units[80:])

    starts = [fact.start_time for fact in disk.files]
    assert len(starts) == 3
    assert starts[2] - NOON >= timedelta(seconds=2)


def test_an_mp4_file_ends_where_its_header_does(disk: Disk) -> None:
    first, second = samples.units_of("opus.mp4"), samples.units_of("flac.mp4")

    write_all(disk.writer(FileFormat.MP4, seconds=3600), [*first, *second])

    disk.check()
    own = [fact for fact in disk.files if disk.data(fact).startswith(second[0].header)]
    assert disk.data(own[-1]).endswith(samples.joined(second)[-1000:])
    assert {disk.data(fact)[: len(first[0].header)] == first[0].header for fact in disk.files} == {True, False}


def test_units_without_length_make_no_empty_file(disk: Disk) -> None:
    """A hostile stream may claim that its media takes no time, and change its header with each piece."""
    units = [Unit(b"x", 0, True, header) for header in (b"a", b"b", b"c")]

    write_all(disk.writer(FileFormat.MP4), units, at_once=1)

    disk.check()
    assert disk.data(disk.files[0]) == b"axxx"


def test_a_wall_clock_that_stands_still_makes_no_empty_file(disk: Disk) -> None:
    writer = disk.writer()
    writer.append(samples.units_of("mp3.mp3")[:10], lambda _: NOON)

    writer.close(lambda _: NOON, "stalled")

    disk.check()


def afternoon(media: int) -> datetime:
    """A time without a boundary near."""
    return wall(media) + timedelta(minutes=10)


def test_syncs_are_as_far_apart_as_the_setting(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    writer, units = disk.writer(seconds=3600), samples.units_of("mp3.mp3")
    writer.append(units[:1], afternoon)
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(disk.clock.monotonic()))

    for tick in range(1, 100):
        disk.clock._move_to(tick / 10)
        writer.append(units[tick : tick + 1], afternoon)
        writer.sync()

    assert synced == pytest.approx([2, 4, 6, 8])


# --- when the disk fails


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Files may not grow beyond `size` bytes; the kernel says EFBIG, Python ignores the signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_what_it_has_taken_whole(disk: Disk) -> None:
    """The last file ends with the last units that were written, and the gap begins there."""
    units = samples.units_of("mp3.mp3")
    writer = disk.writer(seconds=60)
    writer.append(units[:10], wall)

    large = [Unit(bytes(300_000), FLICKS // 100, True)] * 2

    with file_limit(1_100_000):
        writer.append(large, wall)
        with pytest.raises(DiskFault) as caught:
            writer.append(large, wall)

    disk.check()
    assert caught.value.reason is GapReason.DISK_FULL
    assert caught.value.lost_from == disk.files[-1].end_time
    assert disk.files[-1].truncated
    assert disk.data(disk.files[-1]) == samples.joined(units[:10]) + bytes(600_000)
    assert disk.kinds[-1] == "RunEnded"


def test_a_disk_that_takes_nothing_costs_the_file(disk: Disk) -> None:
    with file_limit(1_048_576), pytest.raises(DiskFault) as caught:
        disk.writer().append([Unit(bytes(2 << 20), FLICKS, True)], wall)

    disk.check()
    assert (caught.value.reason, caught.value.lost_from) == (GapReason.DISK_FULL, wall(0))
    assert not disk.names  # or each attempt would leave a file on a disk that is full


def refusing(call: Callable[..., object], at: int) -> Callable[..., object]:
    """The call, but its n-th use fails with EIO."""
    uses = iter(range(1, 1_000_000))

    def maybe(*arguments: object, **options: object) -> object:
        if next(uses) == at:
            raise OSError(5, "Input/output error")
        return call(*arguments, **options)

    return maybe


@pytest.mark.parametrize("call", ["write", "fsync", "fdatasync", "open", "mkdir", "pwrite", "dup", "ftruncate"])
def test_whatever_fails_once_is_told_and_nothing_is_made_up(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The n-th use of a system call fails, for every n: what is spooled is on the disk, the rest is a gap."""
    units, faults = samples.units_of("mp3.mp3"), []
    for at in range(1, 60):
        done = len(disk.files)
        lost_from = None
        with monkeypatch.context() as patched:
            patched.setattr(os, call, refusing(getattr(os, call), at))
            try:
                write_all(disk.writer(seconds=1), units, at_once=40)
            except DiskFault as fault:
                lost_from = fault.lost_from
                faults.append(fault.reason)

        written = disk.files[done:]
        expected = lost_from or wall(sum(unit.duration for unit in units))
        assert all(before.end_time == after.start_time for before, after in pairwise(written))
        assert (written[-1].end_time if written else wall(0)) == expected
        assert samples.joined(units).startswith(b"".join(map(disk.data, written)))
        disk.check()

    assert set(faults) <= {GapReason.IO_ERROR}
    assert faults or call == "ftruncate"


def test_after_a_fault_the_writer_is_over(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = disk.writer()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refusing(os.write, 1))
        with pytest.raises(DiskFault):
            writer.append(samples.units_of("mp3.mp3"), wall)

    assert writer.close(wall, "stalled") is None
    facts: list[Fact] = disk.spool.pending()
    assert [type(fact).__name__ for fact in facts] == ["RunStarted", "RunEnded"]
