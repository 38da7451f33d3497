"""How long recordings are kept, and what holds them."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db, deletion, holds, retention
from streamrec.archive.room import Room
from streamrec.clock import now
from streamrec.errors import Conflict
from streamrec.models import Channel, Coverage, CoverageKind, Garbage, Recording
from streamrec.retention import RoomKeeper
from streamrec.settings import Settings
from tests import factories as make

HOUR = 3600.0


class World:
    """A channel with an hour's recording for each of the ages given, in days."""

    def __init__(self, settings: Settings, ages: list[int]) -> None:
        self.settings = settings
        self.since_t0 = (now() - make.T0).total_seconds()
        self.ids: dict[int, int] = {}
        with db.Session.begin() as session:
            self.channel_id = make.channel(session).id
            for age in ages:
                path = f"gr-rstpk-1/{age}.mp3"
                start = self.since_t0 - age * 24 * HOUR
                self.ids[age] = make.captured(session, self.channel_id, start, start + HOUR, path=path).id
                self.file(age).parent.mkdir(parents=True, exist_ok=True)
                self.file(age).write_bytes(bytes(10))

    def file(self, age: int) -> Path:
        return self.settings.archive_dir / f"gr-rstpk-1/{age}.mp3"

    def channel(self, **values: int) -> None:
        with db.Session.begin() as session:
            session.execute(sa.update(Channel).values(**values))

    def hold(self, age: int) -> int:
        start = make.at(self.since_t0 - age * 24 * HOUR + 60)
        with db.Session.begin() as session:
            end = start + timedelta(seconds=1)
            return holds.create(session, self.channel_id, start=start, end=end, reason="A complaint", by=None).id

    def kept(self) -> list[int]:
        with db.Session.begin() as session:
            ids = set(session.scalars(sa.select(Recording.id)))
        return [age for age, recording_id in self.ids.items() if recording_id in ids]

    def kinds(self) -> list[CoverageKind]:
        with db.Session.begin() as session:
            return list(session.scalars(sa.select(Coverage.kind).order_by(Coverage.start_time)))


@pytest.fixture
def world(engine: Engine, settings: Settings) -> World:
    return World(settings, [100, 61, 59, 1])


def test_what_is_older_than_sixty_days_goes_and_its_time_says_expired(world: World) -> None:
    assert retention.run(world.settings) == 2

    assert world.kept() == [59, 1]
    assert [world.file(age).exists() for age in (100, 61, 59, 1)] == [False, False, True, True]
    assert world.kinds() == [*[CoverageKind.EXPIRED] * 2, *[CoverageKind.RECORDED] * 2]
    with db.Session.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Garbage)) == 0


def test_expiring_again_expires_nothing(world: World) -> None:
    retention.run(world.settings)

    assert retention.run(world.settings) == 0


def test_a_channel_has_its_own_days(world: World) -> None:
    world.channel(retention_days=99)
    retention.run(world.settings)

    assert world.kept() == [61, 59, 1]


def test_the_oldest_go_when_a_channel_has_too_many_bytes(world: World) -> None:
    world.channel(retention_days=400, retention_bytes=25)
    retention.run(world.settings)

    assert world.kept() == [59, 1]


def test_what_is_held_outlives_its_retention_until_the_hold_is_lifted(world: World) -> None:
    hold_id = world.hold(100)
    retention.run(world.settings)
    assert world.kept() == [100, 59, 1]

    with db.Session.begin() as session:
        holds.lift(session, world.channel_id, hold_id)
    retention.run(world.settings)
    assert world.kept() == [59, 1]


def test_what_is_held_is_not_deleted_by_anybody(world: World) -> None:
    world.hold(59)

    with pytest.raises(Conflict):
        deletion.recording(world.ids[59], world.settings.archive_dir)
    with pytest.raises(Conflict):
        deletion.channel_with_recordings(world.channel_id, world.settings.archive_dir)
    deletion.recording(world.ids[1], world.settings.archive_dir)

    assert world.kept() == [100, 61, 59]


def test_a_full_disk_deletes_nothing_unless_the_settings_say_so(world: World) -> None:
    full = world.settings.model_copy(update={"disk_low_percent": 100.0})

    assert RoomKeeper(full).make_room() == 0
    assert len(world.kept()) == 4


def test_what_is_due_goes_at_once_when_the_disk_fills(world: World) -> None:
    fills = world.settings.model_copy(update={"disk_warn_percent": 100.0})

    assert RoomKeeper(fills).make_room() == 2
    assert world.kept() == [59, 1]


def test_what_is_due_waits_for_its_round_while_there_is_room(world: World) -> None:
    wide = world.settings.model_copy(update={"disk_warn_percent": 0.0})

    assert RoomKeeper(wide).make_room() == 0
    assert len(world.kept()) == 4


def test_a_disk_that_fills_is_told_of_by_whole_percents(
    engine: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """And once when it has room again; who asks every half minute hears nothing twice."""
    caplog.set_level(logging.INFO)
    found = Room(0, 0)
    tight = settings.model_copy(update={"disk_low_percent": 5.0})
    keeper = RoomKeeper(tight, lambda _: found)
    for tenths in (120, 98, 95, 87, 89, 49, 49, 102, 115, 99):
        found = Room(tenths, 1000)
        keeper.make_room()

    told = [(record.levelname, vars(record)["free_percent"]) for record in caplog.records]
    assert told == [
        ("WARNING", 9.8),
        ("WARNING", 8.7),
        ("ERROR", 4.9),
        ("INFO", 11.5),
        ("WARNING", 9.9),
    ]


def test_a_full_disk_may_take_the_oldest_but_never_what_is_held(world: World) -> None:
    """This disk is never wholly free, so that all goes that may."""
    world.hold(61)
    full = world.settings.model_copy(update={"disk_low_percent": 100.0, "disk_low": "expire"})

    assert RoomKeeper(full).make_room() == 3
    assert world.kept() == [61]
