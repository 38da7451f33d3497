"""One supervised child process: its own process group, bounded pipes, and no way to outlive the recorder."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from streamrec.clock import Clock
from streamrec.media import confinement
from streamrec.media.confinement import FED, Limits

GRACE_SECONDS: Final = 2.0
_PIPE_BYTES: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031
_STEP_BYTES: Final = 65536


def environment() -> dict[str, str]:
    """A child gets no secrets, no proxy and no locale of ours; only where the certificates are."""
    paths = ssl.get_default_verify_paths()
    certificates = os.environ.get(paths.openssl_cafile_env) or paths.cafile
    known = {"LC_ALL": "C", "PATH": os.defpath}
    return known | {"SSL_CERT_FILE": certificates} if certificates else known


class FilePart(NamedTuple):
    """`size` bytes of an open file from `offset` on."""

    descriptor: int
    offset: int
    size: int


class Child:
    """A running child whose pipes are read without blocking, a tick at a time.

    Reading on a tick, instead of whenever a byte arrives, is what makes hundreds of captures cheap: a wake-up
    costs more than the bytes it brings.
    """

    def __init__(
        self,
        command: list[str],
        *,
        register: Path | None = None,
        limits: Limits = FED,
        has_input: bool = False,
        told: bytes | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        """Spawn `command`, an argument list whose paths are absolute.

        `register` is the folder in which `sweep` looks for leftovers.
        `has_input`: stdin is a pipe for `write_input`, else it is empty, or all that it holds is `told` (65,536
        bytes at most). `pass_fds`: descriptors it has too.
        """
        self._process = _spawned(command, limits, pass_fds, has_input=has_input or told is not None)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._pipes = (self._process.stdout.fileno(), self._process.stderr.fileno())
        for pipe in self._pipes:
            os.set_blocking(pipe, False)
        self.is_wide = False
        """Whether stdin has room for so much that it need not be filled up all the time."""
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
            self.is_wide = _widen(self._process.stdin.fileno())
        _widen(self._pipes[0])
        self._entry = _registered(register, self._process.pid)
        if told is not None:
            self.write_input(told)
            self.close_input()

    @property
    def pid(self) -> int:
        return self._process.pid

    def read_output(self, limit: int) -> bytes | None:
        """Up to `limit` bytes of stdout that are there now; None if there are none yet, b"" at its end."""
        return _drain(self._pipes[0], limit)

    def read_errors(self, limit: int) -> bytes | None:
        """The same of stderr."""
        return _drain(self._pipes[1], limit)

    def write_input(self, data: bytes | memoryview) -> int:
        """How many bytes of `data` stdin has taken; all of them if it is closed, because nobody wants them."""
        stdin = self._process.stdin
        assert stdin is not None, "the child was spawned without an input"
        if stdin.closed:
            return len(data)
        try:
            return os.write(stdin.fileno(), data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)

    def pass_input(self, part: FilePart) -> int:
        """How many bytes of a file stdin has taken; none of them is copied through this process.

        Raises OSError: the file's system cannot do that, or the file is shorter.
        """
        stdin = self._process.stdin
        assert stdin is not None, "the child was spawned without an input"
        try:
            taken = os.splice(
                part.descriptor, stdin.fileno(), part.size, offset_src=part.offset, flags=os.SPLICE_F_NONBLOCK
            )
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return part.size
        if taken == 0:
            raise OSError(errno.ENODATA, "the file is shorter")
        return taken

    def await_room(self, seconds: float) -> None:
        """Wait until stdin takes more, or for so long."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            select.select([], [self._process.stdin], [], seconds)

    def await_traffic(self, seconds: float) -> None:
        """Wait until stdin takes more, or stdout has more, or for so long."""
        stdin = self._process.stdin
        inputs = [stdin] if stdin is not None and not stdin.closed else []
        select.select(self._pipes[:1], inputs, [], seconds)

    def close_input(self) -> None:
        """Tell it that nothing more comes."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def status(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs. Reaps the child."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to finish what it is writing and leave."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with everything it started."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):  # it ended between the two lines
                os.killpg(self._process.pid, number)

    async def ended(self, clock: Clock, seconds: float) -> int | None:
        """Wait up to `seconds` for its end; the exit status, or None if it still runs."""
        deadline = clock.monotonic() + seconds
        while (status := self.status()) is None and clock.monotonic() < deadline:
            await clock.sleep(0.02)
        return status

    async def finish(self, clock: Clock, grace: float = 0.0) -> int:
        """Wait `grace` seconds, then kill; close the pipes and return the exit status."""
        status = await self.ended(clock, grace)
        while status is None:
            self.kill()  # again and again: a child in an uninterruptible wait dies when the kernel lets go
            status = await self.ended(clock, 1.0)
        self.release()
        return status

    def release(self) -> None:
        """Close the pipes and forget a child that has ended."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if self._entry is not None:
            self._entry.unlink(missing_ok=True)


def _spawned(
    command: list[str], limits: Limits, pass_fds: tuple[int, ...], *, has_input: bool
) -> subprocess.Popen[bytes]:
    """Confined, in the root folder, which says nothing about us."""
    variables = environment()
    executable = str(Path(shutil.which(command[0]) or command[0]).absolute())
    rules = confinement.rules(executable, limits, variables.get("SSL_CERT_FILE", ""))
    try:
        return subprocess.Popen(
            [executable, *command[1:]],
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=variables,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=confinement.steps(limits, rules=rules),
        )
    finally:
        if rules is not None:
            os.close(rules)


def _widen(pipe: int) -> bool:
    """Ask for room for a tick of a fat stream (fcntl(2), F_SETPIPE_SZ); the default 64 KiB works too.

    Whether there is such room now.
    """
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # the user's share of pipe memory is used up
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
            return True
    return False


def _drain(pipe: int, limit: int) -> bytes | None:
    pieces: list[bytes] = []
    room = limit
    while room > 0:
        try:
            piece = os.read(pipe, min(room, _STEP_BYTES))
        except BlockingIOError:
            break
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        if len(piece) < min(room, _STEP_BYTES):
            break  # that was all; asking again would cost a system call to learn it
        room -= len(piece)
    return b"".join(pieces) or None


# --- leftovers --------------------------------------------------------------------------------------------


def started(pid: int) -> str | None:
    """What tells this process from another that later has the same pid, or None if there is none.

    Field 22 of /proc/<pid>/stat: ticks since boot (proc(5)); zombies (state Z) count as gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def _registered(folder: Path | None, pid: int) -> Path | None:
    """Note the child on disk; without /proc there is nothing to tell a reused pid by, so nothing is noted."""
    identity = started(pid) if folder is not None else None
    if folder is None or identity is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    entry = folder / str(pid)
    entry.write_text(f"{os.getpid()} {started(os.getpid())} {identity}")
    return entry


def sweep(folder: Path) -> list[int]:
    """Kill what a recorder that is gone left behind; a pid that now belongs to something else is left alone.

    Returns: the pids that were killed.
    """
    killed: list[int] = []
    for entry in sorted(folder.glob("[0-9]*")) if folder.is_dir() else []:
        try:
            owner, owner_identity, identity = entry.read_text().split()
            pid = int(entry.name)
            if started(int(owner)) == owner_identity:
                continue  # its recorder lives
            if started(pid) == identity:
                os.killpg(pid, signal.SIGKILL)
                killed.append(pid)
        except (OSError, ValueError):
            pass  # torn by the crash, or ended meanwhile
        entry.unlink(missing_ok=True)
    return killed
