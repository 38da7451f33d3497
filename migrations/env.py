"""Alembic's entry: online only, one migrator at a time, on the engine that `streamrec` settings name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from streamrec import db, schema, settings
from streamrec.models import Base

MIGRATION_LOCK = 0x73747265  # "stre"; several API replicas may start together


def run() -> None:
    """Run under an advisory lock; statements may take longer than a request's time-out."""
    given = context.config.attributes.get("engine")
    engine = given or db.engine_for(settings.load(), application="streamrec-migrate", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text("SET lock_timeout = 0"))
        connection.execute(sa.text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
        connection.execute(sa.text("SET lock_timeout = '2s'"))  # a migration must not queue behind a long reader
        connection.commit()
        try:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                compare_type=True,
                include_name=schema.is_ours,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.execute(sa.text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
            connection.commit()


run()
