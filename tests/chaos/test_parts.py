"""Files that are not closed in time are found."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from streamrec.archive import layout
from streamrec.clock import now
from streamrec.models import FileFormat
from tests.chaos import parts


def part(archive: Path, age: float) -> Path:
    """A file that has been written for so long, and still is."""
    began = now() - timedelta(seconds=age)
    key = layout.key(keyname="chaos-0000", start_time=began, run_id=uuid4(), format=FileFormat.MP3)
    path = archive / (key + layout.PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_part_that_is_older_than_a_segment_is_found_though_it_was_written_right_now(tmp_path: Path) -> None:
    path = part(tmp_path, 15.1)

    assert parts.old(tmp_path, 15.0) == [f"I5: {path.relative_to(tmp_path)} was begun 15.1 s ago"]


def test_a_part_that_is_younger_than_a_segment_is_right(tmp_path: Path) -> None:
    part(tmp_path, 5.0)

    assert parts.old(tmp_path, 15.0) == []


def test_a_part_that_nobody_closes_is_waited_for_until_it_is_old_and_found(tmp_path: Path) -> None:
    path = part(tmp_path, 14.8)

    assert parts.abandoned(tmp_path, 15.0) == [f"I5: {path.relative_to(tmp_path)} was begun 15.0 s ago"]


def test_an_archive_of_closed_files_has_none(tmp_path: Path) -> None:
    path = part(tmp_path, 20.0)
    path.rename(path.with_suffix(""))

    assert parts.abandoned(tmp_path, 15.0) == []


def test_a_part_whose_name_says_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "lost.part").touch()

    assert parts.old(tmp_path, 15.0) == ["I5: lost.part was begun inf s ago"]
