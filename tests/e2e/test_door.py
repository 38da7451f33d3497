"""`./run.sh` as a user meets it: real processes, a real database, real signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from streamrec.cli import GUNICORN_SAMPLE
from streamrec.settings import PROJECT
from tests.e2e import door
from tests.station import programs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project whose configuration a test may change."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("streamrec", "migrations", "config", "openapi"):
        ignored = shutil.ignore_patterns("__pycache__", "gunicorn.conf.py", "streamrec.local.toml")
        shutil.copytree(PROJECT / name, copy / name, ignore=ignored)
    for name in ("run.sh", "alembic.ini", "requirements.lock"):
        shutil.copy(PROJECT / name, copy / name)
    (copy / ".venv").symlink_to(PROJECT / ".venv")
    return copy


def with_gunicorn(checkout: Path) -> Path:
    """What the README tells who goes into production."""
    shutil.copy(checkout / GUNICORN_SAMPLE, checkout / "config" / "gunicorn.conf.py")
    return checkout


# --- starting and stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "everybody"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, True)],
    ids=["ctrl-c", "terminate", "terminal-closed"],
)
def test_one_signal_stops_everything(data: Path, number: signal.Signals, everybody: bool) -> None:
    """From nothing to an answer, and within 10 s back to no process."""
    with door.instance(data) as started:
        assert started.await_health().json()["ready"] is True
        assert len(started.seen) > 4

        started.signal(number, everybody=everybody)
        status, seconds = started.await_end(15)

        assert (status, started.left()) == (0, [])
        assert seconds < 10


def test_ctrl_c_ends_a_command_that_does_not_listen_yet_without_a_word(data: Path, tmp_path: Path) -> None:
    """It waits for an ffmpeg that does not say its version."""
    asked, slow = tmp_path / "asked", tmp_path / "ffmpeg"
    slow.write_text(f"#!/bin/sh\ntouch {asked}\nexec sleep 60\n")
    slow.chmod(0o755)
    with door.instance(data, "check", STREAMREC_FFMPEG=str(slow)) as started:
        programs.eventually(asked.exists, 30, "ffmpeg is asked")
        started.signal(signal.SIGINT, everybody=True)
        status, _ = started.await_end(15)

        assert (status, started.log.read_text()) == (130, "")


def test_a_start_says_where_everything_is(data: Path) -> None:
    with door.instance(data) as started:
        programs.eventually(lambda: "Ctrl-C stops" in started.log.read_text(), door.START_SECONDS, "the greeting")
        text = started.log.read_text()

    for place in (f"{started.address}/", f"{started.address}/ui", f"{started.address}/console", str(data)):
        assert place in text


def test_two_instances_run_side_by_side(tmp_path: Path) -> None:
    with door.instance(tmp_path / "one") as one, door.instance(tmp_path / "two") as two:
        one.await_health()
        two.await_health()

        one.signal(signal.SIGTERM)
        one.await_end(15)

        assert two.await_health().json()["ready"] is True


def test_a_killed_instance_leaves_no_process_and_starts_again(data: Path) -> None:
    with door.instance(data) as killed:
        killed.await_health()
        killed.signal(signal.SIGKILL)
        killed.await_end(5)
        programs.eventually(lambda: not killed.left(), 15, "its processes end")

    with door.instance(data) as started:
        assert started.await_health().json()["ready"] is True


def test_a_part_that_dies_is_started_again(data: Path) -> None:
    with door.instance(data) as started:
        started.await_health()
        api = next(
            p for p in psutil.Process(started.process.pid).children() if "gunicorn" in " ".join(p.cmdline())
        )

        api.kill()
        programs.eventually(lambda: "api ended" in started.log.read_text(), 10, "its death is noticed")

        assert started.await_health().json()["ready"] is True


def test_shutdown_by_request_stops_everything(data: Path) -> None:
    """Seed 000's `POST /shutdown`."""
    with door.instance(data) as started:
        started.await_health()

        assert httpx.post(f"{started.address}/shutdown").status_code == 200
        status, _ = started.await_end(15)

        assert (status, started.left()) == (0, [])


def test_nothing_outside_the_data_folder_changes(data: Path, tmp_path: Path) -> None:
    """Run by root too: the home folder stays empty, and the folder above the data keeps its mode."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with door.instance(data, HOME=str(home)) as started:
        started.await_health()

    assert list(home.iterdir()) == []
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.lstat().st_uid for path in data.rglob("*")} == {os.getuid()}


# --- refusing ---------------------------------------------------------------------------------------------


def test_a_second_instance_on_the_same_data_is_refused(data: Path) -> None:
    with door.instance(data) as started:
        started.await_health()

        told = door.run(data=data)

        assert told.returncode == 1
        assert f"process {started.process.pid}" in told.stderr


def test_a_taken_port_is_told(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = door.run(data=data, STREAMREC_PORT=str(taken.getsockname()[1]))

    assert told.returncode == 1
    assert "STREAMREC_PORT" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_unknown_command_lists_the_known_ones(data: Path) -> None:
    told = door.run("record", data=data)

    assert told.returncode == 64
    for command in ("demo", "test", "api-dev", "recorder", "upgrade", "docker:build"):
        assert command in told.stderr


def test_the_recorder_refuses_a_schema_that_is_not_current(data: Path) -> None:
    told = door.run("recorder", data=data)

    assert told.returncode == 78
    assert "./run.sh upgrade" in told.stderr


def test_a_setting_that_does_not_fit_is_told_in_one_line(data: Path) -> None:
    told = door.run("check", data=data, STREAMREC_AUTH="perhaps")

    assert told.returncode == 78
    assert told.stderr.startswith("streamrec: The settings do not fit: STREAMREC_AUTH") or "auth" in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["up", "recorder"])
def test_a_data_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    """As where something else bears its name."""
    (tmp_path / "file").write_text("")

    told = door.run(command, data=tmp_path / "file" / "data")

    assert told.returncode == 78
    assert told.stderr.startswith(
        "streamrec: The data folder (STREAMREC_DATA_DIR) cannot be used: Not a directory"
    )
    assert len(told.stderr.splitlines()) == 1


# --- production -------------------------------------------------------------------------------------------


def test_production_wants_its_configuration_copied(data: Path, checkout: Path) -> None:
    told = door.run("api", data=data, cwd=checkout)

    assert told.returncode == 78
    assert f"cp {GUNICORN_SAMPLE} config/gunicorn.conf.py" in told.stderr


def test_production_refuses_the_sample_secret(data: Path, checkout: Path) -> None:
    told = door.run("api", data=data, cwd=with_gunicorn(checkout))

    assert told.returncode == 78
    assert "STREAMREC_SECRET_KEY" in told.stderr


def test_production_refuses_a_schema_that_is_not_current(data: Path, checkout: Path) -> None:
    told = door.run("api", data=data, cwd=with_gunicorn(checkout), STREAMREC_SECRET_KEY="of its own")

    assert told.returncode == 78
    assert "./run.sh upgrade" in told.stderr


def test_production_serves_and_asks_for_keys(data: Path, checkout: Path) -> None:
    with_gunicorn(checkout)
    secret = {"STREAMREC_SECRET_KEY": "of its own"}
    with door.instance(data, "api", "--upgrade", cwd=checkout, **secret) as started:
        started.await_health()
        key = door.run("apikey", "create", "tester", data=data, cwd=checkout).stdout.strip()

        without = httpx.get(f"{started.address}/channel")
        with_key = httpx.get(f"{started.address}/channel", headers={"X-API-Key": key})
        shutdown = httpx.post(f"{started.address}/shutdown", headers={"X-API-Key": key})
        started.signal(signal.SIGTERM)
        status, _ = started.await_end(15)

    assert (without.status_code, with_key.status_code, shutdown.status_code) == (401, 200, 403)
    assert status == 0


# --- commands ---------------------------------------------------------------------------------------------


def test_check_is_content_once_the_schema_is_current(data: Path) -> None:
    before = door.run("check", data=data)
    upgraded = door.run("upgrade", data=data)
    after = door.run("check", data=data)

    assert (before.returncode, upgraded.returncode, after.returncode) == (1, 0, 0)
    assert "FAIL  database: The database has no schema yet. Run: ./run.sh upgrade" in before.stdout


def test_check_notes_only_if_it_is_told_how_closely_to_look(data: Path) -> None:
    door.run("upgrade", data=data)
    door.run("root", data=data)
    vague = door.run("check", "--note", data=data)
    told = door.run("check", "--note", "--level", "size", data=data)

    assert (vague.returncode, "--level" in vague.stderr) == (2, True)
    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "noted 0 recordings with a fault")


def test_an_audit_says_what_was_found_in_words_and_as_json(data: Path) -> None:
    door.run("upgrade", data=data)
    (data / "archive").mkdir(parents=True, exist_ok=True)
    clean = door.run("audit", data=data)
    (data / "archive" / "stray").touch()
    told = json.loads(door.run("audit", "--json", data=data).stdout)
    in_words = door.run("audit", "--depth", "hash", data=data)

    assert (clean.returncode, "FAIL" in clean.stdout) == (0, False)
    assert (told["good"], [one["id"] for one in told["invariants"] if one["violations"]]) == (False, ["I4"])
    assert (in_words.returncode, "      stray" in in_words.stdout.splitlines()) == (1, True)


def test_paths_to_verify_are_those_of_the_callers_folder(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text("{}")
    (tmp_path / "streamrec.py").write_text("raise SystemExit('this is not ours')")
    command = [str(PROJECT / "run.sh"), "verify", "made.json", "."]

    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert told.stdout.splitlines() == [
        "FAIL  manifest 1 has not the form of one (KeyError)",
        "Something is wrong.",
    ]


def test_an_api_key_is_made_listed_and_revoked(data: Path) -> None:
    door.run("upgrade", data=data)

    made = door.run("apikey", "create", "ann", data=data)
    door.run("apikey", "revoke", "ann", data=data)
    listed = door.run("apikey", "list", data=data)
    unknown = door.run("apikey", "revoke", "bob", data=data)

    assert made.stdout.startswith("streamrec_")
    assert "revoked" in listed.stdout
    assert made.stdout.strip() not in listed.stdout
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (1, 1)


# --- the demo ---------------------------------------------------------------------------------------------


def test_the_demo_has_recordings_that_play_within_a_minute(data: Path) -> None:
    """Of both stations, without internet."""
    with door.instance(data, "demo") as started:
        started.await_health()
        rows = programs.eventually(lambda: recordings_of_both(started.address), 60, "recordings of both stations")

        for row in rows.values():
            media = f"{started.address}/recording/{row['id']}/media"
            command = [programs.ffmpeg(), "-v", "error", "-xerror", "-i", media, "-f", "null", "-"]
            played = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert (played.returncode, played.stderr) == (0, ""), row


def recordings_of_both(address: str) -> dict[int, dict[str, object]] | None:
    rows = {row["channel_id"]: row for row in httpx.get(f"{address}/recording").json()}
    return rows if len(rows) == 2 else None
