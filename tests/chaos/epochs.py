"""I13: a witness inside the database, which notes of every row under which epoch it was committed.

The fence that it watches is a trigger before each row; the witness is one at the end of the transaction, when
nothing can come in between any more, and it reads the assignment itself.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

_SET_UP = """
CREATE SCHEMA IF NOT EXISTS witness;
CREATE TABLE IF NOT EXISTS witness.epoch (
    id bigint GENERATED ALWAYS AS IDENTITY, channel_id bigint, told text, epoch bigint, current bigint
);
CREATE OR REPLACE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.epoch (channel_id, told, epoch, current) SELECT NEW.channel_id, TG_TABLE_NAME, NEW.epoch,
        (SELECT epoch FROM public.assignment WHERE channel_id = NEW.channel_id) WHERE NEW.epoch IS NOT NULL;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION witness.changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.epoch (channel_id, told, epoch, current) VALUES
        (NEW.channel_id, TG_TABLE_NAME, NEW.epoch, CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.epoch END);
    RETURN NULL;
END $$;
"""
_WATCHED = "CREATE CONSTRAINT TRIGGER witnessed AFTER {when} ON {table} DEFERRABLE INITIALLY DEFERRED"
_TRIGGERS = {"recording": "INSERT", "coverage": "INSERT OR UPDATE OF epoch"}

_OLD = sa.text(
    "SELECT channel_id, told, epoch, current FROM witness.epoch WHERE told <> 'assignment' AND epoch < current"
)
_SHRUNK = sa.text(
    "SELECT channel_id, current, epoch FROM witness.epoch WHERE told = 'assignment' AND epoch < current"
)
_LOST = sa.text("""
    SELECT channel_id, max(noted.epoch), assignment.epoch
    FROM witness.epoch AS noted JOIN assignment USING (channel_id)
    GROUP BY channel_id, assignment.epoch HAVING max(noted.epoch) > assignment.epoch
""")


def install(engine: Engine) -> None:
    """Set the witness up in a migrated database."""
    with engine.begin() as connection:
        connection.execute(sa.text(_SET_UP))
        for table, when in _TRIGGERS.items():
            watched = _WATCHED.format(when=when, table=table)
            connection.execute(sa.text(f"{watched} FOR EACH ROW EXECUTE FUNCTION witness.note()"))
        changes = "CREATE TRIGGER witnessed AFTER INSERT OR UPDATE OF epoch ON assignment"
        connection.execute(sa.text(f"{changes} FOR EACH ROW EXECUTE FUNCTION witness.changed()"))


def violations(engine: Engine) -> tuple[list[str], int]:
    """What it has seen that must not be, and how many rows it has seen."""
    with engine.connect() as connection:
        found = [
            f"channel {id_}: a {told} of epoch {old} was committed under {new}"
            for id_, told, old, new in connection.execute(_OLD)
        ]
        found += [
            f"channel {id_}: the epoch shrank from {old} to {new}" for id_, old, new in connection.execute(_SHRUNK)
        ]
        found += [
            f"channel {id_}: epoch {most} is known, and the assignment has {kept}"
            for id_, most, kept in connection.execute(_LOST)
        ]
        count = connection.scalar(sa.text("SELECT count(*) FROM witness.epoch"))
    return found, int(count or 0)
