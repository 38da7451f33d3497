"""Whose folder an archive is, and what becomes of writing when it is not the one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from streamrec import roots
from streamrec.archive import root
from streamrec.archive.files import StorageMissing, Tree
from streamrec.archive.root import Watch
from streamrec.models import GapReason
from streamrec.recorder.diskfault import disk_reason

HOST = "studio-1"
SPOOL = uuid4()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Tree(tmp_path / "archive") as tree:
        yield tree


def watch(session: Session, tree: Tree, spool=SPOOL) -> Watch:
    watching = Watch(tree, spool)
    watching.expect(roots.expected(session, tree, host=HOST))
    watching.look()
    return watching


def test_a_new_folder_is_marked_and_known_again(session: Session, tree: Tree) -> None:
    first = roots.expected(session, tree, host=HOST)

    assert root.identity(tree) == first
    assert roots.expected(session, tree, host=HOST) == first
    assert watch(session, tree).fault is None


def test_the_room_is_that_of_the_archive_and_unknown_without_it(session: Session, tree: Tree) -> None:
    watching = watch(session, tree)
    before = watching.room
    (tree.path / root.MARK).unlink()
    watching.look()

    assert before is not None
    assert before.disk_bytes == shutil.disk_usage(tree.path).total
    assert watching.room is None


def test_a_folder_without_its_mark_takes_no_file_until_it_is_back(session: Session, tree: Tree) -> None:
    """As when the disk is not mounted: nothing may be written into the bare mount point."""
    watching = watch(session, tree)
    (tree.path / root.MARK).rename(tree.path.parent / "kept")
    watching.look()
    with pytest.raises(StorageMissing) as refused:
        tree.create("a/b")
    (tree.path.parent / "kept").rename(tree.path / root.MARK)
    watching.look()
    os.close(tree.create("a/b"))

    assert disk_reason(refused.value) is GapReason.STORAGE_MISSING
    assert watching.fault is None


def test_a_start_without_the_disk_marks_no_bare_mount_point(session: Session, tree: Tree) -> None:
    roots.expected(session, tree, host=HOST)
    (tree.path / root.MARK).unlink()

    assert "is not the archive" in watch(session, tree).fault
    assert root.identity(tree) is None


def test_another_disk_in_its_place_is_refused(session: Session, tree: Tree) -> None:
    watching = watch(session, tree)
    shutil.move(tree.path, tree.path.with_name("right"))
    with Tree(tree.path) as wrong:
        root.mark(wrong, uuid4())
    watching.look()

    with pytest.raises(StorageMissing):
        tree.create("a")


def test_a_file_that_is_open_is_finished_on_the_disk_that_went(session: Session, tree: Tree) -> None:
    """Its bytes are there; a lazy unmount leaves it to whoever has it open."""
    watching = watch(session, tree)
    os.close(tree.create("a/b.part"))
    tree.path.rename(tree.path.with_name("away"))
    tree.path.mkdir()
    watching.look()
    tree.rename("a/b.part", "a/b")

    assert (tree.path.with_name("away") / "a/b").exists()


def test_a_disk_that_is_mounted_again_is_written_through_its_path(session: Session, tree: Tree) -> None:
    """The descriptor from before would lead to what is mounted no more."""
    watching = watch(session, tree)
    right = tree.path.with_name("right")
    tree.path.rename(right)
    watching.look()
    assert watching.fault is not None
    right.rename(tree.path)
    watching.look()
    os.close(tree.create("a"))

    assert (tree.path / "a").exists()


def test_a_folder_of_another_database_is_refused_until_it_is_adopted(session: Session, tree: Tree) -> None:
    root.mark(tree, uuid4())
    assert "is not the archive" in watch(session, tree).fault

    roots.adopt(session, tree, host=HOST)

    assert watch(session, tree).fault is None


def test_adopting_lets_a_recorder_at_work_go_on(session: Session, tree: Tree) -> None:
    watching = watch(session, tree)
    (tree.path / root.MARK).unlink()
    watching.look()
    roots.adopt(session, tree, host=HOST)
    watching.look()

    assert watching.fault is None


def test_recorders_of_one_spool_share_the_folder_and_others_keep_out(session: Session, tree: Tree) -> None:
    first = watch(session, tree)
    with Tree(tree.path) as second, Tree(tree.path) as foreign:
        sharing = watch(session, second)
        stranger = watch(session, foreign, uuid4())
        assert (first.fault, sharing.fault) == (None, None)
        assert "another spool" in stranger.fault
        first.close()
        sharing.close()
        stranger.look()

        assert stranger.fault is None


def test_a_spool_keeps_its_id(tmp_path: Path) -> None:
    with Tree(tmp_path) as spools:
        assert root.spool_id(spools) == root.spool_id(spools)
        assert spools.names() == ["identity"]
