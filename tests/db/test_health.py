"""The watch over the database, while it is slow."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Engine

from streamrec import canary, jobs, manifests, sealing, signing
from streamrec.archive.storage import Bucket
from streamrec.clock import now
from streamrec.db import Session
from streamrec.health import BUCKET_STALE_SECONDS, BucketWatch, Watch, probe
from streamrec.models import Channel, JobKind
from streamrec.settings import Settings
from tests import factories as make
from tests import store as server
from tests.goods import kept_in


def test_a_database_that_takes_a_moment_is_not_away_because_nobody_asked_for_long(
    settings: Settings, engine: Engine
) -> None:
    clock = [0.0]
    watch = Watch(settings, monotonic=lambda: clock[0])

    async def asked_again_after_a_minute() -> bool:
        assert (await watch.report()).is_ready
        clock[0] += 60
        with engine.begin() as connection:
            connection.execute(sa.text("LOCK recorder IN ACCESS EXCLUSIVE MODE"))
            report = asyncio.create_task(watch.report())
            await asyncio.to_thread(await_waiter, engine)
            await asyncio.wait([report], timeout=0.1)  # longer than a fresh report waits for a newer one
        return (await report).is_ready

    try:
        assert asyncio.run(asked_again_after_a_minute())
    finally:
        watch.close()


def await_waiter(engine: Engine) -> None:
    """Until another session waits for a lock."""
    deadline = time.monotonic() + 5
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database"
        " WHERE datname = current_database())"
    )
    while True:
        with engine.connect() as connection:
            if connection.scalar(waiting):
                return
        assert time.monotonic() < deadline, "nobody waits"


def proved(verdict: canary.Verdict, until: datetime) -> None:
    with Session.begin() as session:
        channel_id = session.scalar(sa.select(Channel.id))
        assert channel_id is not None
        canary.note(session, channel_id, verdict, until)


def test_a_canary_that_fails_turns_health_to_degraded_and_one_that_sings_does_not(
    engine: Engine, settings: Settings
) -> None:
    with Session.begin() as session:
        make.capturing(session, make.channel(session, keyname=canary.KEYNAME).id)
    found = []
    for verdict, until in (
        (canary.Verdict(1250, 0, None), now()),
        (canary.Verdict(0, 0, None), now() - canary.SILENT),
        (canary.Verdict(1250, 1, "Frame 7 is not one of the signal."), now()),
    ):
        proved(verdict, until)
        found.append(probe(engine, settings, ttl_seconds=6.0))

    assert [report.status for report in found] == ["ok", "degraded", "degraded"]
    assert [report.is_ready for report in found] == [True] * 3
    assert found[2].canary is not None
    assert found[2].canary.detail == "Frame 7 is not one of the signal."


def test_jobs_that_wait_without_a_job_worker_turn_health_to_degraded(engine: Engine, settings: Settings) -> None:
    with Session.begin() as session:
        make.capturing(session, make.channel(session).id)
    found = [probe(engine, settings, ttl_seconds=6.0)]
    with Session.begin() as session:
        jobs.create(session, JobKind.CLIP)
    found.append(probe(engine, settings, ttl_seconds=6.0))
    with Session.begin() as session:
        session.execute(sa.text("INSERT INTO procrastinate_workers DEFAULT VALUES"))
    found.append(probe(engine, settings, ttl_seconds=6.0))
    with Session.begin() as session:
        session.execute(sa.text("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 s'"))
    found.append(probe(engine, settings, ttl_seconds=6.0))

    assert [report.status for report in found] == ["ok", "degraded", "ok", "degraded"]
    assert [report.is_ready for report in found] == [True] * 4
    assert found[1].jobs is not None
    assert found[1].jobs.detail == "No job worker is alive, and jobs wait: 1. Start one with: ./run.sh jobs"


def test_without_a_canary_nothing_is_said_of_one(engine: Engine, settings: Settings) -> None:
    with Session.begin() as session:
        make.capturing(session, make.channel(session).id)

    report = probe(engine, settings, ttl_seconds=6.0)

    assert (report.canary, report.status) == (None, "ok")


@pytest.mark.parametrize(("hours", "is_ok"), [(-1, True), (35, True), (37, False)])
def test_a_day_may_be_sealed_a_day_and_a_half_after_its_end(hours: int, is_ok: bool) -> None:
    day = make.T0.date()
    found = sealing.State(None, day, None, sealing.end_of(day) + timedelta(hours=hours))

    assert (found.is_ok, found.late_seconds) == (is_ok, max(0, hours) * 3600)


@pytest.mark.parametrize(("days_ago", "status"), [(0, "ok"), (4, "degraded")])
def test_a_day_that_is_not_sealed_long_after_its_end_turns_health_to_degraded(
    engine: Engine, settings: Settings, days_ago: int, status: str
) -> None:
    start = (now() - timedelta(days=days_ago) - make.T0).total_seconds()
    with Session.begin() as session:
        channel_id = make.channel(session).id
        make.capturing(session, channel_id)
        make.captured(session, channel_id, start - 60, start)

    assert probe(engine, settings, ttl_seconds=6.0).status == status


def test_a_lost_signing_key_turns_health_to_degraded_and_says_what_to_do(
    engine: Engine, settings: Settings
) -> None:
    with Session.begin() as session:
        channel_id = make.channel(session).id
        make.capturing(session, channel_id)
        make.captured(session, channel_id, 0, 60)
        manifests.seal(session, channel_id, make.T0.date(), Ed25519PrivateKey.generate())
    found = [probe(engine, settings, ttl_seconds=6.0)]
    settings.steward_lock.parent.mkdir(parents=True)
    settings.steward_lock.touch()
    found.append(probe(engine, settings, ttl_seconds=6.0))

    assert [report.status for report in found] == ["ok", "degraded"]
    assert [report.sealing is not None and report.sealing.detail for report in found] == [
        "The last sealed day is 2026-11-01.",
        f"The last sealed day is 2026-11-01. The signing key {settings.signing_key} is missing. {signing.ADVICE}",
    ]


def at(settings: Settings, address: str) -> Settings:
    """Settings with a bucket at an address."""
    key = {"access_key": server.ACCESS_KEY, "secret_key": server.SECRET_KEY}
    return kept_in(settings, Bucket("archive", address, **key))


def test_without_a_bucket_nothing_is_said_of_one(settings: Settings, engine: Engine) -> None:
    watch = BucketWatch(settings)
    watch.look()

    assert (watch.found, watch.trouble()) == (None, None)


def test_a_bucket_that_hangs_is_soon_seen_to_be_away(settings: Settings, engine: Engine) -> None:
    with server.hanging() as address:
        watch = BucketWatch(at(settings, address))
        watch.look()

    assert watch.found is not None
    assert (watch.found.is_ok, watch.trouble()) == (False, watch.found.detail)


def test_what_was_seen_of_the_bucket_long_ago_says_nothing_any_more(settings: Settings, engine: Engine) -> None:
    clock = [0.0]
    watch = BucketWatch(at(settings, "http://127.0.0.1:1"), monotonic=lambda: clock[0])
    watch.look()
    seen = watch.trouble()
    clock[0] += BUCKET_STALE_SECONDS + 1

    assert (seen is not None, watch.trouble()) == (True, None)
    assert watch.found is not None
    assert (watch.found.is_ok, watch.found.detail) == (False, "could not be looked at for a minute")


def test_a_first_look_at_the_bucket_that_never_ends_turns_health_to_degraded(settings: Settings) -> None:
    clock = [0.0]
    watch = BucketWatch(at(settings, "http://127.0.0.1:1"), monotonic=lambda: clock[0])
    at_first = watch.found
    clock[0] += BUCKET_STALE_SECONDS + 1

    assert at_first is None
    assert watch.found is not None
    assert not watch.found.is_ok
