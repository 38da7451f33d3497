"""What a child cannot do, tried by real children."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrec.clock import SystemClock
from streamrec.media import confinement, landlock
from streamrec.media.confinement import CONNECTING, FED, Found, Limits
from streamrec.media.process import Child

CONNECT = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5).sendall(b"here")
    print("connected")
except OSError as exc:
    print(exc.errno)
"""
PYTHON = os.path.realpath(sys.executable)  # without our environment, which no child can read
CLONE_NEWNET, CLONE_NEWUSER = 0x4000_0000, 0x1000_0000
NOBODY = 65534


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def port(server: socket.socket) -> str:
    number: int = server.getsockname()[1]
    return str(number)


def said(code: str, *arguments: str, limits: Limits = FED, pass_fds: tuple[int, ...] = ()) -> str:
    """What a child with these limits prints."""

    async def scenario() -> str:
        child = Child([PYTHON, "-I", "-c", code, *arguments], limits=limits, pass_fds=pass_fds)
        data = b""
        try:
            while (piece := child.read_output(1 << 16)) != b"":
                data += piece or b""
                await asyncio.sleep(0.005)
        finally:
            await child.finish(SystemClock(), 5.0)
        return data.decode().strip()

    return asyncio.run(scenario())


def refusal(allowed: Found, server: socket.socket, *, user: int | None = None) -> int:
    """The error with which a child that has only the allowed locks fails to connect; 0 if it connects."""
    confine, address = confinement.steps(FED, allowed), server.getsockname()

    def attempt() -> None:
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        confine()
        try:
            socket.create_connection(address, timeout=5)
        except OSError as exc:
            os._exit(exc.errno or 255)
        os._exit(0)

    return subprocess.run(["/bin/true"], preexec_fn=attempt, check=False, timeout=20).returncode


def test_this_machine_allows_both_locks():
    """Else the tests below prove less than they say."""
    assert confinement.found().namespace != 0
    assert confinement.found().has_filter


def test_a_child_without_network_reaches_no_port_of_ours(listening: socket.socket):
    """It is refused, and nobody knocks; a child that is to connect does."""
    assert said(CONNECT, port(listening)) != "connected"
    with pytest.raises(BlockingIOError):
        listening.accept()

    assert said(CONNECT, port(listening), limits=CONNECTING) == "connected"


def test_an_empty_network_namespace_holds_alone(listening: socket.socket):
    """Where there is no seccomp: not even loopback is up."""
    way = confinement.found().namespace

    assert refusal(Found(way, has_filter=False), listening) == errno.ENETUNREACH


def test_a_seccomp_filter_holds_alone(listening: socket.socket):
    """Where a container may make no namespaces."""
    assert refusal(Found(0, has_filter=True), listening) == errno.EPERM


def test_who_is_not_root_gets_a_namespace_with_a_user_namespace(listening: socket.socket):
    """The way that needs no right; the child keeps who it is."""
    way = CLONE_NEWNET | CLONE_NEWUSER

    assert (
        refusal(Found(way, has_filter=False), listening, user=NOBODY if os.geteuid() == 0 else None)
        == errno.ENETUNREACH
    )


def test_a_kernel_that_refuses_everything_breaks_no_child(listening: socket.socket):
    """It runs, and whoever asks is told that it has network."""
    nothing = Found(0, has_filter=False)

    assert refusal(nothing, listening) == 0
    assert not nothing.is_cut_off
    assert "have it" in str(nothing)


def test_a_refused_namespace_breaks_no_child(listening: socket.socket):
    """What the probe found may be otherwise later; flags that no kernel knows are refused as such."""
    assert refusal(Found(0x1, has_filter=True), listening) == errno.EPERM


@pytest.mark.parametrize("limits", [FED, CONNECTING], ids=["fed", "connecting"])
def test_a_child_gets_no_new_rights_and_starts_no_process(limits: Limits):
    """No set-uid program helps it, it has no capabilities, and it can start threads only."""
    code = """
import ctypes, os, threading
libc = ctypes.CDLL(None)
print(libc.prctl(39, 0, 0, 0, 0))  # PR_GET_NO_NEW_PRIVS
data = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
assert libc.capget(ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)), ctypes.byref(data)) == 0
print([*data])
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
try: os.fork()
except OSError as exc: print(exc.errno)
"""

    assert said(code, limits=limits).split("\n") == ["1", str([0] * 6), "thread", str(errno.EPERM)]


WRITE = """
import sys
try:
    with open(sys.argv[1], "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 1000): pass
        except OSError as exc: print(exc.errno, file.tell())
except OSError as exc: print(exc.errno)
"""


def test_this_machine_has_landlock():
    """Else the tests below prove nothing."""
    assert landlock.version() >= 1


def test_a_child_writes_the_one_file_that_it_is_to_write_and_not_too_much(tmp_path: Path):
    target, other = tmp_path / "target", tmp_path / "other"
    target.touch()
    other.touch()
    limits = Limits(writes=target, file_bytes=2500)

    assert said(WRITE, str(target), limits=limits) == f"{errno.EFBIG} 2500"
    assert said(WRITE, str(other), limits=limits) == str(errno.EACCES)
    assert said(WRITE, str(tmp_path / "new"), limits=limits) == str(errno.EACCES)
    assert said(WRITE, str(target)) == str(errno.EACCES)


def test_a_child_may_keep_files_in_a_folder_of_its_own(tmp_path: Path):
    limits = Limits(writes=tmp_path, file_bytes=2500)
    code = "import os, sys; os.rename(sys.argv[1], sys.argv[2]); os.unlink(sys.argv[2]); print('done')"

    assert said(WRITE, str(tmp_path / "new"), limits=limits) == f"{errno.EFBIG} 2500"
    assert said(code, str(tmp_path / "new"), str(tmp_path / "other"), limits=limits) == "done"


@pytest.mark.parametrize("limits", [FED, CONNECTING], ids=["fed", "connecting"])
def test_a_child_reads_nothing_of_ours_and_of_no_other_process(limits: Limits, tmp_path: Path):
    """Whatever user it runs as: no archive, no key, no setting, no folder, and no command line."""
    secret = tmp_path / "signing-key.pem"
    secret.write_text("secret")
    code = """
import os, sys
for path in sys.argv[1:]:
    try: print(os.listdir(path) if path.endswith("/") else open(path).read())
    except OSError as exc: print(exc.errno)
"""
    paths = [
        str(secret),
        f"{tmp_path}/",
        __file__,
        "/etc/shadow",
        f"/proc/{os.getpid()}/cmdline",
        "/proc/",
        "/etc/",
    ]

    assert said(code, *paths, limits=limits).split("\n") == [str(errno.EACCES)] * len(paths)


def test_a_child_works_on_what_is_open_already(tmp_path: Path):
    file = tmp_path / "recording"
    file.write_text("media")

    with file.open() as opened:
        code = f"import os; print(os.pread({opened.fileno()}, 100, 0))"
        assert said(code, pass_fds=(opened.fileno(),)) == "b'media'"


def test_a_job_s_child_has_an_end_even_if_nobody_watches():
    """Its seconds of CPU are counted by the kernel."""
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_CPU), r.getrlimit(r.RLIMIT_CORE))"

    assert said(code, limits=Limits(cpu_seconds=7)) == "(7, 7) (0, 0)"


def test_limits_never_exceed_what_we_have_ourselves():
    """A hard limit cannot be raised, and asking for more would keep the child from starting."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40));"
        "from streamrec.media import confinement;"
        "print(dict(confinement._bounds(confinement.CONNECTING))[resource.RLIMIT_NOFILE])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert done.stdout.strip() == "40"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 40
