"""One ffmpeg that turns a stream of bytes into another, under limits, fed through a pipe."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from streamrec.errors import Unavailable
from streamrec.media.confinement import Limits
from streamrec.media.convert import MOST_THREADS, Coding, convert_command
from streamrec.media.process import Child, FilePart

log = structlog.get_logger(__name__)

WAIT_SECONDS: Final = 0.1
GATHER_SECONDS: Final = 0.003  # in which it reads some of what a wide pipe holds; to fill up each bit costs more
STEP_BYTES: Final = 1 << 20
MOST_WORDS: Final = 16_000  # bytes of what ffmpeg says last that are kept for the log
Given = bytes | FilePart
"""What a command is fed."""
MOST_OUTPUT: Final = 1 << 20  # bytes of stdout; files go to their path
MOST_FILE: Final = 64 << 30  # bytes: a day of television


def convert(
    executable: str,
    coding: Coding,
    given: Iterable[Given],
    target: Path,
    *,
    lead_seconds: float,
    seconds: float | None,
    zero_seconds: float | None = None,
    patience_seconds: float,
    check: Callable[[], None],
) -> None:
    """Write `target`, which is there, from the bytes given; `check` is asked often whether to go on.

    Raises:
        Unavailable: ffmpeg failed, or took longer than `patience_seconds`.
    """
    command = convert_command(
        executable, coding, str(target), lead_seconds=lead_seconds, seconds=seconds, zero_seconds=zero_seconds
    )
    output(command, given, patience_seconds=patience_seconds, check=check, target=target)


def output(
    command: list[str],
    given: Iterable[Given] = (),
    *,
    patience_seconds: float = 20.0,
    check: Callable[[], None] = lambda: None,
    target: Path | None = None,
) -> bytes:
    """What a command writes to stdout, a megabyte at most, when it is fed these bytes. It writes `target` alone.

    Raises:
        Unavailable: it failed, or took longer than `patience_seconds`.
    """
    running = _begun(command, patience_seconds, check, target)
    try:
        return running.fed(given)
    finally:
        running.end()


@contextmanager
def flowing(
    command: list[str], given: Iterable[Given], *, patience_seconds: float, check: Callable[[], None]
) -> Iterator[Flow]:
    """A command that is fed while what it writes is read; its child is gone afterwards."""
    running = _begun(command, patience_seconds, check)
    try:
        yield Flow(running, running.flow(given))
    finally:
        running.end()


def _begun(
    command: list[str], patience_seconds: float, check: Callable[[], None], target: Path | None = None
) -> _Running:
    cpu_seconds = math.ceil(patience_seconds) * (MOST_THREADS + 1)  # for when nobody is left who watches the clock
    file_bytes = 0 if target is None else MOST_FILE
    limits = Limits(writes=target, file_bytes=file_bytes, cpu_seconds=cpu_seconds)
    child = Child(command, has_input=True, limits=limits)
    return _Running(child, time.monotonic() + patience_seconds, check)


class Flow:
    """What a command writes, piece by piece. Iterating raises Unavailable: it failed, or took too long."""

    def __init__(self, running: _Running, chunks: Iterator[bytes]) -> None:
        self._running = running
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    @property
    def words(self) -> list[str]:
        """The lines that it has said; of what is more than a screen, the last."""
        return self._running.words.decode(errors="replace").splitlines()


def _left(rest: FilePart | memoryview) -> int:
    return rest.size if isinstance(rest, FilePart) else len(rest)


class _Running:
    def __init__(self, child: Child, deadline: float, check: Callable[[], None]) -> None:
        self._child = child
        self._deadline = deadline
        self._check = check
        self.words = b""

    def fed(self, given: Iterable[Given]) -> bytes:
        output = b""
        for data in self.flow(given):
            output = (output + data)[:MOST_OUTPUT]
        return output

    def flow(self, given: Iterable[Given]) -> Iterator[bytes]:
        """Feed it, and yield what it writes."""
        for data in given:
            rest: FilePart | memoryview = data if isinstance(data, FilePart) else memoryview(data)
            while (left := _left(rest)) and self._child.status() is None:
                rest = self._passed(rest)
                is_full = _left(rest) == left
                yield from self._look(awaits=is_full)
                if is_full and self._child.is_wide:
                    time.sleep(GATHER_SECONDS)
            if left:
                break  # it has all it wants, or has failed
        self._child.close_input()
        while self._child.status() is None:
            yield from self._look(awaits=True)
        yield from self._rest()
        if self._child.status() != 0:
            said = self.words.decode(errors="replace")[-1000:]
            log.warning("ffmpeg failed", status=self._child.status(), said=said)
            raise Unavailable("The media could not be converted.")

    def _passed(self, rest: FilePart | memoryview) -> FilePart | memoryview:
        """What is left after the child took what it has room for."""
        if isinstance(rest, memoryview):
            return rest[self._child.write_input(rest) :]
        try:
            taken = self._child.pass_input(rest)
        except OSError as exc:
            if exc.errno == errno.ENODATA:
                raise Unavailable("A recording's file became shorter while it was read.") from exc
            data = os.pread(rest.descriptor, min(rest.size, STEP_BYTES), rest.offset)
            taken = self._child.write_input(data)
        return FilePart(rest.descriptor, rest.offset + taken, rest.size - taken)

    def end(self) -> None:
        """Leave no child behind, however this ends."""
        while self._child.status() is None:
            self._child.kill()
            time.sleep(0.005)
        self._child.release()

    def _look(self, *, awaits: bool) -> Iterator[bytes]:
        self._check()
        if time.monotonic() > self._deadline:
            raise Unavailable("The media could not be converted in time.")
        written = self._read()
        if written:
            yield written
        elif written == b"":
            time.sleep(0.001)  # it has closed its output and is about to end
        elif awaits:
            self._child.await_traffic(WAIT_SECONDS)

    def _rest(self) -> Iterator[bytes]:
        while written := self._read():
            yield written

    def _read(self) -> bytes | None:
        """What it has written; what it said before is known then."""
        written = self._child.read_output(STEP_BYTES)
        self.words = (self.words + (self._child.read_errors(STEP_BYTES) or b""))[-MOST_WORDS:]
        return written
