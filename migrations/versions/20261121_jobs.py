"""Jobs: procrastinate's tables, our own rows that clients see, and the announcements that /events passes on."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

INSTANT = postgresql.TIMESTAMP(timezone=True)
QUEUE = Path(__file__).parent.parent / "sql" / "procrastinate-3.10.0.sql"


def upgrade() -> None:
    _install_queue()
    _create_job()
    _announce()


def _install_queue() -> None:
    """The driver's own cursor, because the text is full of percent signs."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(QUEUE.read_text())


def _create_job() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "number", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="the order of lists"
        ),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=True, comment="whose material it works on"),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column(
            "progress", sa.SmallInteger(), server_default=sa.text("0"), nullable=False, comment="percent, 0-100"
        ),
        sa.Column("result", sa.Text(), nullable=True, comment="path of the API at which its result is"),
        sa.Column("error", sa.Text(), nullable=True, comment="one sentence for a person"),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "task_id", sa.BigInteger(), nullable=True, comment="procrastinate_jobs.id while it is in the queue"
        ),
        sa.Column("created_at", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("started_at", INSTANT, nullable=True, comment="of the last attempt"),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.CheckConstraint("kind IN ('clip', 'export')", name=op.f("job_jobkind_check")),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name=op.f("job_jobstate_check")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("job_progress_check")),
        sa.CheckConstraint("(ended_at IS NOT NULL) = (state IN ('done', 'failed'))", name=op.f("job_ended_check")),
        sa.CheckConstraint("(error IS NOT NULL) = (state = 'failed')", name=op.f("job_error_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("job_channel_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("job_pkey")),
        sa.UniqueConstraint("number", name=op.f("job_number_key")),
    )
    op.create_index("job_created_at_idx", "job", ["created_at", "number"])
    op.create_index("job_ended_at_idx", "job", ["ended_at"])
    op.create_index("job_open_idx", "job", ["state"], postgresql_where=sa.text("ended_at IS NULL"))


TRIGGERS = {
    "job": (
        "AFTER INSERT OR UPDATE OF state, progress ON job",
        (
            "'job', NEW.channel_id, json_build_object('id', NEW.id, 'kind', NEW.kind, 'state', NEW.state,"
            " 'progress', NEW.progress)"
        ),
    ),
    "recording": (
        "AFTER INSERT ON recording",
        (
            "'recording', NEW.channel_id, json_build_object('id', NEW.id,"
            " 'start_time', instant_text(NEW.start_time), 'end_time', instant_text(NEW.end_time))"
        ),
    ),
    "coverage": (
        "AFTER INSERT ON coverage FOR EACH ROW WHEN (NEW.kind = 'gap')",
        (
            "'gap', NEW.channel_id, json_build_object('id', NEW.id, 'reason', NEW.reason,"
            " 'start_time', instant_text(NEW.start_time))"
        ),
    ),
    "capture": (
        "AFTER INSERT OR UPDATE OF state ON capture",
        "'capture', NEW.channel_id, json_build_object('state', NEW.state)",
    ),
    "title": (
        "AFTER INSERT OR UPDATE OF title ON capture",
        "'title', NEW.channel_id, json_build_object('title', NEW.title)",
    ),
}
CHANGED = {
    "job": "TG_OP = 'INSERT' OR (NEW.state, NEW.progress) IS DISTINCT FROM (OLD.state, OLD.progress)",
    "capture": "TG_OP = 'INSERT' OR NEW.state IS DISTINCT FROM OLD.state",
    "title": "NEW.title IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.title IS DISTINCT FROM OLD.title)",
}


def _announce() -> None:
    """One notification for each change, numbered so that a client can say what it has seen."""
    op.execute("CREATE SEQUENCE event_number")
    op.execute(
        """
        CREATE FUNCTION instant_text(moment timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
            SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION announce(type text, channel_id bigint, body json) RETURNS void LANGUAGE sql AS $$
            SELECT pg_notify('event', json_build_object(
                'number', nextval('event_number'), 'type', type, 'channel_id', channel_id, 'body', body)::text)
        $$
        """
    )
    for name, (when, arguments) in TRIGGERS.items():
        op.execute(
            f"""
            CREATE FUNCTION {name}_announced() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {CHANGED.get(name, "true")} THEN
                    PERFORM announce({arguments});
                END IF;
                RETURN NULL;
            END $$
            """
        )
        each_row = "" if "FOR EACH ROW" in when else "FOR EACH ROW"
        op.execute(f"CREATE TRIGGER {name}_announced {when} {each_row} EXECUTE FUNCTION {name}_announced()")


def downgrade() -> None:
    for name, (when, _) in TRIGGERS.items():
        table = when.partition(" ON ")[2].split()[0]
        op.execute(f"DROP TRIGGER {name}_announced ON {table}")
        op.execute(f"DROP FUNCTION {name}_announced()")
    op.execute("DROP FUNCTION announce(text, bigint, json)")
    op.execute("DROP FUNCTION instant_text(timestamptz)")
    op.execute("DROP SEQUENCE event_number")
    op.drop_table("job")
    _remove_queue()


def _remove_queue() -> None:
    for table in ("events", "periodic_defers", "jobs", "workers"):
        op.execute(f"DROP TABLE procrastinate_{table} CASCADE")
    op.execute(
        """
        DO $$
        DECLARE
            one text;
        BEGIN
            FOR one IN SELECT p.oid::regprocedure FROM pg_proc p
                WHERE p.proname LIKE 'procrastinate\\_%' AND p.pronamespace = current_schema()::regnamespace
            LOOP
                EXECUTE 'DROP FUNCTION ' || one;
            END LOOP;
        END $$
        """
    )
    for name in ("job_to_defer_v1", "job_event_type", "job_status"):
        op.execute(f"DROP TYPE procrastinate_{name}")
