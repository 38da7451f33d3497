"""One sync for the files of all captures."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrec.recorder.flusher import MANY, Flusher
from tests.fakes import FakeClock
from tests.station.programs import eventually


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def flusher(tmp_path: Path, clock: FakeClock) -> Iterator[Flusher]:
    with Flusher(tmp_path, 3600, monotonic=clock.monotonic) as flusher:
        yield flusher


def test_what_was_written_before_a_flush_is_known_to_be_on_the_disk(flusher: Flusher) -> None:
    before = [flusher.flushed_at() for _ in range(MANY)]

    flusher.flush()

    assert set(before) == {float("-inf")}
    assert flusher.flushed_at() == 0.0


def test_a_file_system_is_left_alone_for_a_few_writes(flusher: Flusher) -> None:
    flusher.flushed_at()

    flusher.flush()

    assert flusher.flushed_at() == float("-inf")


def test_a_flush_that_fails_covers_nothing(tmp_path: Path, clock: FakeClock) -> None:
    with Flusher(tmp_path, 3600, monotonic=clock.monotonic, sync=lambda _: -1) as flusher:
        for _ in range(MANY):
            flusher.flushed_at()

        flusher.flush()

        assert flusher.flushed_at() == float("-inf")


def test_what_is_written_while_a_flush_lasts_is_not_covered(tmp_path: Path) -> None:
    seconds = 0.0

    def slow(_: int) -> int:
        nonlocal seconds
        seconds += 2.0
        return 0

    with Flusher(tmp_path, 3600, monotonic=lambda: seconds, sync=slow) as flusher:
        for _ in range(MANY):
            flusher.flushed_at()

        flusher.flush()

        assert (seconds, flusher.flushed_at()) == (2.0, 0.0)


def test_what_many_write_is_flushed_soon(tmp_path: Path) -> None:
    with Flusher(tmp_path, 0.02, monotonic=time.monotonic) as flusher:
        for _ in range(MANY):
            flusher.flushed_at()

        eventually(lambda: flusher.flushed_at() > 0, 10, "the file system was synced")


def test_it_reaches_the_files_of_its_own_file_system_only(flusher: Flusher, tmp_path: Path) -> None:
    ours = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    other = os.open("/proc/self/stat", os.O_RDONLY)

    found = flusher.reaches(ours), flusher.reaches(other)
    os.close(ours)
    os.close(other)

    assert found == (True, False)
