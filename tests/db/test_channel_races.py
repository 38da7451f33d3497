"""Changes of the same channels at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session as OrmSession

from streamrec import channel_imports, channel_lists, channels, db
from streamrec.handlers import _problems
from streamrec.models import Channel
from tests import factories as make

LINE = "{0},{0},http://46.4.37.132/{0}\n"


def imported(session: OrmSession, *keynames: str) -> list[str]:
    text = "keyname,name,url\n" + "".join(LINE.format(keyname) for keyname in keynames)
    lines = channel_imports.apply(session, channel_imports.prepare(channel_lists.parse(text, "csv")))
    return [line.status for line in lines]


def await_waiter(engine: Engine) -> None:
    """Until another session of this database waits for a lock."""
    deadline = time.monotonic() + 5
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while True:
        with engine.connect() as connection:
            if connection.scalar(waiting):
                return
        assert time.monotonic() < deadline, "nobody waits"


def test_two_lists_of_the_same_stations_wait_for_each_other_once(engine: Engine) -> None:
    def other_list() -> list[str]:
        with db.Session.begin() as session:
            return imported(session, "station-02", "station-01")

    with ThreadPoolExecutor(1) as thread:
        with db.Session.begin() as session:
            assert imported(session, "station-01") == ["created"]
            other = thread.submit(other_list)
            await_waiter(engine)
            assert imported(session, "station-02") == ["created"]

        assert other.result(timeout=10) == ["skipped", "skipped"]


def test_a_channel_that_goes_during_an_import_costs_its_own_line_only(engine: Engine) -> None:
    with db.Session.begin() as session:
        imported(session, "station-01")
        gone = session.scalars(sa.select(Channel.id)).one()

    def list_of_both() -> list[str]:
        with db.Session.begin() as session:
            return imported(session, "station-01", "station-02")

    with ThreadPoolExecutor(1) as thread:
        with db.Session.begin() as session:
            channels.retire(session, gone)
            listed = thread.submit(list_of_both)
            await_waiter(engine)

        assert listed.result(timeout=10) == ["refused", "created"]


def test_a_recorder_does_not_wait_for_a_change_of_the_channel_that_it_reports_on(engine: Engine) -> None:
    with db.Session.begin() as session:
        channel = make.channel(session)
    with db.Session.begin() as changing, db.Session.begin() as reporting:
        channels.update(changing, channel.id, {"name": "Renamed", "keyname": "renamed---"})
        reporting.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))

        make.captured(reporting, channel.id, 0, 10)


def test_of_two_changes_that_wait_for_each_other_one_is_told_of_a_conflict(engine: Engine) -> None:
    with db.Session.begin() as session:
        first, second = make.channel(session), make.channel(session, keyname="second----")

    meeting = Barrier(2)

    def crosswise(*order: int) -> str | None:
        try:
            with db.Session.begin() as session:
                channels.update(session, order[0], {"name": "changed"})
                meeting.wait(timeout=5)
                channels.update(session, order[1], {"name": "changed"})
        except sa.exc.OperationalError as exc:
            problem = _problems.of(exc)
            return problem.name if problem else None
        return "done"

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(crosswise, first.id, second.id)
        other = threads.submit(crosswise, second.id, first.id)

    assert {one.result(), other.result()} == {"done", "conflict"}
