"""The engine, the session factory and the two things SQLAlchemy does not bring: the Instant type and LISTEN."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from psycopg2 import InterfaceError as InterfaceDriverError
from psycopg2 import OperationalError as OperationalDriverError
from psycopg2 import extensions
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streamrec.errors import DatabaseAway
from streamrec.settings import Settings

CONNECT_SECONDS = 3.0
MARGIN_SECONDS = 1.0  # what a server that lives takes to say that a statement ran out of time

_CONNECTING = 20  # psycopg2's CONN_STATUS_CONNECTING, which it does not export

_AWAY = frozenset(
    {
        "08",  # the connection
        "25006",  # read-only: a standby, or a server that an operator has shut for writing
        "53",  # its disk or its memory is full, or it has too many connections
        "55P03",  # a lock that somebody else holds for too long
        "57",  # shut down, starting, or a statement that took too long
        "58",  # its own disk fails
    }
)
"""SQLSTATEs and classes of them (PostgreSQL's appendix A) that tell nothing of the statement, and may pass."""

Session = orm.sessionmaker(expire_on_commit=False)


class Instant(sa.types.TypeDecorator[datetime]):
    """`timestamptz` that refuses naive values and always comes back in UTC."""

    impl = postgresql.TIMESTAMP(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a naive datetime reached the database: {value!r}")
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)


def engine_for(settings: Settings, *, application: str = "streamrec", **options: Any) -> Engine:
    """An engine whose statements, locks and sockets all give up after `db_timeout_seconds`."""
    timeout = int(settings.db_timeout_seconds * 1000)
    return sa.create_engine(
        settings.database(),
        connect_args={
            "application_name": application,
            "connection_factory": _impatient(settings.db_timeout_seconds + MARGIN_SECONDS),
            "options": f"-c statement_timeout={timeout} -c lock_timeout={timeout} -c timezone=UTC",
            "tcp_user_timeout": timeout,
            "keepalives_idle": 5,
        },
        hide_parameters=True,  # credentials must not reach a log through an error text
        **options,
    )


def conninfo(settings: Settings) -> str:
    """The database's address as libpq reads it, for psycopg 3; it may hold a password."""
    return settings.database().set(drivername="postgresql").render_as_string(hide_password=False)


def patience(settings: Settings, *, application: str) -> dict[str, Any]:
    """The same limits as those of `engine_for`, as libpq names them."""
    timeout = int(settings.db_timeout_seconds * 1000)
    return {
        "application_name": application,
        "options": f"-c statement_timeout={timeout} -c lock_timeout={timeout} -c timezone=UTC",
        "connect_timeout": int(CONNECT_SECONDS),
        "tcp_user_timeout": timeout,
        "keepalives_idle": 5,
    }


def _impatient(seconds: float) -> type[extensions.connection]:
    """A class of connections that give up a server which says nothing for so long."""
    return type("Impatient", (extensions.connection,), {"patience": seconds})


def _wait(connection: Any) -> None:
    """What psycopg2 calls instead of waiting for ever for a server that hangs with its socket open.

    No option of libpq ends that wait: the server's own time-outs hang with it, and the kernel goes on taking what
    is sent. The connection is closed by the exception.

    Raises:
        psycopg2.OperationalError: the server said nothing for `patience` seconds, or CONNECT_SECONDS at first.
    """
    patience = getattr(connection, "patience", None)
    while (state := connection.poll()) != extensions.POLL_OK:
        if connection.status == _CONNECTING and patience is not None:
            patience = CONNECT_SECONDS
        waiting = select.poll()
        waiting.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if not waiting.poll(None if patience is None else patience * 1000):
            raise OperationalDriverError("the server said nothing for too long")


extensions.set_wait_callback(_wait)


def connect(settings: Settings, *, application: str = "streamrec") -> Engine:
    """Bind `Session` for this process.

    The pool may grow to AnyIO's 40 worker threads, so that a request waits for a thread and never for both.
    """
    engine = engine_for(
        settings,
        application=application,
        pool_size=settings.db_pool_size,
        max_overflow=max(0, 40 - settings.db_pool_size),
        pool_timeout=settings.db_timeout_seconds,
        pool_use_lifo=True,
    )
    sa.event.listen(engine, "checkout", _refuse_the_dead)
    Session.configure(bind=engine)
    return engine


def _refuse_the_dead(connection: Any, record: Any, _proxy: Any) -> None:
    """After a restart of the server no request meets a connection to the one before: the pool makes new ones.

    A server that ended says so on its sockets, and a look there is no round trip, as `pool_pre_ping` would make.
    """
    if not record.info.get("has_served"):
        record.info["has_served"] = True
        return
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    if readable.poll(0):
        raise InvalidatePoolError("the server has closed this connection")


def is_away(exc: BaseException) -> bool:
    """Whether `exc` means that PostgreSQL is not there or takes nothing now, and not that it refused a statement.

    A lost connection carries no SQLSTATE, so the class of the exception counts as well as the codes of `_AWAY`.
    """
    if isinstance(exc, PoolTimeout | InterfaceError):
        return True
    if not isinstance(exc, DBAPIError):
        return False
    code = getattr(exc.orig, "pgcode", None)
    if exc.connection_invalidated or code is None:
        return exc.connection_invalidated or isinstance(exc, OperationalError)
    return code[:2] in _AWAY or code in _AWAY


def has_collided(exc: BaseException) -> bool:
    """Whether PostgreSQL ended one of two transactions that were in each other's way: asked again it may do it.

    40001 (serialization failure, also of a standby that replays what we read) and 40P01 (deadlock).
    """
    return isinstance(exc, DBAPIError) and getattr(exc.orig, "pgcode", None) in {"40001", "40P01"}


@contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Turn a lost database into DatabaseAway and let every other error pass."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as exc:
        if is_away(exc):
            raise DatabaseAway("The database does not answer.") from exc
        raise


@contextmanager
def single() -> Iterator[Connection]:
    """A connection whose statements are each a transaction, so that one costs one round trip and not three.

    Raises:
        DatabaseAway: as `away_as_unavailable` does.
    """
    engine: Engine = Session.kw["bind"]
    with away_as_unavailable(), engine.connect() as connection, _autocommitted(connection):
        yield connection


@contextmanager
def _autocommitted(connection: Connection) -> Iterator[None]:
    """Let the driver begin no transactions. SQLAlchemy's `isolation_level` costs a round trip to set it back."""
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    try:
        yield
    finally:
        with suppress(InterfaceDriverError):  # the connection is lost, and goes back to no pool
            driver.autocommit = False


def violated_constraint(exc: sa.exc.IntegrityError) -> str | None:
    """The name of the constraint that an insert or update broke."""
    diagnostics = getattr(exc.orig, "diag", None)
    return None if diagnostics is None else diagnostics.constraint_name


class Listener:
    """One connection that LISTENs; select on `fileno()` and call `drain()` when it is readable."""

    def __init__(self, engine: Engine, *channels: str) -> None:
        """Begin to listen.

        Raises:
            DatabaseAway: PostgreSQL does not answer, or the pool's connection was dead; the next one may not be.
        """
        try:
            self._pooled = engine.raw_connection()
        except (PoolTimeout, OperationalDriverError) as exc:  # raw: SQLAlchemy does not wrap these here
            raise DatabaseAway("The database does not answer.") from exc
        self._connection: Any = self._pooled.driver_connection
        assert self._connection is not None
        try:
            self._connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with self._connection.cursor() as cursor:
                for channel in channels:
                    cursor.execute(f'LISTEN "{channel}"')
        except (OperationalDriverError, InterfaceDriverError) as exc:
            self._pooled.invalidate()
            raise DatabaseAway("The listening connection was lost.") from exc

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def drain(self) -> list[str]:
        """The payloads that have arrived.

        Raises:
            DatabaseAway: the connection is gone; make a new Listener.
        """
        try:
            self._connection.poll()
        except Exception as exc:
            raise DatabaseAway("The listening connection was lost.") from exc
        payloads = [notice.payload for notice in self._connection.notifies]
        self._connection.notifies.clear()
        return payloads

    def close(self) -> None:
        """Drop the connection; it must not go back to a pool while it listens."""
        self._pooled.invalidate()
