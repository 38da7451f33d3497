"""A writer and the sync that it shares with others: when it syncs its file for itself."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import pytest

from streamrec.archive.files import Tree
from streamrec.archive.layout import PART
from streamrec.recorder.flusher import MANY, Sync
from streamrec.recorder.spool import Spool
from tests.crash import workload
from tests.crash.lives import Inline
from tests.crash.noting import Change, FolderSynced, Moment, Name, Notes, Synced, Write
from tests.recorder.stage import Stage, frames, play

BEATS = 9
EACH = range(BEATS)


def written(folder: Path, sync: Sync, flushed: Container[int] = EACH) -> list[Change]:
    """What is done for a file that is written each second, with a flush after those that are `flushed`."""
    notes, now = Notes(folder), 0
    with (
        Tree(folder / "archive") as archive,
        Spool(folder / "spool") as spool,
        Inline(archive.path, 2.0, monotonic=lambda: now, sync=sync) as flusher,
    ):
        desk = workload.Desk(archive, spool, 60, 2.0, flusher, lambda: now)
        with notes.taken():
            for now, step in enumerate(workload.steps([1], BEATS)):
                notes.moment(now, {})
                desk.write(1, step[1])
                for _ in range(MANY):  # others
                    flusher.flushed_at()
                if now in flushed:
                    flusher.flush()
        desk.close()
    return notes.changes


def syncs(changes: list[Change]) -> list[float]:
    """When the file was synced by itself."""
    inode = next(each.inode for each in changes if isinstance(each, Name) and each.path.endswith(PART))
    return moments(changes, Synced(inode or 0))


def moments(changes: list[Change], change: Change) -> list[float]:
    """When it was done."""
    now, found = 0.0, []
    for each in changes:
        if isinstance(each, Moment):
            now = each.seconds
        elif each == change:
            found.append(now)
    return found


def test_a_writer_leaves_its_file_to_a_flusher_that_is_in_time(tmp_path: Path) -> None:
    assert syncs(written(tmp_path, lambda _: 0)) == []


def test_a_writer_syncs_for_itself_when_the_flusher_fails(tmp_path: Path) -> None:
    assert syncs(written(tmp_path, lambda _: -1)) == [2, 4, 6, 8]


def test_a_writer_syncs_for_itself_when_the_flusher_is_a_second_late(tmp_path: Path) -> None:
    assert syncs(written(tmp_path, lambda _: 0, flushed=range(4))) == [6, 8]


def test_a_writer_leaves_its_file_to_a_flusher_that_has_come_back(tmp_path: Path) -> None:
    assert syncs(written(tmp_path, lambda _: 0, flushed=range(3, BEATS))) == [2]


def test_with_its_first_own_sync_a_files_name_is_sure(tmp_path: Path) -> None:
    changes = written(tmp_path, lambda _: -1)

    part = next(each.path for each in changes if isinstance(each, Name) and each.path.endswith(PART))
    assert moments(changes, FolderSynced(str(Path(part).parent))) == [2]


def oldest_unsynced(changes: list[Change]) -> float:
    """For how long, at most, bytes of a file of media had not been synced."""
    now, most, since = 0.0, 0.0, dict[int, float]()
    media = {each.inode for each in changes if isinstance(each, Name) and each.path.endswith(PART)}
    for each in changes:
        if isinstance(each, Moment):
            now = each.seconds
            most = max([most, *(now - at for at in since.values())])
        elif isinstance(each, Write) and each.inode in media:
            since.setdefault(each.inode, now)
        elif isinstance(each, Synced):
            since.pop(each.inode, None)
    return most


@pytest.mark.parametrize("every", [2, 6, 11])
def test_what_comes_seldom_is_synced_before_more_of_it_comes(tmp_path: Path, every: int) -> None:
    """A segment of HLS lies no longer unsynced than the bytes of a radio."""
    notes = Notes(tmp_path)

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        for second in range(60):
            if second % every == 0:
                stage.source.media(frames(every))
            await stage.clock.advance(1.0)
            notes.moment(second, {})
        await stage.stop()

    with notes.taken():
        play(tmp_path, scenario)

    assert sum(isinstance(change, Write) for change in notes.changes) > 60 // every
    assert oldest_unsynced(notes.changes) <= 3
