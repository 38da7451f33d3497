"""The migrations lead to what models.py says, and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from procrastinate.schema import SchemaManager
from sqlalchemy.engine import Engine

from streamrec import schema
from streamrec.errors import Conflict, DatabaseAway, NotReady
from streamrec.models import Base
from streamrec.settings import PROJECT


@pytest.fixture
def bare(database: str) -> Iterator[Engine]:
    """A migrated database without the pool that would keep a connection of an older schema."""
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    yield engine
    engine.dispose()


def test_an_upgraded_database_is_what_the_models_say(bare: Engine) -> None:
    with bare.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_name": schema.is_ours}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_every_migration_leads_down_and_up_again(bare: Engine) -> None:
    command.downgrade(schema.configuration(bare), "base")
    assert sa.inspect(bare).get_table_names() == ["alembic_version"]

    schema.upgrade(bare)

    assert schema.current(bare) == schema.wanted()


def test_a_downgrade_leaves_nothing_of_the_queue_behind(bare: Engine) -> None:
    command.downgrade(schema.configuration(bare), "base")

    left = "SELECT proname FROM pg_proc WHERE proname LIKE 'procrastinate%'"
    types = "SELECT typname FROM pg_type WHERE typname LIKE 'procrastinate%'"
    with bare.connect() as connection:
        assert connection.execute(sa.text(f"{left} UNION ALL {types}")).all() == []


def test_the_queues_tables_are_those_of_the_library_that_is_installed() -> None:
    """A library whose schema has changed needs a migration of ours."""
    (installed,) = (PROJECT / "migrations" / "sql").glob("procrastinate-*.sql")

    assert installed.read_text().partition("\n")[2] == SchemaManager.get_schema()


@pytest.mark.parametrize("shown", ["srt://h.example:9", "srt://h.example:9?latency=2"])
def test_passphrases_that_are_part_of_an_address_are_set_apart(bare: Engine, shown: str) -> None:
    command.downgrade(schema.configuration(bare), "0011")
    url = f"{shown}{'&' if '?' in shown else '?'}passphrase=s%26cret%20word"
    made = "INSERT INTO channel (name, keyname, type, url, backup_urls, version, created_at, updated_at)"
    values = "VALUES ('One', '0123456789', 'TV', :url, ARRAY['http://h.example/x', :url], 1, now(), now())"
    looked = "SELECT url, backup_urls FROM channel"
    known = "SELECT username, password FROM"
    secrets = f"{known} channel_credential UNION ALL {known} backup_credential"
    with bare.begin() as connection:
        connection.execute(sa.text(f"{made} {values}"), {"url": url})

    schema.upgrade(bare)
    with bare.connect() as connection:
        assert connection.execute(sa.text(looked)).one() == (shown, ["http://h.example/x", shown])
        assert connection.execute(sa.text(secrets)).all() == [("", "s&cret word")] * 2

    command.downgrade(schema.configuration(bare), "0011")
    with bare.connect() as connection:
        assert connection.execute(sa.text(looked)).one() == (url, ["http://h.example/x", url])


def test_upgrading_twice_changes_nothing(bare: Engine) -> None:
    schema.upgrade(bare)

    schema.require_current(bare)


def test_a_database_without_a_schema_is_refused_with_the_command(bare: Engine) -> None:
    command.downgrade(schema.configuration(bare), "base")

    with pytest.raises(NotReady, match=r"no schema yet.*\./run\.sh upgrade"):
        schema.require_current(bare)


def test_a_schema_of_a_newer_streamrec_is_refused(bare: Engine) -> None:
    with bare.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from-tomorrow'"))

    with pytest.raises(NotReady, match="Update streamrec"):
        schema.require_current(bare)


def test_a_database_that_is_away_is_told_as_such() -> None:
    nowhere = sa.create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none")

    with pytest.raises(DatabaseAway):
        schema.current(nowhere)


def test_no_migration_is_written_where_nothing_is_lacking(bare: Engine) -> None:
    before = sorted((PROJECT / "migrations" / "versions").iterdir())

    with pytest.raises(Conflict, match="nothing to migrate"):
        schema.draft(bare, "nothing")

    assert sorted((PROJECT / "migrations" / "versions").iterdir()) == before
