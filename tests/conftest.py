"""One PostgreSQL for each process of a test run, a migrated template, and a clone for each test that commits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.orm import Session as OrmSession
from xdist.scheduler import LoadScopeScheduling

from streamrec import db
from streamrec.settings import PROJECT, Settings

hypothesis.settings.register_profile("suite", deadline=None)  # no test asserts how fast a machine is
hypothesis.settings.load_profile("suite")

REAL_TIME = {
    "recorder": "recorder",
    **dict.fromkeys(("e2e", "players"), "whole"),
    **dict.fromkeys(("chaos", "crash", "jobworker"), "faults"),
}
"""Folders whose tests wait for real servers with deadlines; those of one group never run beside each other."""

SOURCES = frozenset(
    {"test_fetch.py", "test_hls_source.py", "test_http_source.py", "test_probe.py", "test_proxy.py"}
)
"""Tests of the recorder that have none running: a group for whoever is through first, as the rest is longest."""


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Three processes (`-n 3`) begin with these groups; who is through takes the sources, then what computes."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        _, folder, *rest = path.split("/")
        return "sources" if rest and rest[-1] in SOURCES else REAL_TIME.get(folder, path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Called for the whole suite only; a part of it runs in one process."""
    config.option.loadscopereorder = False
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits comes first: it takes longest."""
    items.sort(key=lambda item: item.path.parent.name not in REAL_TIME)


@pytest.fixture(scope="session", autouse=True)
def bare_environment() -> Iterator[None]:
    """A developer's variables, files and full disk do not count; DATABASE_URL chooses the server, and no more."""
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith(("STREAMREC_", "DB_")):
                environment.delenv(name)
        environment.setenv("STREAMREC_CONFIG", str(PROJECT / "config" / "streamrec.toml"))
        environment.setenv("STREAMREC_DISK_LOW_PERCENT", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def heard_interrupts() -> None:
    """What a script starts in the background ignores Ctrl-C, and so would everything that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> None:
    """They go where pytest shows them beside a test that failed, not to standard output."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.stdlib.render_to_log_kwargs,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """The address of a running PostgreSQL: DATABASE_URL's, or an embedded one made for this run."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg2")
        return
    from streamrec import embedded

    settings = Settings(data_dir=tmp_path_factory.mktemp("pg"))
    with embedded.running(settings):
        yield settings.database()


@pytest.fixture(scope="session")
def maintenance(server: URL) -> Iterator[Engine]:
    """A connection that may create and drop databases."""
    engine = sa.create_engine(server.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    yield engine
    engine.dispose()


def _url(database: URL) -> str:
    return database.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def template(server: URL, maintenance: Engine) -> Iterator[str]:
    """The name of a database that has every migration and no rows."""
    name = f"streamrec_template_{uuid4().hex[:8]}"
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine = sa.create_engine(server.set(database=name), poolclass=sa.NullPool)
    config = Config(PROJECT / "alembic.ini")
    config.attributes["engine"] = engine
    command.upgrade(config, "head")
    engine.dispose()
    yield name
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def database(server: URL, maintenance: Engine, template: str) -> Iterator[str]:
    """The address of an empty, migrated database of this test's own."""
    name = f"streamrec_test_{uuid4().hex[:8]}"
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    yield _url(server.set(database=name))
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Settings of an instance of this test's own."""
    return Settings(data_dir=tmp_path / "data", database_url=database)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """`db.Session` bound to this test's database."""
    engine = db.connect(settings, application="test")
    yield engine
    db.Session.configure(bind=None)
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(server: URL, template: str, maintenance: Engine) -> Iterator[Engine]:
    """One database for all tests that roll back."""
    name = f"streamrec_shared_{uuid4().hex[:8]}"
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    engine = sa.create_engine(server.set(database=name))
    yield engine
    engine.dispose()
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def session(shared_engine: Engine) -> Iterator[OrmSession]:
    """A session inside an outer transaction that is rolled back: for features, which never commit."""
    with shared_engine.connect() as connection:
        transaction = connection.begin()
        with OrmSession(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()
