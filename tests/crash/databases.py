"""A database and a data folder of one's own, for the commands; the tests have fixtures."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url

from streamrec import embedded
from streamrec.settings import PROJECT, Settings


@contextmanager
def fresh() -> Iterator[Settings]:
    """Settings of an empty, migrated database: below DATABASE_URL's server, or an embedded one."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="streamrec-crash-") as folder:
        base = Settings(data_dir=Path(folder) / "pg", database_url=os.environ.get("DATABASE_URL"))
        with embedded.running(base):
            url = make_url(base.database())
            name = f"streamrec_crash_{os.getpid()}"
            server = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
            with server.connect() as connection:
                connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
            try:
                own = url.set(database=name)
                engine = sa.create_engine(own, poolclass=sa.NullPool)
                config = Config(PROJECT / "alembic.ini")
                config.attributes["engine"] = engine
                command.upgrade(config, "head")
                engine.dispose()
                address = own.render_as_string(hide_password=False)
                yield Settings(data_dir=Path(folder) / "data", database_url=address)
            finally:
                with server.connect() as connection:
                    connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
                server.dispose()
