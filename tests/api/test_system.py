"""Who answers, how it is, and how to stop it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

import streamrec
from streamrec import db
from streamrec.models import (
    Assignment,
    Capture,
    CaptureState,
    Channel,
    ChannelType,
    Coverage,
    CoverageKind,
    GapReason,
    Recorder,
)
from streamrec.settings import PROJECT, Settings
from tests.serving import serving
from tests.station.programs import eventually

NOW = datetime.now(UTC)


def test_the_root_names_itself_and_links(api: httpx.Client) -> None:
    root = api.get("/").json()

    assert root["name"] == "streamrec"
    assert root["version"] == streamrec.__version__
    assert all(
        api.get(path).status_code == 200 for name, path in root["links"].items() if name in {"ui", "openapi"}
    )


def test_a_browser_gets_a_page(api: httpx.Client) -> None:
    answer = api.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert answer.headers["content-type"].startswith("text/html")
    assert '<a href="/ui/">' in answer.text


def test_head_is_get_without_a_body(api: httpx.Client) -> None:
    answer = api.head("/health")

    assert answer.status_code == 200
    assert answer.content == b""


CHANNELS = sa.select(Channel.id)


def add_recorder(*, age_seconds: float, running: int = 0, **totals: float) -> Recorder:
    """A recorder that was last heard of `age_seconds` ago, with captures."""
    with db.Session.begin() as session:
        heartbeat = sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, age_seconds)
        recorder = Recorder(
            id=uuid4(), host="studio", pid=1, version="0.1.0", ffmpeg="9.0", heartbeat_at=heartbeat, **totals
        )
        session.add(recorder)
        session.flush()
        for number in range(running):
            channel = Channel(
                name="x", keyname=f"test-{number:05}", type=ChannelType.RADIO, url=f"http://example.org/{number}"
            )
            session.add(channel)
            session.flush()
            session.add(
                Capture(
                    channel_id=channel.id,
                    recorder_id=recorder.id,
                    state=CaptureState.RUNNING,
                    since=NOW,
                    updated_at=NOW,
                )
            )
    return recorder


def test_health_lists_recorders_with_their_captures(api: httpx.Client) -> None:
    recorder = add_recorder(age_seconds=1, running=2)

    health = await_health(api, "ok")

    assert health["recorders"][0]["id"] == str(recorder.id)
    assert health["recorders"][0]["captures"] == {"running": 2}


def test_health_tells_what_each_recorder_holds_and_could_hold(api: httpx.Client) -> None:
    recorder = add_recorder(age_seconds=1, running=2, capacity=40, labels={"site": "north"}, is_leaving=True)
    with db.Session.begin() as session:
        held = [Assignment(channel_id=id_, recorder_id=recorder.id, epoch=1) for id_ in session.scalars(CHANNELS)]
        session.add_all(held)

    found = await_health(api, "ok")["recorders"][0]

    assert {name: found[name] for name in ("leaving", "capacity", "channels", "labels")} == {
        "leaving": True,
        "capacity": 40,
        "channels": 2,
        "labels": {"site": "north"},
    }


def test_health_tells_how_much_room_recorders_have(api: httpx.Client) -> None:
    add_recorder(age_seconds=1, free_bytes=90, disk_bytes=100)
    add_recorder(age_seconds=1, free_bytes=30_000_000_000, disk_bytes=100_000_000_000)

    health = await_health(api, "ok")

    detail = "30.0 GB, 30.0 % of the archive's disk are free at studio."
    assert health["room"] == {"name": "room", "ok": True, "detail": detail}
    assert {(found["free_bytes"], found["disk_bytes"]) for found in health["recorders"]} == {
        (90, 100),
        (30_000_000_000, 100_000_000_000),
    }


def test_health_is_degraded_where_a_disk_that_is_written_is_nearly_full(settings: Settings) -> None:
    with serving(settings.model_copy(update={"auth": "open", "disk_low_percent": 5.0})) as api:
        add_recorder(age_seconds=1, free_bytes=49, disk_bytes=1000)

        room = eventually(lambda: api.get("/health").json()["room"], 10, "the recorder is seen")
        health = await_health(api, "degraded")

    assert room["ok"] is False
    assert "Below 5 % uploads are refused." in health["room"]["detail"]


def test_the_room_of_a_dead_recorder_says_nothing(api: httpx.Client) -> None:
    add_recorder(age_seconds=60, free_bytes=0, disk_bytes=100)

    assert api.get("/health").json()["room"] is None


def test_metrics_tell_the_room_of_each_host_by_its_fullest_disk(api: httpx.Client) -> None:
    add_recorder(age_seconds=1, free_bytes=30, disk_bytes=40)
    add_recorder(age_seconds=1, free_bytes=50, disk_bytes=100)

    said = api.get("/metrics").text

    assert 'streamrec_archive_free_bytes{host="studio"} 50.0' in said
    assert 'streamrec_archive_disk_bytes{host="studio"} 100.0' in said


def test_health_without_a_live_recorder_is_degraded_but_ready(api: httpx.Client) -> None:
    add_recorder(age_seconds=60)

    answer = api.get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["ready"] is True


def await_health(api: httpx.Client, status: str) -> dict[str, object]:
    """The first health of `status`; a report is given again for a second."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        health = api.get("/health").json()
        if health["status"] == status:
            return health  # type: ignore[no-any-return]
        time.sleep(0.05)
    raise AssertionError(f"health did not become {status}: {health}")


def test_health_is_not_ready_without_a_database_and_says_so_with_503(settings: Settings) -> None:
    away = settings.model_copy(
        update={"database_url": settings.database_url.__class__("postgresql://127.0.0.1:1/x")}
    )

    with serving(away) as api:
        answer = api.get("/health")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["checks"] == [{"name": "database", "ok": False, "detail": "does not answer"}]


def test_health_is_not_ready_on_another_schema(api: httpx.Client) -> None:
    with db.Session.begin() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = 'older'"))

    health = await_health(api, "down")

    assert "run ./run.sh upgrade" in str(health["checks"])


def test_metrics_count_requests_by_operation_and_status(api: httpx.Client) -> None:
    api.get("/", headers={"Accept": "application/json"})

    text = api.get("/metrics").text

    assert re.search(
        r'streamrec_http_request_duration_seconds_count\{operation="system.get_root",status="200"\} [1-9]', text
    )


def test_metrics_have_captures_and_totals_from_the_database(api: httpx.Client) -> None:
    add_recorder(age_seconds=0, running=2, media_bytes=1000, media_seconds=2.5, restarts=3)

    text = api.get("/metrics").text

    assert 'streamrec_captures{state="running"} 2.0' in text
    assert "streamrec_media_bytes_total 1000.0" in text
    assert "streamrec_media_seconds_total 2.5" in text
    assert "streamrec_capture_restarts_total 3.0" in text
    assert "streamrec_recorders_alive 1.0" in text


def test_captures_of_a_dead_recorder_count_as_stopped(api: httpx.Client) -> None:
    add_recorder(age_seconds=60, running=2)

    text = api.get("/metrics").text

    assert 'streamrec_captures{state="running"} 0.0' in text
    assert 'streamrec_captures{state="stopped"} 2.0' in text


def test_metrics_survive_a_lost_database(settings: Settings) -> None:
    away = settings.model_copy(
        update={"database_url": settings.database_url.__class__("postgresql://127.0.0.1:1/x")}
    )

    with serving(away) as api:
        text = api.get("/metrics").text

    assert "streamrec_database_up 0.0" in text


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for the ./run.sh that started this instance."""
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    monkeypatch.setenv("STREAMREC_UP_PID", str(child.pid))
    yield child
    child.kill()
    child.wait()


def test_shutdown_terminates_what_started_the_instance(
    api: httpx.Client, starter: subprocess.Popen[bytes]
) -> None:
    answer = api.post("/shutdown")

    assert answer.status_code == 200
    assert answer.text == "Server shutting down...\n"
    assert starter.wait(timeout=10) == -signal.SIGTERM


def test_the_documented_shutdown_with_an_empty_json_body_works(
    api: httpx.Client, starter: subprocess.Popen[bytes]
) -> None:
    assert api.post("/shutdown", content="", headers={"Content-Type": "application/json"}).status_code == 200


def test_shutdown_is_refused_in_production(settings: Settings, starter: subprocess.Popen[bytes]) -> None:
    with serving(settings.model_copy(update={"production": True, "auth": "open"})) as api:
        assert api.post("/shutdown").status_code == 403

    assert starter.poll() is None


def test_shutdown_is_refused_behind_a_proxy(api: httpx.Client, starter: subprocess.Popen[bytes]) -> None:
    """Then the peer is the proxy, and nobody knows who asks."""
    assert api.post("/shutdown", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403


def test_shutdown_is_refused_when_something_else_started_the_instance(api: httpx.Client) -> None:
    assert "STREAMREC_UP_PID" not in os.environ

    assert api.post("/shutdown").status_code == 403


def test_another_site_cannot_shut_down_through_a_browser(api: httpx.Client) -> None:
    answer = api.post("/shutdown", headers={"Origin": "http://evil.example"})

    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:streamrec:problem:cross-origin"


def test_every_metric_is_documented(api: httpx.Client) -> None:
    now = datetime.now(UTC)
    with db.Session.begin() as session:
        channel = Channel(name="x", keyname="canary-sig", type=ChannelType.RADIO, url="http://example.org/")
        session.add(channel)
        session.flush()
        session.add(
            Coverage(
                uuid=uuid4(),
                channel_id=channel.id,
                kind=CoverageKind.GAP,
                reason=GapReason.DNS,
                start_time=now - timedelta(days=2),
                end_time=now,
            )
        )

    text = api.get("/metrics").text

    names = set(re.findall(r"^# TYPE (streamrec_\w+?)(?<!_created) ", text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(streamrec_\w+)`", (PROJECT / "docs/metrics.md").read_text(), re.MULTILINE))
    assert names == documented
    assert 'streamrec_gaps_last_day{reason="dns"} 1.0' in text
    seconds = re.search(r'streamrec_gap_seconds_last_day\{reason="dns"\} (\S+)', text)
    assert seconds is not None
    assert 86_000 < float(seconds.group(1)) <= 86_400


def test_who_polls_fills_no_log(api: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """`/health` and `/metrics` are told at the level debug; other requests at info."""
    caplog.set_level("DEBUG", "streamrec.access")

    for path in ("/health", "/metrics", "/channel"):
        api.get(path)

    lines = eventually(lambda: caplog.records if len(caplog.records) >= 3 else [], 5, "all are logged")
    told = {vars(line)["path"]: line.levelname for line in lines}
    assert told == {"/health": "DEBUG", "/metrics": "DEBUG", "/channel": "INFO"}


@pytest.fixture
def gunicorn(settings: Settings) -> Iterator[httpx.Client]:
    """A client that opens a new connection for each request to two workers, as `./run.sh api` runs them."""
    assert settings.database_url is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "STREAMREC_DATA_DIR": str(settings.data_dir),
        "STREAMREC_PORT": str(port),
        "STREAMREC_API_WORKERS": "2",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "python:streamrec.serving"],
        cwd=PROJECT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=10) as client:
        await_start(client, child)
        yield client
    child.terminate()
    child.wait(15)


def await_start(client: httpx.Client, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert child.poll() is None, "gunicorn ended"
        with suppress(httpx.TransportError):
            client.get("/openapi.yaml")
            return
        time.sleep(0.05)
    raise AssertionError("gunicorn did not start")


def test_metrics_are_those_of_all_workers(gunicorn: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: gunicorn.get("/", headers={"Accept": "application/json"}), range(40)))

    count = 'streamrec_http_request_duration_seconds_count{operation="system.get_root",status="200"} 40.0'
    assert all(count in gunicorn.get("/metrics").text for _ in range(6))


def test_health_answers_at_once_while_the_database_hangs(settings: Settings) -> None:
    """A server that takes connections and says nothing; only in its first second an answer waits for it."""
    assert settings.database_url is not None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        hanging = settings.model_copy(update={"database_url": settings.database_url.__class__(address)})
        with serving(hanging) as api:
            api.get("/health")
            started = time.monotonic()
            answer = api.get("/health")
            took = time.monotonic() - started

    assert answer.status_code == 503
    assert took < 0.25  # 0.03 s and what a busy machine adds
