"""The whole recorder as a process, with a real database, a real ffmpeg and a real station."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import channels, coverage, db
from streamrec.channel_fields import checked
from streamrec.clock import now
from streamrec.media import process
from streamrec.models import Capture, Channel, Coverage, CoverageKind, GapReason, Garbage, Recorder, Recording
from streamrec.settings import PROJECT, Settings
from streamrec.timeline import Span
from tests.factories import fields
from tests.station import clips, programs
from tests.station.clips import Clip
from tests.station.faulty import Fault, Station

RUN = "from streamrec import settings; from streamrec.recorder import worker; worker.run(settings.load())"
SOON = 15.0


@contextmanager
def recorder(settings: Settings, log: Path, *ports: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A recorder of this instance that may capture from `ports`."""
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "STREAMREC_DATA_DIR": str(settings.data_dir),
        "STREAMREC_EGRESS_ALLOW": ",".join(f"127.0.0.1:{port}" for port in ports),
        "PYTHONPATH": str(PROJECT),
        **variables,
    }
    with programs.running([sys.executable, "-c", RUN], log, environment=environment) as child:
        yield child


def scalar(statement: sa.Select) -> object:
    with db.Session.begin() as session:
        return session.scalar(statement)


def add(url: str, **changes: object) -> int:
    """A channel on the station, five seconds a file."""
    body = fields(url=url, segment_seconds=5, **changes)
    with db.Session.begin() as session:
        return channels.create(session, checked(body, resolve=lambda host: [], allow=[url.split("/")[2]])).id


def state(channel_id: int) -> str | None:
    found = scalar(sa.select(Capture.state).where(Capture.channel_id == channel_id))
    return None if found is None else found.value


def recordings() -> int:
    return scalar(sa.select(sa.func.count()).select_from(Recording))


def wait(probe: Callable[[], object], what: str, seconds: float = SOON) -> None:
    programs.eventually(probe, seconds, what, every=0.05)


def child_of(settings: Settings) -> int:
    return int(next((settings.run_dir / "children").iterdir()).name)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "recorder.log"


def is_up() -> bool:
    return scalar(sa.select(sa.func.count()).select_from(Recorder)) > 0


def unaccounted(channel_id: int) -> timedelta:
    """What no row speaks of, but for the end that is still to come."""
    with db.Session.begin() as session:
        account = coverage.account(session, channel_id, Span(now() - timedelta(hours=1), now()))
    return account.durations()["unaccounted"]


def test_a_new_channel_does_not_wait_for_a_poll(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """From the commit to media by NOTIFY: the next poll would come too late for this test."""
    station.add("a", noise)
    with recorder(settings, log, station.port, STREAMREC_POLL_SECONDS="3600"):
        wait(is_up, "the recorder is there")
        channel_id = add(station.url("a"))
        wait(lambda: state(channel_id) == "running", "the capture runs")


def test_a_start_removes_files_whose_rows_are_gone(engine: Engine, settings: Settings, log: Path):
    """A crash between the row's deletion and the file's leaves a note, and the next start finishes the work."""
    left = settings.archive_dir / "gr-rstpk-1/2026/11/20/20261120T120000.000Z-0123456789ab.mp3"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"\0")
    with db.Session.begin() as session:
        session.add(Garbage(path=str(left.relative_to(settings.archive_dir))))
    with recorder(settings, log):
        wait(lambda: scalar(sa.select(sa.func.count()).select_from(Garbage)) == 0, "the note is dropped")

    assert not left.exists()


def test_files_play_and_are_the_stations_own_frames(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """What is recorded decodes, and lost, repeated or foreign frames there are none."""
    station.add("a", noise)
    channel_id = add(station.url("a"))
    with recorder(settings, log, station.port):
        wait(lambda: recordings() >= 3, "three files", 30)
    with db.Session.begin() as session:
        paths = session.scalars(sa.select(Recording.path).order_by(Recording.start_time)).all()
    files = [settings.archive_dir / path for path in paths]
    numbers = [number for file in files for number in clips.numbered(clips.frame_hashes(file), noise)]

    assert all(clips.decode_errors(file) == "" for file in files)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert unaccounted(channel_id) == timedelta()


@pytest.mark.parametrize(
    ("codec", "options", "extension"),
    [
        ("opus", ["-c:a", "libopus", "-b:a", "128k", "-vbr", "off", "-f", "ogg"], "mp4"),
        ("vorbis", ["-c:a", "libvorbis", "-b:a", "128k", "-ar", "44100", "-f", "ogg"], "mp4"),
        ("flac", ["-c:a", "flac", "-sample_fmt", "s16", "-ar", "8000", "-f", "ogg"], "mp4"),
        ("aac", ["-c:a", "aac", "-b:a", "128k", "-f", "adts"], "aac"),
    ],
)
def test_other_codecs_are_kept_in_what_holds_them(
    engine: Engine,
    settings: Settings,
    station: Station,
    log: Path,
    tmp_path: Path,
    codec: str,
    options: list[str],
    extension: str,
):
    """About 128 kb/s each, which is the pace of our station."""
    clip = tmp_path / "clip"
    noise = "anoisesrc=color=white:amplitude=0.3:seed=1:sample_rate=48000:duration=40"
    command = [programs.ffmpeg(), "-v", "error", "-f", "lavfi", "-i", noise, "-ac", "1", *options, str(clip)]
    subprocess.run(command, check=True)
    with recorder(settings, log, station.port):
        wait(is_up, "the recorder is there")
        station.add("a", Clip(clip))
        add(station.url("a"))
        wait(lambda: recordings() >= 2, "two files", 30)
    files = sorted(settings.archive_dir.rglob(f"*.{extension}"))

    assert len(files) >= 2
    assert [clips.decode_errors(file) for file in files] == [""] * len(files)
    assert scalar(sa.select(Recording.codecs).limit(1)) == codec


@pytest.mark.parametrize("capture", ["auto", "ffmpeg"])
def test_sigterm_closes_the_file_within_five_seconds(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path, capture: str
):
    """Nothing is left to salvage, and no child."""
    station.add("a", noise)
    channel_id = add(station.url("a"), capture=capture)
    with recorder(settings, log, station.port) as child:
        wait(lambda: state(channel_id) == "running", "the capture runs")
        wait(lambda: list(settings.archive_dir.rglob("*.part")), "a file is being written")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        status = child.wait(10)
        took = time.monotonic() - began

    assert (status, took < 5.0) == (0, True)
    assert list(settings.archive_dir.rglob("*.part")) == []
    assert list((settings.run_dir / "children").glob("*")) == []
    assert recordings() >= 1
    assert scalar(sa.select(Recorder.stopped_at)) is not None
    assert state(channel_id) == "stopped"


def test_a_killed_recorder_leaves_no_orphan_and_the_next_salvages(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """kill -9, and a start right after: what was written is kept, what is missing is told."""
    station.add("a", noise)
    channel_id = add(station.url("a"), capture="ffmpeg")
    with recorder(settings, log, station.port) as child:
        wait(lambda: recordings() >= 1, "a file")
        pid = child_of(settings)
        child.kill()
        child.wait(5)
    wait(lambda: process.started(pid) is None, "ffmpeg is gone", 5)
    with recorder(settings, log, station.port):
        wait(lambda: state(channel_id) == "running", "the capture runs again")
        wait(lambda: scalar(sa.select(sa.exists().where(Recording.truncated))), "the torn file is a recording")
        wait(lambda: recordings() >= 4, "it records on", 30)

    assert list(settings.archive_dir.rglob("*.part")) == []
    assert unaccounted(channel_id) == timedelta()


def test_disabling_stops_at_once_and_the_last_second_is_told(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """Up to the very moment."""
    station.add("a", noise)
    channel_id = add(station.url("a"))
    with recorder(settings, log, station.port):
        wait(lambda: recordings() >= 1, "a file")
        with db.Session.begin() as session:
            channels.update(session, channel_id, checked({"enabled": False}))
        wait(lambda: state(channel_id) == "stopped", "the capture stopped", 5)
        wait(lambda: not list(settings.archive_dir.rglob("*.part")), "the file is closed", 5)

    assert unaccounted(channel_id) == timedelta()


def test_another_address_is_recorded_from_then_on(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """And a row that is written again with the address it had interrupts nothing."""
    first, second = station.add("a", noise), station.add("b", noise)
    channel_id = add(station.url("a"))
    allowed = [f"127.0.0.1:{station.port}"]
    with recorder(settings, log, station.port):
        wait(lambda: recordings() >= 1, "a file")
        for name in ("a", "b"):
            draft = checked({"url": station.url(name), "name": f"At {name}"}, allow=allowed)
            with db.Session.begin() as session:
                channels.update(session, channel_id, draft)
        wait(lambda: second.connects, "the other mount is captured")
        wait(lambda: state(channel_id) == "running", "it runs")

    assert (len(first.connects), len(second.connects)) == (1, 1)
    assert unaccounted(channel_id) == timedelta()


def test_a_recorder_refuses_a_schema_that_is_not_current(engine: Engine, settings: Settings, log: Path):
    """And says which command to run."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))

    with recorder(settings, log) as child:
        status = child.wait(20)

    assert status != 0
    assert "NotReady" in log.read_text()


def test_an_outage_is_one_gap_with_its_reason(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """While it lasts, and with the station back in the end: what ended the media, and how it went on failing."""
    mount = station.add("a", noise)
    channel_id = add(station.url("a"))
    denied = sa.select(sa.func.count()).where(
        Coverage.reason == GapReason.SOURCE_ENDED, Coverage.detail.contains("404")
    )
    with recorder(settings, log, station.port):
        wait(lambda: recordings() >= 1, "a file")
        mount.fault = Fault.END
        wait(lambda: scalar(denied) == 1, "the gap is told", 20)
        mount.fault = None
        wait(lambda: state(channel_id) == "running", "it runs again", 40)
        known = recordings()
        wait(lambda: recordings() > known, "it records on", 20)

    assert scalar(denied) == 1
    assert unaccounted(channel_id) == timedelta()


def test_recording_goes_on_while_the_database_is_away(
    engine: Engine, settings: Settings, maintenance: Engine, station: Station, noise: Clip, log: Path
):
    """No connection is let in for a while; in the end nothing is missing."""
    station.add("a", noise)
    channel_id = add(station.url("a"))
    name = engine.url.database
    with recorder(settings, log, station.port):
        wait(lambda: recordings() >= 1, "a file")
        engine.dispose()
        with maintenance.connect() as connection:
            connection.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                {"name": name},
            )
        wait(lambda: "rows; they wait" in log.read_text(), "the recorder notices", 30)
        with maintenance.connect() as connection:
            connection.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
        known = recordings()
        wait(lambda: recordings() >= known + 2, "the rows come", 30)

    kinds = sa.select(sa.func.count()).where(
        Coverage.kind == CoverageKind.GAP, Coverage.reason != GapReason.STARTING
    )
    assert scalar(kinds) == 0
    assert unaccounted(channel_id) == timedelta()
    assert scalar(sa.select(Channel.id)) == channel_id


def test_a_disk_that_goes_is_told_and_gone_on_with_when_it_is_back(
    engine: Engine, settings: Settings, station: Station, noise: Clip, log: Path
):
    """At the next file: no file in the bare folder, the reason in the account, and recording again by itself."""
    station.add("a", noise)
    channel_id = add(station.url("a"))
    away = settings.data_dir / "unmounted"
    missing = sa.select(sa.func.count()).where(Coverage.reason == GapReason.STORAGE_MISSING)
    with recorder(settings, log, station.port):
        wait(lambda: recordings() >= 1, "a file", 30)
        assert scalar(sa.select(Recorder.disk_bytes)) == shutil.disk_usage(settings.archive_dir).total
        settings.archive_dir.rename(away)
        settings.archive_dir.mkdir()
        wait(lambda: scalar(missing), "the gap", 90)
        assert scalar(sa.select(Recorder.storage_fault)) is not None
        assert scalar(sa.select(Recorder.disk_bytes)) is None
        assert list(settings.archive_dir.iterdir()) == []
        settings.archive_dir.rmdir()
        away.rename(settings.archive_dir)
        before = recordings()
        wait(lambda: recordings() > before, "another file", 60)
    assert unaccounted(channel_id) == timedelta()
