"""Many recorders: capacity, labels, assignments with epochs, and the trigger that fences an old epoch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

INSTANT = postgresql.TIMESTAMP(timezone=True)
EPOCH = "of the assignment when a recorder told it; a trigger refuses an older one than the current"
FENCED = ("recording", "coverage")


def upgrade() -> None:
    op.add_column(
        "channel",
        sa.Column(
            "pin",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="labels that a recorder must have: site, network",
        ),
    )
    op.add_column(
        "run",
        sa.Column("epoch", sa.BigInteger(), nullable=True, comment="of the assignment it was captured under"),
    )
    for table in FENCED:
        op.add_column(table, sa.Column("epoch", sa.BigInteger(), nullable=True, comment=EPOCH))
    _extend_recorder()
    _create_assignment()
    _fence()
    _notify()


def _extend_recorder() -> None:
    op.add_column(
        "recorder",
        sa.Column(
            "capacity",
            sa.BigInteger(),
            server_default=sa.text("500"),
            nullable=False,
            comment="captures it may hold",
        ),
    )
    op.add_column(
        "recorder",
        sa.Column(
            "labels",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="site, network: which pinned channels it may capture",
        ),
    )
    op.add_column(
        "recorder",
        sa.Column(
            "is_leaving",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="it gives away what it holds",
        ),
    )


def _create_assignment() -> None:
    op.create_table(
        "assignment",
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorder_id", sa.Uuid(), nullable=True, comment="who holds it, if alive"),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="grows with every change of recorder_id"),
        sa.Column(
            "successor_id", sa.Uuid(), nullable=True, comment="who stands by to take over from a living recorder"
        ),
        sa.Column(
            "is_ready",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="the successor has media",
        ),
        sa.Column("changed_at", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("epoch > 0", name=op.f("assignment_epoch_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("assignment_channel_id_fkey")),
        sa.ForeignKeyConstraint(["recorder_id"], ["recorder.id"], name=op.f("assignment_recorder_id_fkey")),
        sa.ForeignKeyConstraint(["successor_id"], ["recorder.id"], name=op.f("assignment_successor_id_fkey")),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("assignment_pkey")),
    )


def _fence() -> None:
    """The lock makes a change of the holder wait for this row's commit, and this row for that change's."""
    op.execute(
        """
        CREATE FUNCTION epoch_fenced() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            current_epoch bigint;
        BEGIN
            SELECT epoch INTO current_epoch FROM assignment WHERE channel_id = NEW.channel_id FOR SHARE;
            IF NEW.epoch < current_epoch THEN
                RAISE EXCEPTION 'channel % is at epoch %, and this row at %',
                    NEW.channel_id, current_epoch, NEW.epoch USING ERRCODE = 'SR001', CONSTRAINT = 'epoch_fenced';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    for table in FENCED:
        op.execute(
            f"CREATE TRIGGER epoch_fenced BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.epoch IS NOT NULL) "
            "EXECUTE FUNCTION epoch_fenced()"
        )


def _notify() -> None:
    """Wake the recorders: at a change of who holds what, and of who is there, but not at a heartbeat."""
    op.execute(
        """
        CREATE FUNCTION placement_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('placement', '');
            RETURN NULL;
        END $$
        """
    )
    for table, columns in (("assignment", ""), ("recorder", " OF stopped_at, is_leaving")):
        op.execute(
            f"CREATE TRIGGER placement_changed AFTER INSERT OR UPDATE{columns} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION placement_changed()"
        )


def downgrade() -> None:
    for table in FENCED:
        op.execute(f"DROP TRIGGER epoch_fenced ON {table}")
    op.execute("DROP FUNCTION epoch_fenced()")
    for table in ("assignment", "recorder"):
        op.execute(f"DROP TRIGGER placement_changed ON {table}")
    op.execute("DROP FUNCTION placement_changed()")
    op.drop_table("assignment")
    for column in ("is_leaving", "labels", "capacity"):
        op.drop_column("recorder", column)
    for table in (*FENCED, "run"):
        op.drop_column(table, "epoch")
    op.drop_column("channel", "pin")
