"""One ffmpeg that turns a stream of bytes into another, under limits, fed through a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from streamrec.errors import Unavailable
from streamrec.media.convert import Coding, convert_command
from streamrec.media.process import Child

log = structlog.get_logger(__name__)

WAIT_SECONDS: Final = 0.1
STEP_BYTES: Final = 1 << 20
MOST_WORDS: Final = 4000  # bytes of what ffmpeg says last that are kept for the log
MOST_OUTPUT: Final = 1 << 20  # bytes of stdout; files go to their path


def convert(
    executable: str,
    coding: Coding,
    given: Iterable[bytes],
    target: Path,
    *,
    lead_seconds: float,
    seconds: float | None,
    patience_seconds: float,
    check: Callable[[], None],
) -> None:
    """Write `target` from the bytes given, asking `check` several times a second whether to go on.

    Raises:
        Unavailable: ffmpeg failed, or took longer than `patience_seconds`.
    """
    command = convert_command(executable, coding, str(target), lead_seconds=lead_seconds, seconds=seconds)
    output(command, given, patience_seconds=patience_seconds, check=check)


def output(
    command: list[str],
    given: Iterable[bytes] = (),
    *,
    patience_seconds: float = 20.0,
    check: Callable[[], None] = lambda: None,
) -> bytes:
    """What a command writes to stdout, a megabyte at most, when it is fed these bytes.

    Raises:
        Unavailable: it failed, or took longer than `patience_seconds`.
    """
    running = _Running(
        Child(command, has_input=True, is_confined=True), time.monotonic() + patience_seconds, check
    )
    try:
        return running.fed(given)
    finally:
        running.end()


class _Running:
    def __init__(self, child: Child, deadline: float, check: Callable[[], None]) -> None:
        self._child = child
        self._deadline = deadline
        self._check = check
        self._words = b""
        self._output = b""

    def fed(self, given: Iterable[bytes]) -> bytes:
        for data in given:
            rest = memoryview(data)
            while rest and self._child.status() is None:
                rest = rest[self._child.write_input(rest) :]
                self._look(for_input=bool(rest))
            if rest:
                break  # it has all it wants, or has failed
        self._child.close_input()
        while (status := self._child.status()) is None:
            self._look(for_input=False)
            time.sleep(0.005)
        self._listen()
        if status != 0:
            log.warning("ffmpeg failed", status=status, said=self._words.decode(errors="replace")[-1000:])
            raise Unavailable("The media could not be converted.")
        return self._output

    def end(self) -> None:
        """Leave no child behind, however this ends."""
        while self._child.status() is None:
            self._child.kill()
            time.sleep(0.005)
        self._child.release()

    def _look(self, *, for_input: bool) -> None:
        self._check()
        self._listen()
        if time.monotonic() > self._deadline:
            raise Unavailable("The media could not be converted in time.")
        if for_input:
            self._child.await_room(WAIT_SECONDS)

    def _listen(self) -> None:
        self._words = (self._words + (self._child.read_errors(STEP_BYTES) or b""))[-MOST_WORDS:]
        self._output = (self._output + (self._child.read_output(STEP_BYTES) or b""))[:MOST_OUTPUT]
