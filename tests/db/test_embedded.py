"""The embedded server: made, shared, recovered, refused."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import signal
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg2
import pytest

from streamrec import embedded, instance
from streamrec.errors import NotReady
from streamrec.settings import Settings, socket_dir

FORK = multiprocessing.get_context("spawn")


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=None, db_host=None)


def postmaster(settings: Settings) -> psutil.Process:
    return psutil.Process(int((settings.postgres_dir / "postmaster.pid").read_text().split()[0]))


def is_gone(process: psutil.Process) -> bool:
    """A dead process whose parent died first stays listed where nobody reaps it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def ask(settings: Settings, statement: str) -> object:
    connection = psycopg2.connect(host=str(socket_dir(settings.data_dir)), port=5432, user="streamrec")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return None if row is None else row[0]
    finally:
        connection.close()


def test_it_starts_from_nothing_and_stops_with_its_last_user(here: Settings) -> None:
    with embedded.running(here):
        server = postmaster(here)
        with embedded.running(here):
            assert postmaster(here) == server
        assert ask(here, "SELECT current_database()") == "streamrec"

    assert is_gone(server)


def test_it_keeps_what_was_stored_and_sorts_and_folds_the_same_everywhere(here: Settings) -> None:
    with embedded.running(here):
        ask(here, "CREATE TABLE kept AS SELECT 1 AS number; SELECT 1")

    with embedded.running(here):
        assert ask(here, "SELECT number FROM kept") == 1
        assert ask(here, "SELECT lower('ΡΑΔΙΟ') = 'ραδιο' AND 'B' < 'a'") is True
        assert ask(here, "SELECT current_setting('data_checksums')") == "on"


def test_one_that_is_killed_while_it_starts_is_started_again(here: Settings) -> None:
    """Whoever starts it would take the whole instance along."""
    killed: list[psutil.Process] = []

    def kill() -> None:
        deadline = time.monotonic() + 30
        while not killed and time.monotonic() < deadline:
            with suppress(OSError, ValueError, psutil.NoSuchProcess, IndexError):
                found = postmaster(here)
                found.kill()
                killed.append(found)

    with embedded.running(here):
        pass
    killer = threading.Thread(target=kill)
    killer.start()

    with embedded.running(here):
        killer.join()
        assert postmaster(here) != killed[0]
        assert ask(here, "SELECT 1") == 1


def test_only_the_owner_can_reach_it(here: Settings) -> None:
    with embedded.running(here):
        assert ask(here, "SELECT current_setting('listen_addresses')") == ""
        assert socket_dir(here.data_dir).stat().st_mode & 0o777 == 0o700
        assert postmaster(here).net_connections("inet") == []


def test_as_root_it_runs_without_privileges_and_changes_no_owner(here: Settings) -> None:
    """Files belong to who started it, and the folder above the data keeps its mode."""
    above = here.data_dir.parent
    above.chmod(0o700)

    with embedded.running(here):
        owners = {path.lstat().st_uid for path in here.data_dir.rglob("*")}

    assert owners == {os.getuid()}
    assert above.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without unshare(1)."""
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.skipif(os.getuid() != 0, reason="only root has to become somebody else")
@pytest.mark.usefixtures("without_namespaces")
def test_root_without_namespaces_runs_it_as_nobody() -> None:
    """Who then owns the server's folders, and only those."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        settings = Settings(data_dir=Path(folder) / "data", database_url=None)
        with embedded.running(settings):
            assert postmaster(settings).uids().effective == pwd.getpwnam("nobody").pw_uid
            assert ask(settings, "SELECT 1") == 1
        assert settings.data_dir.stat().st_uid == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root has to become somebody else")
@pytest.mark.usefixtures("without_namespaces")
def test_root_without_namespaces_is_told_what_nobody_may_not_enter(here: Settings) -> None:
    here.data_dir.mkdir(mode=0o700)

    with pytest.raises(NotReady, match=r"may not enter .*DATABASE_URL"):
        embedded.ensure(here)
    assert {path.lstat().st_uid for path in here.data_dir.rglob("*")} == {0}


def test_after_a_power_cut_it_recovers(here: Settings) -> None:
    """A stale postmaster.pid and socket of a killed server do not stand in the way."""
    with embedded.running(here):
        ask(here, "CREATE TABLE kept AS SELECT 7 AS number; SELECT 1")
        os.kill(postmaster(here).pid, signal.SIGKILL)

        embedded.ensure(here)
        assert ask(here, "SELECT number FROM kept") == 7


def test_an_instance_starts_a_server_again_that_was_killed(here: Settings) -> None:
    """Nobody has to notice that it is gone."""
    with instance.database(here):
        ask(here, "CREATE TABLE kept AS SELECT 1 AS number; SELECT 1")
        killed = postmaster(here)
        killed.kill()
        await_another(here, killed)

        assert ask(here, "SELECT number FROM kept") == 1


def test_an_instance_starts_a_server_again_that_waits_for_its_clients_to_go(here: Settings) -> None:
    with instance.database(here), closing(psycopg2.connect(host=str(socket_dir(here.data_dir)), user="streamrec")):
        told = postmaster(here)
        told.send_signal(signal.SIGTERM)  # as long as this client stays, it takes no other

        await_another(here, told)


def await_another(settings: Settings, former: psutil.Process) -> None:
    """Until another server than `former` answers."""
    deadline = time.monotonic() + 30
    while not is_back(settings, former):
        assert time.monotonic() < deadline, "no other server came"
        time.sleep(0.05)


def is_back(settings: Settings, killed: psutil.Process) -> bool:
    """Whether another server than `killed` answers."""
    try:
        return bool(ask(settings, "SELECT 1")) and postmaster(settings).pid != killed.pid
    except (psycopg2.OperationalError, FileNotFoundError):
        return False


def test_a_pid_that_somebody_else_has_now_is_not_taken_for_the_server(here: Settings) -> None:
    with embedded.running(here):
        lines = (here.postgres_dir / "postmaster.pid").read_text().splitlines()
    (here.postgres_dir / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    with embedded.running(here):
        assert ask(here, "SELECT 1") == 1


def test_an_interrupted_first_start_is_begun_again(here: Settings) -> None:
    half = here.data_dir / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with embedded.running(here):
        assert ask(here, "SELECT 1") == 1


def test_data_of_another_major_version_are_refused(here: Settings) -> None:
    here.postgres_dir.mkdir(parents=True)
    (here.postgres_dir / "PG_VERSION").write_text("11\n")

    with pytest.raises(NotReady, match=r"written by PostgreSQL 11.*DATABASE_URL"):
        embedded.ensure(here)


def use(data_dir: Path, begun: object, leave: object) -> None:
    settings = Settings(data_dir=data_dir, database_url=None)
    with embedded.running(settings):
        ask(settings, "SELECT 1")
        begun.release()  # type: ignore[attr-defined]
        leave.wait(60)  # type: ignore[attr-defined]
        ask(settings, "SELECT 1")


def test_starters_may_race(here: Settings) -> None:
    """Of four processes that start at once, all get the one server, and none is left without it."""
    begun, leave = FORK.Semaphore(0), FORK.Event()
    users = [FORK.Process(target=use, args=(here.data_dir, begun, leave)) for _ in range(4)]
    for user in users:
        user.start()
    for _ in users:
        assert begun.acquire(timeout=60)
    server = postmaster(here)

    leave.set()
    for user in users:
        user.join(60)

    assert [user.exitcode for user in users] == [0, 0, 0, 0]
    assert is_gone(server)


def test_a_killed_user_counts_no_longer(here: Settings) -> None:
    begun, leave = FORK.Semaphore(0), FORK.Event()
    user = FORK.Process(target=use, args=(here.data_dir, begun, leave))
    user.start()
    assert begun.acquire(timeout=60)
    server = postmaster(here)
    user.kill()
    user.join(60)

    with embedded.running(here):
        assert postmaster(here) == server

    assert is_gone(server)


def test_a_data_folder_that_is_too_deep_for_a_socket_gets_one_elsewhere(tmp_path: Path) -> None:
    deep = Settings(data_dir=tmp_path / ("d" * 100) / "data", database_url=None)

    with embedded.running(deep):
        assert ask(deep, "SELECT 1") == 1
    assert not socket_dir(deep.data_dir).is_relative_to(deep.data_dir)
