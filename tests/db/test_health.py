"""The watch over the database, while it is slow."""

from __future__ import annotations

import asyncio
import time

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec.health import Watch
from streamrec.settings import Settings


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
