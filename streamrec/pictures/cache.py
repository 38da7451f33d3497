"""Small results that cost time to make, kept by what they were made of; losing one costs that time again."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_NAME = re.compile(r"[a-z]{1,16}/[0-9a-f]{2}/[0-9a-z_.-]{1,200}", re.ASCII)
_SUFFIX: Final = ".tmp"


class Cache:
    """Files below one folder. Names are made by the server: `<kind>/<first two digits>/<name>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What is kept under `name`, or else what `make` returns, then kept. A full disk keeps nothing."""
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name of the cache: {name!r}")
        path = self._folder / name
        with suppress(OSError):
            return path.read_bytes()
        data = make()
        with suppress(OSError):
            _write(path, data)
        return data

    def shrink(self, most_bytes: int) -> int:
        """Delete what was made longest ago until `most_bytes` are left; how many files went."""
        found = sorted((_age_and_size(path), path) for path in self._folder.glob("*/*/*"))
        left = sum(size for (_, size), _ in found)
        count = 0
        for (_, size), path in found:
            if left <= most_bytes:
                break
            path.unlink(missing_ok=True)
            left -= size
            count += 1
        return count


def _age_and_size(path: Path) -> tuple[float, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0.0, 0
    return found.st_mtime, found.st_size


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; durable it need not be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=_SUFFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).rename(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
