"""What a database does to a recorder and to the API: F74 to F78 and F86 of the fault catalogue.

One recorder captures while one thing after the other befalls its database, which is a PostgreSQL of its own on a
disk of its own, reached over a line that can be cut. Each test then states one claim.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from streamrec import audit, db, embedded, schema
from streamrec.models import Coverage, FileFormat, GapReason, Recording
from streamrec.recorder.facts import Fact, GapNoted, RunStarted, SegmentClosed
from streamrec.recorder.ledger import Ledger
from streamrec.recorder.spool import Spool
from streamrec.settings import PROJECT, Settings
from tests import privileges
from tests.factories import at, channel
from tests.recorder.fleet import Cut
from tests.recorder.ordeal import Ordeal
from tests.serving import serving
from tests.station import faulty, programs
from tests.station.clips import Clip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CHANNELS = ("one", "two", "three")
DISK_MEGABYTES = 400
TIMEOUT_SECONDS = 3.0  # longer than a migration waits for a lock
BOUND_SECONDS = 5.0  # one time-out, and what a busy machine adds
BACKLOG_SECONDS = 15.0
AWAY_SECONDS = 4.5  # longer than every time-out, and than a lease is sure
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "faulty"
down_revision = "{head}"
branch_labels = depends_on = None


def upgrade() -> None:
    op.add_column("channel", sa.Column("later", sa.Integer()))
    op.add_column("recording", sa.Column("later", sa.Integer()))
    op.create_index("later_idx", "recording", ["later"])
"""


@dataclass
class Answer:
    """What the API said, and after how long."""

    status: int
    retry_after: str | None
    seconds: float


@dataclass
class Story:
    """What was seen, once it is over."""

    ordeal: Ordeal
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    backlog_seconds: float = 0.0
    migration: list[str] = field(default_factory=list)
    migration_waited_seconds: float = 0.0
    acknowledged: set[UUID] = field(default_factory=set)
    missing_at_first: set[UUID] = field(default_factory=set)
    at_last: set[UUID] = field(default_factory=set)
    invariants: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Server:
    """A PostgreSQL, and the way to it."""

    settings: Settings
    engine: Engine

    def do(self, *statements: str) -> None:
        """Each in a transaction of its own; what has no connection any more is no matter."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    @contextmanager
    def locked(self, *tables: str) -> Iterator[None]:
        """Somebody holds these tables for himself alone and sleeps on it."""
        with self.engine.connect() as connection:
            connection.execute(sa.text(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"))
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """It takes nothing that changes anything."""
        self.do("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        try:
            programs.eventually(self._takes_nothing, 20, "it has read that")
            yield
        finally:
            off = "ALTER SYSTEM RESET default_transaction_read_only"
            self.do("SET default_transaction_read_only = off", off, "SELECT pg_reload_conf()")

    @contextmanager
    def full(self, disk: Path) -> Iterator[None]:
        """Its disk takes nothing more, and the next segment of its log has no room: it gives up, with PANIC."""
        with privileges.filled(disk):
            programs.eventually(self._takes_nothing, 20, "the log has no room")
            yield
        embedded.ensure(self.settings)

    def _takes_nothing(self) -> bool:
        """Whether it changes nothing; with a full disk, once the next segment of the log is begun."""
        try:
            self.do("SELECT pg_switch_wal()", "CREATE TABLE x (y int)", "DROP TABLE x")
        except sa.exc.DBAPIError:
            return True
        return False

    def processes(self) -> list[psutil.Process]:
        pid = int((self.settings.postgres_dir / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def standby(self, folder: Path) -> Settings:
        """A server that has what this one has now, and gets nothing more."""
        settings = Settings(data_dir=folder, database_url=None, db_host=None)
        running = self.processes()
        for process in running:
            process.suspend()
        try:
            shutil.copytree(self.settings.postgres_dir, settings.postgres_dir)
        finally:
            for process in running:
                process.resume()
        (settings.postgres_dir / "standby.signal").touch()
        return settings


def ask(client: httpx.Client, count: int = 1) -> list[Answer]:
    """`count` clients at once."""

    def one(_: int) -> Answer:
        began = time.monotonic()
        answer = client.get("/channel")
        return Answer(answer.status_code, answer.headers.get("Retry-After"), time.monotonic() - began)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def pause(seconds: float) -> None:
    """The fault lasts."""
    threading.Event().wait(seconds)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On a small disk, if we may mount one."""
    folder = tmp_path_factory.mktemp("database")
    with ExitStack() as stack:
        if os.getuid() == 0:
            stack.enter_context(privileges.small_disk(folder, megabytes=DISK_MEGABYTES))
        settings = Settings(data_dir=folder, database_url=None, db_host=None)
        stack.enter_context(embedded.running(settings))
        engine = db.engine_for(settings, poolclass=sa.NullPool)
        schema.upgrade(engine)
        yield Server(settings, engine)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, own_server: Server, noise: Clip) -> Story:
    """Everything that the tests below look at, after it has happened."""
    folder = tmp_path_factory.mktemp("story")
    with ExitStack() as stack:
        station = stack.enter_context(faulty.running())
        line = Cut(own_server.settings.database().render_as_string(hide_password=False), folder / "w")
        line.connect()
        stack.callback(line.cut)
        settings = Settings(data_dir=folder / "data", database_url=line.database)
        ordeal = Ordeal(own_server.engine, settings, folder)
        story = Story(ordeal)
        reachable = [f"127.0.0.1:{station.port}"]
        with ordeal.recorder(reachable, STREAMREC_DB_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)):
            ordeal.await_recorder()
            for name in CHANNELS:
                ordeal.add(name, station.url(name), station.add(name, noise, burst_frames=0))
            ordeal.await_running(list(CHANNELS))
            url = own_server.settings.database().render_as_string(hide_password=False)
            api = Settings(
                data_dir=folder / "api",
                database_url=url,
                db_timeout_seconds=TIMEOUT_SECONDS,
                auth="open",
                egress_allow=reachable,
            )
            with serving(api) as client:
                behind = _befall(story, own_server, client, line, folder, station.url("one"))
            _fail_over(story, own_server, behind, line, stack)
            _await_rows(story)
        ordeal.gather()
        story.at_last = _uuids(ordeal.engine)
        with Session(ordeal.engine) as session:
            story.invariants = {
                one.id: one.examples for one in audit.run(session, settings, depth=audit.Depth.HASH)
            }
    return story


def _befall(story: Story, server: Server, client: httpx.Client, line: Cut, folder: Path, url: str) -> Settings:
    """One thing right after the other; a server that has what was acknowledged up to the last of them."""
    with server.locked("channel", "coverage", "recording"):
        story.answers["locked"] = ask(client, 12)
    _migrate(story, server, client, folder)
    with server.read_only():
        story.answers["read-only"] = [_created(client, url)]
        pause(AWAY_SECONDS)
    if os.getuid() == 0:
        with server.full(server.settings.data_dir):
            story.answers["full"] = [_created(client, url)]
            pause(AWAY_SECONDS)
    with _held(line.back):
        pause(AWAY_SECONDS)
    with _held(line.there):
        pause(AWAY_SECONDS)
        return server.standby(folder / "standby")


@contextmanager
def _held(way: threading.Event) -> Iterator[None]:
    """What is sent this way stays on the way."""
    way.clear()
    try:
        yield
    finally:
        way.set()


def _created(client: httpx.Client, url: str) -> Answer:
    began = time.monotonic()
    body = {"name": "X", "keyname": "x---------", "type": "radio", "url": url}
    answer = client.post("/channel", json=body)
    return Answer(answer.status_code, answer.headers.get("Retry-After"), time.monotonic() - began)


def _migrate(story: Story, server: Server, client: httpx.Client, folder: Path) -> None:
    """First behind somebody who reads and does not end, then alone."""
    versions = folder / "versions"
    versions.mkdir()
    (versions / "faulty.py").write_text(MIGRATION.format(head=schema.wanted()))
    config = schema.configuration(server.engine)
    config.set_main_option("version_locations", f"{PROJECT / 'migrations' / 'versions'}{os.pathsep}{versions}")
    story.answers["migrated"] = []
    with server.engine.connect() as reader, ThreadPoolExecutor(1) as thread:
        reader.execute(sa.text("SELECT count(*) FROM channel"))
        began = time.monotonic()
        waiting = thread.submit(command.upgrade, config, "head")
        while not waiting.done():
            story.answers["migrated"] += ask(client)
        story.migration.append(getattr(getattr(waiting.exception(), "orig", None), "pgcode", "none"))
        story.migration_waited_seconds = time.monotonic() - began
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(command.upgrade, config, "head")
        while not running.done():
            story.answers["migrated"] += ask(client)
        story.migration.append(schema.current(server.engine) or "")
    story.answers["migrated"] += ask(client)


def _fail_over(story: Story, server: Server, behind: Settings, line: Cut, stack: ExitStack) -> None:
    """To a server that lacks the last seconds of what this one has acknowledged."""
    stack.enter_context(embedded.running(behind))
    engine = db.engine_for(behind, poolclass=sa.NullPool)
    known = _uuids(engine)
    programs.eventually(lambda: len(_uuids(server.engine)) >= len(known) + 3, 20, "more is acknowledged")
    line.cut()
    story.acknowledged = _uuids(server.engine)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_promote(true, 30)"))
    story.missing_at_first = story.acknowledged - _uuids(engine)
    story.ordeal.engine = engine
    line.lead_to(behind.database().render_as_string(hide_password=False))
    line.connect()


def _uuids(engine: Engine) -> set[UUID]:
    with Session(engine) as session:
        return set(session.scalars(sa.select(Recording.uuid)))


def _await_rows(story: Story) -> None:
    """Until every channel is told up to now, but for the file that is open."""
    began = time.monotonic()
    untils = sa.select(sa.func.max(Coverage.end_time)).group_by(Coverage.channel_id)

    def is_told() -> bool:
        with Session(story.ordeal.engine) as session:
            found = [moment.timestamp() for moment in session.scalars(untils)]
        return len(found) == len(CHANNELS) and min(found) > time.time() - 6.0

    programs.eventually(is_told, 60, "all is told")
    story.backlog_seconds = time.monotonic() - began


# --- what it costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANNELS)
def test_no_frame_is_lost_whatever_befalls_the_database(story: Story, name: str) -> None:
    """F74 to F77, F86: locks, a line that is dead one way, read-only, a full disk, a migration, a failover."""
    track = story.ordeal.tracks[name]

    assert (track.lost_seconds, track.unknown, track.later_gaps) == (0, 0, [])
    assert track.places == sorted(set(track.places))


def test_the_oracle_has_nothing_to_say(story: Story) -> None:
    """Account, rows and files agree, to the byte, on the server that is there in the end."""
    assert {name: examples for name, examples in story.invariants.items() if examples} == {}


def test_rows_come_soon_after_the_last_fault(story: Story) -> None:
    """Once another database has taken the place of the one that was away."""
    assert story.backlog_seconds <= BACKLOG_SECONDS


def test_tables_that_somebody_holds_for_long_are_503_in_bounded_time(story: Story) -> None:
    """F77: for a dozen clients at once, each with the time after which to try again."""
    answers = story.answers["locked"]

    assert {(answer.status, answer.retry_after) for answer in answers} == {(503, "5")}
    assert max(answer.seconds for answer in answers) <= BOUND_SECONDS


@pytest.mark.parametrize("name", ["read-only", "full"])
def test_a_database_that_takes_nothing_is_503(story: Story, name: str) -> None:
    """F76: a channel cannot be made then, and nothing says that it was wrong to ask."""
    if name == "full":
        privileges.needed("to fill the database's disk")

    assert {(answer.status, answer.retry_after) for answer in story.answers[name]} == {(503, "5")}


def test_a_migration_does_not_queue_for_long_and_disturbs_nobody(story: Story) -> None:
    """F86: behind a reader it gives up after two seconds (55P03); alone it is done; every request is answered."""
    assert story.migration == ["55P03", "faulty"]
    assert story.migration_waited_seconds <= 4.0
    assert {answer.status for answer in story.answers["migrated"]} == {200}


def test_what_a_standby_lacks_is_told_again(story: Story) -> None:
    """F75: it is promoted without the latest recordings that the database before it had acknowledged."""
    assert story.missing_at_first != set()
    assert story.acknowledged <= story.at_last


# --- facts that the database does not take now ------------------------------------------------------------


def _gap(channel_id: int) -> GapNoted:
    return GapNoted(uuid4(), channel_id, at(0), at(10), GapReason.STALLED, "No media.")


@contextmanager
def _spooled(folder: Path, *facts: Fact) -> Iterator[tuple[Spool, Ledger]]:
    with Spool(folder / "spool") as spool:
        for fact in facts:
            spool.append(fact)
        yield spool, Ledger(spool, refused=folder / "refused.txt")


@pytest.mark.parametrize("code", ["25006", "40001", "40P01", "53100", "53200", "58030"])
def test_facts_wait_for_a_database_that_cannot_take_them_now(engine: Engine, tmp_path: Path, code: str) -> None:
    """F76, F78: read-only, a collision, no room on its disk or in its memory, an error of its disk."""
    with db.Session.begin() as session:
        channel_id = channel(session).id
    raising = f"BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END"
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $${raising}$$"))
        connection.execute(sa.text("CREATE TRIGGER fails BEFORE INSERT ON coverage EXECUTE FUNCTION fail()"))
    with _spooled(tmp_path, _gap(channel_id)) as (spool, replay):
        taken = replay.step()
        waiting = len(spool.pending())
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TRIGGER fails ON coverage"))

        assert (taken, waiting, replay.step(), spool.pending()) == (0, 1, 1, [])
    assert not (tmp_path / "refused.txt").exists()


def test_facts_that_met_a_deadlock_become_rows(engine: Engine, tmp_path: Path) -> None:
    """F78: two ledgers that want each other's channels; PostgreSQL ends one of the transactions."""
    with db.Session.begin() as session:
        first, second = channel(session).id, channel(session, keyname="second----").id
    with _spooled(tmp_path, _gap(first), _gap(second)) as (spool, replay), ThreadPoolExecutor(1) as thread:
        with engine.connect() as other:
            other.execute(sa.text("LOCK TABLE recording"))
            other.execute(sa.text("SET deadlock_timeout = '60s'"))  # the ledger is the one that is ended
            run = RunStarted(uuid4(), first, uuid4(), "icy", FileFormat.MP3, "mp3", at(20))
            file = SegmentClosed(
                uuid4(), run.run_id, first, "a", FileFormat.MP3, "mp3", at(20), at(30), 9, "0" * 64
            )
            spool.append(run)
            spool.append(file)
            step = thread.submit(replay.step)
            programs.eventually(lambda: _waits(engine), 10, "the ledger waits")
            other.execute(sa.text("LOCK TABLE coverage"))
        taken = step.result(10)
        while spool.pending():
            taken += replay.step()

    assert taken == 4
    assert not (tmp_path / "refused.txt").exists()
    with db.Session.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Coverage)) == 3


def _waits(engine: Engine) -> bool:
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        return bool(found.scalar_one())
