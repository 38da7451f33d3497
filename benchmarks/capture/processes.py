"""CPU time and memory of a tree of processes, from /proc (proc(5))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


def tree(root: int) -> set[int]:
    """A process and all its descendants that live now."""
    try:
        process = psutil.Process(root)
        return {root, *(child.pid for child in process.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def cpu_nanoseconds(pid: int) -> int:
    """Time on a CPU of all threads of a process so far: the first field of schedstat; 0 if it is gone."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except (OSError, IndexError):
            continue  # the thread ended between the two lines
    return total


def pss_bytes(pid: int) -> int:
    """Proportional set size: shared pages count by the share; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # renamed meanwhile
    return total


@dataclass(frozen=True)
class Reading:
    """The state of one method at a moment."""

    at: float
    cpu: dict[int, int]
    pss: int
    written: int
    processes: int
