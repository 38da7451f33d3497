"""File operations below a folder: durable, never over a file, never through a link."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrec.archive import files
from streamrec.archive.files import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Tree(tmp_path / "archive") as tree:
        yield tree


def written(tree: Tree, name: str, data: bytes = b"data") -> Path:
    descriptor = tree.create(name)
    os.write(descriptor, data)
    os.close(descriptor)
    return tree.path / name


def test_create_makes_folders(tree: Tree) -> None:
    assert written(tree, "a/b/c.txt").read_bytes() == b"data"
    assert tree.names("a") == ["b"]
    assert tree.names("a/b") == ["c.txt"]


def test_a_folder_that_was_deleted_is_made_again(tree: Tree) -> None:
    """Nobody has to start the recorder anew."""
    written(tree, "a/b")
    shutil.rmtree(tree.path)

    assert written(tree, "a/c").read_bytes() == b"data"
    assert tree.names("a") == ["c"]


def test_create_refuses_a_name_that_is_taken(tree: Tree) -> None:
    path = written(tree, "a/b")

    with pytest.raises(FileExistsError):
        tree.create("a/b")

    assert path.read_bytes() == b"data"


def test_open_reads_regular_files_only(tree: Tree) -> None:
    written(tree, "a/b")
    os.mkfifo(tree.path / "a" / "fifo")

    descriptor = tree.open("a/b")
    assert os.read(descriptor, 9) == b"data"
    os.close(descriptor)
    for name in ("a/fifo", "a"):
        with pytest.raises(OSError, match="not a regular file") as caught:
            tree.open(name)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("name", ["../x", "a/../x", "/x", "", "a//x", "a/./x", "a\0", "a/.."])
def test_no_name_leaves_the_folder(tree: Tree, name: str) -> None:
    for use in (tree.create, tree.open, tree.unlink, tree.exists):
        with pytest.raises(ValueError, match="not a name below"):
            use(name)


def test_no_link_is_followed(tree: Tree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tree.path / "folder").symlink_to(outside)
    (tree.path / "file").symlink_to(outside / "secret")

    for use in (tree.create, tree.open):
        with pytest.raises(OSError, match=r"symbolic|Not a directory|File exists"):
            use("folder/secret")
        with pytest.raises(OSError, match=r"symbolic|File exists"):
            use("file")
    assert not tree.exists("file")
    assert not tree.exists("folder/secret")
    assert tree.names("folder") == []
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("has_call", [True, False])
def test_rename_never_replaces(tree: Tree, monkeypatch: pytest.MonkeyPatch, has_call: bool) -> None:
    """With renameat2, and with link and unlink where there is none."""
    if not has_call:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    one, two = written(tree, "a/one", b"1"), written(tree, "a/two", b"2")

    with pytest.raises(FileExistsError):
        tree.rename("a/one", "a/two")
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")

    tree.rename("a/one", "a/three")
    assert tree.names("a") == ["three", "two"]


def test_rename_stays_in_the_folder(tree: Tree) -> None:
    written(tree, "a/one")

    with pytest.raises(ValueError, match="another folder"):
        tree.rename("a/one", "b/one")


def test_move_goes_to_another_tree(tree: Tree, tmp_path: Path) -> None:
    written(tree, "a/one")

    with Tree(tmp_path / "other") as other:
        tree.move("a/one", other, "x/y/one")

        assert other.exists("x/y/one")
    assert not tree.exists("a/one")


def test_unlink_says_whether_there_was_a_file(tree: Tree) -> None:
    written(tree, "a/one")

    assert tree.unlink("a/one")
    assert not tree.unlink("a/one")
    assert not tree.unlink("nowhere/one")


def test_many_are_unlinked_and_what_stands_in_the_way_is_told(tree: Tree, tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "b/one"):
        written(tree, name)
    (tree.path / "a/folder").mkdir()
    (tree.path / "linked").symlink_to(tmp_path)

    failed = tree.unlink_all(["a/one", "a/two", "a/gone", "b/one", "nowhere/one", "a/folder", "linked/x"])

    assert set(failed) == {"a/folder", "linked/x"}
    assert (tree.names("a"), tree.names("b")) == (["folder"], [])


def test_what_is_missing_has_no_names(tree: Tree) -> None:
    assert tree.names() == []
    assert tree.names("nowhere") == []


def test_a_tree_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    with Tree(tmp_path / "archive") as tree:
        written(tree, "a/b/c")
        tree.rename("a/b/c", "a/b/d")
        tree.unlink("a/b/d")
        tree.exists("a/x/y")
    tree.close()

    assert len(list(Path("/proc/self/fd").iterdir())) == before
