"""Starts after a crash: killed writers, torn files, strays."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from streamrec.archive import files, layout
from streamrec.archive.files import Tree
from streamrec.clock import now
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat
from streamrec.recorder import recovery
from streamrec.recorder.facts import RunEnded, RunStarted, SegmentClosed, SegmentOpened
from streamrec.recorder.spool import Spool
from streamrec.recorder.writer import SegmentWriter
from tests import samples
from tests.fakes import NOON

MUTATING = ("write", "pwrite", "fsync", "fdatasync", "mkdir", "rename", "posix_fallocate")
"""What changes a disk; the crash comes just before one of these, or before a rename in the archive."""


def write_until_killed(folder: Path, units: list[Unit], file_format: FileFormat, *, at: int) -> bool:
    """Write a run in a child that is killed before its n-th change to the disk; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            uses = iter(range(1, 1_000_000))
            for name in MUTATING:
                setattr(os, name, _deadly(getattr(os, name), uses, at))
            files.rename_without_replacing = _deadly(files.rename_without_replacing, uses, at)
            write_run(folder, units, file_format)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _deadly(call: Callable[..., Any], uses: Iterator[int], at: int) -> Callable[..., Any]:
    def maybe(*arguments: Any, **options: Any) -> Any:
        if next(uses) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return maybe


def write_run(folder: Path, units: list[Unit], file_format: FileFormat) -> None:
    def wall(media: int) -> datetime:
        return NOON + timedelta(microseconds=media * 1_000_000 // FLICKS)

    run = RunStarted(uuid4(), 1, uuid4(), "ffmpeg", file_format, "codec", NOON)
    with Tree(folder / "archive") as archive, Spool(folder / "spool") as spool:
        writer = SegmentWriter(
            archive=archive, spool=spool, run=run, keyname="radio-one_", segment_seconds=2, sync_seconds=0.0
        )
        step = len(units) // 12 + 1
        for start in range(0, len(units), step):
            writer.append(units[start : start + step], wall)
            writer.sync()
        writer.close(wall, "stalled")


@dataclass
class Disk:
    """A data folder and what a start makes of it."""

    folder: Path
    archive: Tree
    spool: Spool

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine"

    def recover(self) -> list[SegmentClosed]:
        """Recover; all closed files that are owed afterwards."""
        recovery.recover(self.archive, self.spool, quarantine=self.quarantine)
        return self.closed

    @property
    def closed(self) -> list[SegmentClosed]:
        return [fact for fact in self.spool.pending() if isinstance(fact, SegmentClosed)]

    def data(self, fact: SegmentClosed) -> bytes:
        return (self.archive.path / fact.key).read_bytes()

    @property
    def names(self) -> set[str]:
        return _names(self.archive.path)

    @property
    def aside(self) -> set[str]:
        return {name.partition("/")[2] for name in _names(self.quarantine)}


def _names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Tree(tmp_path / "archive") as archive, Spool(tmp_path / "spool") as spool:
        yield Disk(tmp_path, archive, spool)


def check(disk: Disk, files: list[SegmentClosed], units: list[Unit]) -> None:
    """The invariants: files are rows and rows files, in order, without a byte that the station did not send."""
    for fact in files:
        data = disk.data(fact)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (fact.size_bytes, fact.sha256)
    assert disk.names == {fact.key for fact in files}
    assert all(
        before.end_time <= after.start_time + timedelta(microseconds=9) for before, after in pairwise(files)
    )
    assert disk.spool.open_segments() == []
    assert disk.spool.open_runs() == []
    header = units[0].header if files and files[0].format is FileFormat.MP4 else b""
    kept = b"".join(disk.data(fact).removeprefix(header) for fact in files)
    boundaries, at = {0}, 0
    for unit in units:
        at += len(unit.data)
        boundaries.add(at)
    assert samples.joined(units).startswith(kept)
    assert len(kept) in boundaries


@pytest.mark.parametrize("name", ["mp3.mp3", "aac.aac", "tv.ts", "tv.mp4"])
def test_a_crash_at_any_moment_leaves_whole_units_in_known_files(tmp_path: Path, name: str) -> None:
    """kill -9 before every single change to the disk, one after the other, and a start after each."""
    units, file_format = samples.units_of(name), samples.format_of(name)
    at, kept = 0, [0]
    is_killed = True
    while is_killed:
        at += 1
        folder = tmp_path / str(at)
        is_killed = write_until_killed(folder, units, file_format, at=at)

        with Tree(folder / "archive") as archive, Spool(folder / "spool") as spool:
            disk = Disk(folder, archive, spool)
            check(disk, disk.recover(), units)
            assert all(name.endswith(layout.PART) for name in disk.aside)
            kept.append(sum(fact.size_bytes for fact in disk.closed))

    assert at > 50
    assert kept == sorted(kept)
    assert kept[-1] >= len(samples.joined(units))


def opened(disk: Disk, file_format: FileFormat, data: bytes | None, *, is_final: bool = False) -> SegmentOpened:
    """A file as a crash leaves it: journaled, with this much written; None leaves no file at all."""
    start, run = now(), RunStarted(uuid4(), 1, uuid4(), "ffmpeg", file_format, "codec", now())
    key = layout.key(keyname="radio-one_", start_time=start, run_id=run.run_id, format=file_format)
    fact = SegmentOpened(uuid4(), run.run_id, 1, key, file_format, "codec", start)
    disk.spool.append(run)
    disk.spool.append(fact)
    if data is not None:
        descriptor = disk.archive.create(key if is_final else key + layout.PART)
        os.write(descriptor, data)
        os.close(descriptor)
    return fact


@pytest.mark.parametrize("name", samples.names(*FileFormat))
def test_a_torn_file_is_cut_to_its_last_whole_unit_and_plays(disk: Disk, name: str) -> None:
    units, file_format = samples.units_of(name), samples.format_of(name)
    whole = units[0].header + samples.joined(units)
    draw = random.Random(7)
    torn = [opened(disk, file_format, whole[: draw.randrange(len(whole) // 2, len(whole))]) for _ in range(3)]

    files = disk.recover()

    assert [fact.uuid for fact in files] == [fact.uuid for fact in torn]
    for fact in files:
        assert whole.startswith(disk.data(fact))
        length = fact.end_time - fact.start_time
        covered = samples.framed(file_format, [disk.data(fact)])[0]
        assert length.total_seconds() == pytest.approx(samples.seconds(covered), abs=1e-5)
        assert fact.truncated
        samples.ffmpeg("-i", str(disk.archive.path / fact.key), "-f", "null", "-")


@pytest.mark.parametrize("name", ["mp3.mp3", "tv.ts", "tv.mp4"])
@pytest.mark.parametrize("tail", [bytes(100_000), random.Random(5).randbytes(100_000)], ids=["zeros", "noise"])
def test_what_a_power_cut_put_behind_the_last_unit_is_cut_off(disk: Disk, name: str, tail: bytes) -> None:
    """File systems may bring back a file that is long enough and has nothing in it."""
    units = samples.units_of(name)
    kept = units[0].header + samples.joined(units[: len(units) // 2])
    opened(disk, samples.format_of(name), kept + tail)

    (fact,) = disk.recover()

    last = len(units[len(units) // 2 - 1].data)
    assert len(kept) - last <= fact.size_bytes <= len(kept)
    assert kept.startswith(disk.data(fact))


def test_a_file_that_had_its_name_is_closed_as_it_is(disk: Disk) -> None:
    """The crash came between the rename and the journal."""
    data = samples.sample("mp3.mp3")
    begun = opened(disk, FileFormat.MP3, data, is_final=True)

    (fact,) = disk.recover()

    assert (fact.key, fact.size_bytes, fact.truncated) == (begun.key, len(data), False)
    assert fact.sha256 == hashlib.sha256(data).hexdigest()
    assert fact.end_time - fact.start_time == pytest.approx(
        timedelta(seconds=samples.SECONDS), abs=timedelta(0, 0.1)
    )


@pytest.mark.parametrize("data", [None, b"", b"nothing that could be played" * 50])
def test_a_file_without_media_makes_no_recording(disk: Disk, data: bytes | None) -> None:
    """It is not deleted either."""
    begun = opened(disk, FileFormat.MP3, data)

    assert disk.recover() == []

    assert disk.names == set()
    assert disk.spool.open_segments() == []
    assert disk.aside == (set() if data is None else {begun.key + layout.PART})


def test_an_open_run_ends_where_its_last_file_does(disk: Disk) -> None:
    begun = opened(disk, FileFormat.MP3, samples.sample("mp3.mp3"))
    for fact in disk.spool.pending():
        disk.spool.done(fact)

    (file,) = disk.recover()

    assert disk.spool.pending() == [file, RunEnded(begun.run_id, file.end_time, "recorder_down")]


def test_a_run_without_a_file_ends_where_it_began(disk: Disk) -> None:
    opened(disk, FileFormat.MP3, None)
    (started, _), *_ = disk.spool.open_runs()

    disk.recover()

    assert disk.spool.pending()[-1] == RunEnded(started.run_id, started.start_time, "recorder_down")


def test_recovering_twice_changes_nothing(disk: Disk) -> None:
    opened(disk, FileFormat.MP3, samples.sample("mp3.mp3")[:-100])
    disk.recover()
    before = disk.spool.pending(), disk.names

    assert recovery.recover(disk.archive, disk.spool, quarantine=disk.quarantine) == []

    assert (disk.spool.pending(), disk.names) == before


def test_a_part_that_the_journal_does_not_know_is_set_aside(disk: Disk) -> None:
    name = f"{layout.day_folder('radio-one_', now())}/20260101T000000.000Z-0123456789ab.mp3.part"
    os.close(disk.archive.create(name))

    disk.recover()

    assert (disk.names, disk.aside) == (set(), {name})


def test_a_recovery_that_is_interrupted_goes_on_where_it_was(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th sync fails, for every n; the next start has the same result as if none had."""
    data = samples.sample("mp3.mp3")
    for at in range(1, 8):
        begun = opened(disk, FileFormat.MP3, data[:-100])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", _failing(at))
            with suppress(OSError):
                disk.recover()

        files = disk.recover()

        assert [fact.uuid for fact in files].count(begun.uuid) == 1
        assert disk.names == {fact.key for fact in files}
        assert disk.spool.open_segments() == disk.spool.open_runs() == []


def _failing(at: int) -> Callable[[int], None]:
    real, uses = os.fsync, iter(range(1, 1000))

    def maybe(descriptor: int) -> None:
        if next(uses) == at:
            raise OSError(5, "Input/output error")
        real(descriptor)

    return maybe


# --- files without rows


def final(disk: Disk, *, days_ago: int = 0) -> str:
    start = now() - timedelta(days=days_ago)
    key = layout.key(keyname="radio-one_", start_time=start, run_id=uuid4(), format=FileFormat.MP3)
    os.close(disk.archive.create(key))
    return key


def test_a_file_that_neither_journal_nor_database_knows_is_set_aside(disk: Disk) -> None:
    known, unknown, old = final(disk), final(disk), final(disk, days_ago=30)
    begun = opened(disk, FileFormat.MP3, b"x")
    spooled = opened(disk, FileFormat.MP3, samples.sample("mp3.mp3"), is_final=True)
    asked: list[str] = []

    moved = recovery.quarantine_unknown(
        disk.archive, disk.spool, quarantine=disk.quarantine, known=lambda keys: asked.extend(keys) or {known}
    )

    assert sorted(asked) == sorted([known, unknown])
    assert moved == [unknown]
    assert disk.aside == {unknown}
    assert disk.names == {known, old, begun.key + layout.PART, spooled.key}


def test_an_empty_archive_has_nothing_unknown(disk: Disk) -> None:
    moved = recovery.quarantine_unknown(disk.archive, disk.spool, quarantine=disk.quarantine, known=set)

    assert moved == []


def test_durations_of_salvaged_files_are_media_time(disk: Disk) -> None:
    """Forty whole frames of 26 ms, and one torn."""
    units = samples.units_of("mp3.mp3")
    opened(disk, FileFormat.MP3, samples.joined(units[:40]) + units[40].data[:9])

    (fact,) = disk.recover()

    assert fact.end_time - fact.start_time == timedelta(
        microseconds=sum(unit.duration for unit in units[:40]) * 1_000_000 // FLICKS
    )
