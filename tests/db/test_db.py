"""Telling a lost database from a refused statement."""

from __future__ import annotations

import select
import socket
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from streamrec import db, embedded
from streamrec.errors import DatabaseAway
from streamrec.settings import Settings


def test_a_server_that_is_not_there_is_away() -> None:
    """A refused connection carries no SQLSTATE and still counts."""
    nowhere = db.engine_for(Settings(database_url="postgresql://x@127.0.0.1:1/x"))

    with pytest.raises(DatabaseAway), db.away_as_unavailable(), nowhere.connect():
        pass


def test_a_backend_that_is_killed_is_away(engine: sa.Engine, maintenance: sa.Engine) -> None:
    """The session drops in the middle of a transaction."""
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with maintenance.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

        with pytest.raises(DatabaseAway), db.away_as_unavailable():
            connection.execute(sa.text("SELECT 1"))


def test_each_statement_of_a_single_connection_is_a_transaction(engine: sa.Engine) -> None:
    """No round trips to begin and to commit: what one has written the next sees with another stamp."""
    with db.single() as connection:
        stamps = {connection.scalar(sa.text("SELECT now()")) for _ in range(2)}

    with db.Session() as session:
        assert len(stamps) == 2
        assert session.scalar(sa.text("SELECT now()")) == session.scalar(sa.text("SELECT now()"))


def test_a_single_connection_whose_backend_is_killed_is_away_and_harms_no_other(
    engine: sa.Engine, maintenance: sa.Engine
) -> None:
    def killed() -> None:
        with db.single() as connection:
            pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            with maintenance.connect() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            connection.scalar(sa.text("SELECT 1"))

    with pytest.raises(DatabaseAway):
        killed()
    with db.single() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_a_statement_that_is_refused_in_a_single_connection_harms_no_other(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.ProgrammingError), db.single() as connection:
        connection.execute(sa.text("SELECT nonsense"))

    with db.Session() as session:
        assert session.scalar(sa.text("SELECT now()")) == session.scalar(sa.text("SELECT now()"))


def test_a_statement_that_is_refused_is_not_away(engine: sa.Engine) -> None:
    """A broken rule is the caller's, and keeps its own exception."""
    with pytest.raises(sa.exc.ProgrammingError), db.away_as_unavailable(), engine.connect() as connection:
        connection.execute(sa.text("SELECT nonsense"))


def test_a_slow_statement_gives_up(database: str) -> None:
    """A hanging server costs a request its time-out and no more; it counts as away."""
    engine = db.engine_for(Settings(database_url=database, db_timeout_seconds=0.2))

    with pytest.raises(DatabaseAway), db.away_as_unavailable(), engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_sleep(5)"))
    engine.dispose()


def test_a_server_that_hangs_is_away(tmp_path: Path) -> None:
    """Its own time-outs hang with it, and its socket stays open."""
    settings = Settings(data_dir=tmp_path, database_url=None, db_host=None, db_timeout_seconds=0.2)
    with embedded.running(settings):
        engine = db.engine_for(settings)
        with engine.connect() as connection:
            backend = psutil.Process(connection.scalar(sa.text("SELECT pg_backend_pid()")))
            backend.suspend()
            try:
                with pytest.raises(DatabaseAway), db.away_as_unavailable():
                    connection.execute(sa.text("SELECT 1"))
            finally:
                backend.resume()

        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT pg_backend_pid()")) != backend.pid
        engine.dispose()


def test_a_server_that_never_greets_is_away() -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        engine = db.engine_for(Settings(database_url=f"postgresql://x@127.0.0.1:{mute.getsockname()[1]}/x"))

        with pytest.raises(DatabaseAway), db.away_as_unavailable(), engine.connect():
            pass


def drain_for_good(listener: db.Listener) -> None:
    """Drain as the event loop does, when the socket is readable; PostgreSQL's farewell comes before the end."""
    while select.select([listener], [], [], 5)[0]:
        listener.drain()


def test_a_listener_whose_connection_is_lost_says_so(engine: sa.Engine, maintenance: sa.Engine) -> None:
    """The recorder makes a new one then."""
    listener = db.Listener(engine, "channel")
    terminate = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :n AND query ~ '^LISTEN'"
    )
    with maintenance.connect() as other:
        other.execute(terminate, {"n": engine.url.database})

    with pytest.raises(DatabaseAway):
        drain_for_good(listener)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_the_scheme_goes_through_psycopg2(scheme: str) -> None:
    """Hosting companies hand out several."""
    url = Settings(database_url=f"{scheme}://u:p@h/d").database()

    assert url.drivername == "postgresql+psycopg2"


def test_a_server_that_was_restarted_meanwhile_costs_no_request(database: str, maintenance: sa.Engine) -> None:
    """Its old connections are known to be dead before anything is asked over them."""
    engine = db.connect(Settings(database_url=database))
    try:
        with engine.connect() as one, engine.connect() as two:
            pids = [each.scalar(sa.text("SELECT pg_backend_pid()")) for each in (one, two)]
        with maintenance.connect() as other:
            for pid in pids:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

        with engine.connect() as one, engine.connect() as two:
            fresh = [each.scalar(sa.text("SELECT pg_backend_pid()")) for each in (one, two)]
    finally:
        engine.dispose()

    assert set(fresh).isdisjoint(pids)
