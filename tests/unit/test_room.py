"""Room on a disk in the terms of settings and alarms."""

from __future__ import annotations

from pathlib import Path

from streamrec.archive import room
from streamrec.archive.room import Room


def test_the_share_is_of_the_whole_disk() -> None:
    assert Room(45_000_000_000, 1_000_000_000_000).free_percent == 4.5


def test_a_disk_without_a_size_has_no_room() -> None:
    assert Room(0, 0).free_percent == 0.0


def test_it_is_told_in_gigabytes_and_percent() -> None:
    assert str(Room(45_000_000_000, 1_000_000_000_000)) == "45.0 GB, 4.5 %"


def test_a_folders_disk_has_no_more_free_than_its_size(tmp_path: Path) -> None:
    found = room.of(tmp_path)

    assert 0 <= found.free_bytes <= found.disk_bytes
