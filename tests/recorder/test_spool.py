"""The journal of facts: order, replacement, crashes, damage, full disks."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from streamrec.errors import Conflict
from streamrec.models import FileFormat, GapReason
from streamrec.recorder import journal
from streamrec.recorder.facts import (
    Fact,
    GapNoted,
    RunEnded,
    RunStarted,
    SegmentClosed,
    SegmentOpened,
    decode,
    encode,
)
from streamrec.recorder.spool import Spool
from tests.fakes import NOON

MINUTE = timedelta(minutes=1)
RUN = RunStarted(uuid4(), 7, uuid4(), "ffmpeg", FileFormat.MP3, "mp3", NOON)
OPENED = SegmentOpened(uuid4(), RUN.run_id, 7, "a/b", FileFormat.MP3, "mp3", NOON)
CLOSED = SegmentClosed(
    OPENED.uuid, RUN.run_id, 7, "a/b", FileFormat.MP3, "mp3", NOON, NOON + MINUTE, 1000, "0" * 64
)
ENDED = RunEnded(RUN.run_id, NOON + MINUTE, "stalled")
GAP = GapNoted(uuid4(), 7, NOON, NOON + MINUTE, GapReason.DNS, 'A "quoted" name,\nand ünïcode \u2028.')
EVERY: list[Fact] = [RUN, OPENED, CLOSED, ENDED, GAP]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@contextmanager
def crashed(spool: Spool, folder: Path) -> Iterator[Spool]:
    """What another process finds when this one is killed: the files as they are."""
    copy = folder.with_name(f"copy-{uuid4().hex}")
    copy.mkdir()
    (copy / "journal").write_bytes((folder / "journal").read_bytes())
    with Spool(copy) as again:
        yield again
    del spool


@pytest.mark.parametrize("fact", EVERY, ids=lambda fact: type(fact).__name__)
def test_a_fact_is_one_line_and_comes_back(fact: Fact) -> None:
    assert b"\n" not in encode(fact)
    assert decode(encode(fact)) == fact


@pytest.mark.parametrize("line", [b"", b"Nothing {}", b"RunEnded {", b"\xff {}", b"RunEnded {}"])
def test_what_is_no_fact_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a kind|validation error"):
        decode(line)


def test_facts_are_owed_in_order_until_they_are_done(folder: Path) -> None:
    with Spool(folder) as spool:
        for fact in EVERY:
            spool.append(fact)

        assert spool.pending() == [RUN, CLOSED, ENDED, GAP]
        assert spool.pending(2) == [RUN, CLOSED]
        spool.done(RUN)
        spool.done(CLOSED)
        assert spool.pending() == [ENDED, GAP]
    with Spool(folder) as again:
        assert again.pending() == [ENDED, GAP]


def test_every_appended_fact_survives_a_crash(folder: Path) -> None:
    with Spool(folder) as spool:
        for count, fact in enumerate(EVERY, 1):
            spool.append(fact)
            with crashed(spool, folder) as again:
                assert again.pending() == [fact for fact in EVERY[:count] if fact is not OPENED]


def test_a_torn_last_line_is_cut(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append(RUN)
        spool.append(GAP)
    whole = (folder / "journal").read_bytes().rstrip(b"\0")

    for cut in range(1, len(encode(GAP)) + 10):
        (folder / "journal").write_bytes(whole[:-cut])
        with Spool(folder) as again:
            assert again.pending() == [RUN]
        assert [path.name for path in folder.glob("*damaged*")] == []


def test_damage_in_the_middle_costs_its_line_and_is_kept(folder: Path) -> None:
    with Spool(folder) as spool:
        for fact in (RUN, GAP, ENDED):
            spool.append(fact)
    data = bytearray((folder / "journal").read_bytes())
    data[data.index(b"GapNoted") + 20] ^= 1
    (folder / "journal").write_bytes(data)

    with Spool(folder) as again:
        assert again.pending() == [RUN, ENDED]
    (kept,) = folder.glob("journal.damaged-*")
    assert kept.read_bytes() == data


def test_a_gap_replaces_the_one_it_extends(folder: Path) -> None:
    longer = replace(GAP, end_time=GAP.end_time + MINUTE)
    with Spool(folder) as spool:
        spool.append(GAP)
        spool.append(ENDED)
        spool.append(longer)

        assert spool.pending() == [ENDED, longer]
        spool.done(GAP)
        assert spool.pending() == [ENDED, longer]
        spool.done(longer)
    with Spool(folder) as again:
        assert again.pending() == [ENDED]


def test_an_open_file_is_known_until_it_is_closed(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append(OPENED)
        with crashed(spool, folder) as again:
            assert again.open_segments() == [OPENED]

        spool.append(CLOSED)
        with crashed(spool, folder) as again:
            assert again.open_segments() == []


def test_an_open_file_may_be_given_up(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append(OPENED)
        spool.done(OPENED)

        assert spool.open_segments() == []
    with Spool(folder) as again:
        assert again.open_segments() == []


def test_an_open_run_is_known_with_its_last_file_even_when_both_are_done(folder: Path) -> None:
    with Spool(folder) as spool:
        for fact in (RUN, CLOSED):
            spool.append(fact)
            spool.done(fact)
        later = replace(CLOSED, uuid=uuid4(), key="a/c")
        spool.append(later)
        spool.done(later)
    for _ in range(2):  # the journal is written anew at each start
        with Spool(folder) as again:
            assert again.pending() == []
            assert again.open_runs() == [(RUN, later)]
    with Spool(folder) as again:
        again.append(ENDED)
        again.done(ENDED)
        assert again.open_runs() == []
    with Spool(folder) as again:
        assert (again.open_runs(), again.pending()) == ([], [])


def test_one_recorder_at_a_time(folder: Path) -> None:
    with Spool(folder), pytest.raises(Conflict):
        Spool(folder)
    with Spool(folder):
        pass


def test_the_journal_does_not_grow_with_what_is_done(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append(ENDED)
        long = replace(GAP, detail="x" * 200_000)
        for _ in range(100):
            spool.append(long)

        assert (folder / "journal").stat().st_size < 8 << 20
        with crashed(spool, folder) as again:
            assert again.pending() == [ENDED, long]


def test_threads_share_their_syncs(folder: Path) -> None:
    gaps = [[replace(GAP, uuid=uuid4()) for _ in range(50)] for _ in range(8)]
    with Spool(folder) as spool:
        threads = [threading.Thread(target=lambda mine=mine: [spool.append(gap) for gap in mine]) for mine in gaps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        with crashed(spool, folder) as again:
            told = again.pending()
    for mine in gaps:
        assert [gap for gap in told if gap in mine] == mine


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Files may not grow beyond `size` bytes; the kernel says EFBIG, Python ignores the signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_room_is_set_aside_so_that_a_full_disk_can_be_told_of(folder: Path) -> None:
    with Spool(folder) as spool:
        with file_limit((folder / "journal").stat().st_size):
            for _ in range(100):
                spool.append(replace(GAP, uuid=uuid4()))

        assert len(spool.pending()) == 100


def test_a_disk_that_refuses_is_told_and_recovered_from(folder: Path) -> None:
    """The fact is true all the same: it stays pending, and is in the next journal that can be written."""
    large = replace(GAP, detail="x" * (2 << 20))
    with Spool(folder) as spool:
        spool.append(RUN)
        with file_limit(1 << 20), pytest.raises(OSError, match="File too large"):
            spool.append(large)
        with file_limit(1 << 20), pytest.raises(OSError, match="File too large"):
            spool.append(ENDED)
        spool.done(RUN)

        assert spool.pending() == [large, ENDED]
        spool.append(CLOSED)
        with crashed(spool, folder) as again:
            assert again.pending() == [large, ENDED, CLOSED]


def test_a_failed_sync_is_never_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it the whole journal is written anew."""
    with Spool(folder) as spool:
        spool.append(RUN)
        before = (folder / "journal").stat().st_ino
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, "fdatasync", _refuse)
            with pytest.raises(OSError, match="I/O"):
                spool.append(GAP)
        spool.append(ENDED)

        assert (folder / "journal").stat().st_ino != before
        with crashed(spool, folder) as again:
            assert again.pending() == [RUN, GAP, ENDED]


def _refuse(descriptor: int) -> None:
    raise OSError(5, "I/O error")


def test_a_closed_spool_takes_nothing(folder: Path) -> None:
    spool = Spool(folder)
    spool.close()
    spool.close()

    with pytest.raises(OSError, match="broken"):
        spool.append(GAP)
