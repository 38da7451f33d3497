"""The bytes of files that are recorded, or being recorded, wherever they lie now."""

from __future__ import annotations

import os
from pathlib import Path

from streamrec.archive import files, layout


def opened(archive_dir: Path, key: str) -> int | None:
    """A descriptor of the file under its key, or under the name it has while it is written; None if it is gone.

    It may get its final name between two looks, hence the third.
    """
    try:
        with files.Tree(archive_dir) as tree:
            for name in (key, key + layout.PART, key):
                try:
                    return tree.open(name)
                except FileNotFoundError:
                    continue
    except OSError:
        return None
    return None


def size(archive_dir: Path, key: str) -> int | None:
    """How many bytes there are now; None if the file is gone."""
    descriptor = opened(archive_dir, key)
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
