"""What the database and the simulated one make of a recorder's facts: a simulation is worth no more than that."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.archive.files import Tree
from streamrec.errors import DatabaseAway
from streamrec.models import Coverage, EnabledPeriod, FileFormat, GapReason
from streamrec.recorder.book import Book, PostgresBook, Refused
from streamrec.recorder.events import Address
from streamrec.recorder.facts import GapNoted, RunEnded, RunStarted, SegmentClosed
from streamrec.recorder.ledger import Late
from streamrec.recorder.placement.interface import Member, Placement
from streamrec.recorder.placement.postgres import PostgresPlacement
from streamrec.recorder.records.interface import Records
from streamrec.recorder.records.postgres import PostgresRecords
from streamrec.recorder.settlement import Settlement
from streamrec.recorder.tools import Order
from tests.factories import at, channel
from tests.sim.store import Costs, Line, Settling, Store
from tests.sim.virtual import VirtualClock, VirtualLoop

Told = tuple[str, float, float, int | None]


@dataclass
class Driver:
    """A store with one channel, and all the ways to it that a recorder has."""

    placement: Placement
    records: Records
    book: Book
    late: Late
    channel_id: int
    spans: Callable[[], list[Told]]
    members: list[UUID] = field(default_factory=list)

    def take(self) -> int:
        """Another recorder joins, and holds the channel; the epoch."""
        if self.members:
            self.placement.leave(self.members[-1])
        self.members.append(uuid4())
        self.placement.join(Member(self.members[-1], 10))
        epoch = len(self.members)
        return self.placement.claim(self.members[-1], {self.channel_id: epoch - 1})[self.channel_id]

    def run(self, epoch: int) -> RunStarted:
        who = self.members[epoch - 1]
        return RunStarted(uuid4(), self.channel_id, who, "icy", FileFormat.MP3, "mp3", at(0), epoch)

    def gap(self, start: float, end: float, epoch: int, uuid: UUID | None = None) -> GapNoted:
        found = uuid or uuid4()
        return GapNoted(found, self.channel_id, at(start), at(end), GapReason.STALLED, "No media.", epoch)


def file(run: RunStarted, start: float, end: float) -> SegmentClosed:
    names = (
        uuid4(),
        run.run_id,
        run.channel_id,
        f"aaaaaaaaaa/2026/11/01/{uuid4().hex}.mp3",
        FileFormat.MP3,
        "mp3",
    )
    return SegmentClosed(*names, at(start), at(end), 1000, "0" * 64, epoch=run.epoch)


def told(kind: str, start: datetime, end: datetime, epoch: int | None) -> Told:
    return kind, (start - at(0)).total_seconds(), (end - at(0)).total_seconds(), epoch


def simulated() -> Driver:
    loop = VirtualLoop()
    store = Store(loop, VirtualClock(loop), random.Random(1), Costs())
    loop.close()
    store.wanted.orders[7] = Order(7, "aaaaaaaaaa", Address("http://station.invalid/"), 60)  # type: ignore[index]
    store.enabled_at[7] = at(0)
    line = Line(store)

    def spans() -> list[Told]:
        return [told("recorded" if r.is_media else "gap", r.start, r.end, r.epoch) for r in store.rows[7]]

    return Driver(line, line, line, Settling(store), 7, spans)


def real(engine: Engine, folder: Path) -> Driver:
    with db.Session.begin() as session:
        channel_id = channel(session, expected_from=at(0)).id

    def spans() -> list[Told]:
        with db.Session.begin() as session:
            rows = session.scalars(sa.select(Coverage).order_by(Coverage.start_time)).all()
        return [told(row.kind.value, row.start_time, row.end_time, row.epoch) for row in rows]

    late = Settlement(Tree(folder / "archive"), folder / "quarantine")
    records = PostgresRecords(engine, monotonic=lambda: 0.0)
    return Driver(PostgresPlacement(), records, PostgresBook(), late, channel_id, spans)


@pytest.fixture(params=["simulated", "postgres"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    if request.param == "postgres":
        yield real(request.getfixturevalue("engine"), tmp_path)
    else:
        yield simulated()


def test_files_and_gaps_are_told_and_the_account_says_how_far(driver: Driver):
    run = driver.run(driver.take())
    closed, gap = file(run, 0, 60), driver.gap(60, 70, 1)
    driver.book.enter([run, closed, gap, RunEnded(run.run_id, at(60), "stalled")])
    account = driver.records.account(driver.channel_id)

    assert driver.spans() == [("recorded", 0, 60, 1), ("gap", 60, 70, 1)]
    assert account.told is not None
    assert (account.told.enabled_at, account.told.covered_until) == (at(0), at(70))
    assert [getattr(row, "key", None) for row in account.rows] == [closed.key, None]


def test_the_same_fact_again_changes_nothing_but_a_gaps_bounds(driver: Driver):
    run = driver.run(driver.take())
    closed, gap = file(run, 0, 60), uuid4()
    driver.book.enter([run, closed, driver.gap(60, 70, 1, gap)])
    driver.book.enter([run, closed, driver.gap(60, 65, 1, gap)])
    shorter = driver.spans()
    driver.book.enter([driver.gap(60, 60, 1, gap)])

    assert shorter == [("recorded", 0, 60, 1), ("gap", 60, 65, 1)]
    assert driver.spans() == [("recorded", 0, 60, 1)]


def test_of_facts_of_which_one_overlaps_none_is_taken(driver: Driver):
    """By a millisecond."""
    run = driver.run(driver.take())
    driver.book.enter([run, file(run, 0, 60)])
    with pytest.raises(Refused) as refused:
        driver.book.enter([file(run, 90, 100), driver.gap(59.999, 70, 1)])

    assert refused.value.is_late
    assert driver.spans() == [("recorded", 0, 60, 1)]


def test_an_older_epoch_is_refused(driver: Driver):
    run = driver.run(driver.take())
    driver.take()
    with pytest.raises(Refused) as refused:
        driver.book.enter([run, file(run, 0, 60)])

    assert refused.value.is_late
    assert driver.spans() == []


def test_a_late_gap_is_told_where_nobody_has_told_anything(driver: Driver):
    driver.take()
    run = driver.run(driver.take())
    driver.book.enter([run, file(run, 10, 20)])

    assert driver.late.settle(driver.gap(5, 30, 1))
    assert driver.spans() == [("gap", 5, 10, 2), ("recorded", 10, 20, 2), ("gap", 20, 30, 2)]


def test_late_media_takes_the_place_of_a_gap_that_the_new_holder_has_told(driver: Driver):
    old = driver.run(driver.take())
    driver.book.enter([old])
    driver.take()
    driver.book.enter([driver.gap(0, 30, 2)])

    assert driver.late.settle(file(old, 10, 20))
    assert driver.spans() == [("gap", 0, 10, 2), ("recorded", 10, 20, 2), ("gap", 20, 30, 2)]


def test_late_media_waits_for_a_living_holder_who_has_told_nothing_yet(driver: Driver):
    old = driver.run(driver.take())
    driver.take()

    assert not driver.late.settle(file(old, 10, 20))
    assert driver.spans() == []


def test_a_channel_that_is_not_enabled_has_no_account_to_go_on_from(driver: Driver):
    if isinstance(driver.records, Line):
        driver.records._store.disabled_at[driver.channel_id] = at(50)
    else:
        with db.Session.begin() as session:
            session.execute(sa.update(EnabledPeriod).values(end_time=at(50)))

    assert driver.records.account(driver.channel_id).told is None
    assert driver.records.disabled_at(driver.channel_id) == at(50)


def test_a_simulated_database_that_is_away_answers_nothing():
    driver = simulated()
    assert isinstance(driver.records, Line)
    driver.records._store.lose()
    questions: list[Callable[[], object]] = [
        driver.records.wanted,
        driver.placement.view,
        lambda: driver.book.enter([]),
        lambda: driver.late.settle(driver.gap(0, 1, 1)),
    ]

    for question in questions:
        with pytest.raises(DatabaseAway):
            question()
