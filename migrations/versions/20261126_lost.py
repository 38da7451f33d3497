"""Recordings that are lost, archives that recorders write, and clips and stored files that move to a bucket."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

INSTANT = postgresql.TIMESTAMP(timezone=True)
MOVED = ("clip", "file_content")
HERE = {
    "clip": ("number", "store = 'local' AND path IS NOT NULL"),
    "file_content": ("sha256", "store = 'local'"),
}
RECORDER_ROOTS = """
UPDATE recorder SET root_id = known.id
FROM (SELECT host, min(id::text)::uuid AS id FROM archive_root GROUP BY host HAVING count(*) = 1) AS known
WHERE known.host = recorder.host
"""
ANNOUNCED = """
CREATE OR REPLACE FUNCTION recording_announced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} THEN
        PERFORM announce('recording', NEW.channel_id, json_build_object('id', NEW.id,
            'start_time', instant_text(NEW.start_time), 'end_time', instant_text(NEW.end_time){more}));
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    _lose()
    _know_roots()
    for table in MOVED:
        _place(table)


def _lose() -> None:
    comment = "why its file cannot be had; its time is then lost in the account"
    op.add_column("recording", sa.Column("lost", sa.String(32), nullable=True, comment=comment))
    op.create_check_constraint(op.f("recording_loss_check"), "recording", "lost IN ('missing', 'altered')")
    op.create_check_constraint(op.f("recording_lost_check"), "recording", "lost IS NULL OR origin = 'captured'")
    op.alter_column("coverage", "recording_id", comment="of a recorded or lost span")
    changed = "TG_OP = 'INSERT' OR NEW.lost IS DISTINCT FROM OLD.lost"
    op.execute(ANNOUNCED.format(condition=changed, more=", 'lost', NEW.lost"))
    op.execute("DROP TRIGGER recording_announced ON recording")
    _announce("AFTER INSERT OR UPDATE OF lost")


def _announce(when: str) -> None:
    op.execute(
        f"CREATE TRIGGER recording_announced {when} ON recording "
        "FOR EACH ROW EXECUTE FUNCTION recording_announced()"
    )


def _know_roots() -> None:
    comment = "archive_root.id of the archive that it writes"
    op.add_column("recorder", sa.Column("root_id", sa.Uuid(), nullable=True, comment=comment))
    op.execute(RECORDER_ROOTS)
    comment = "since when its bucket bears its mark; null: nothing was handed over yet"
    op.add_column("database_identity", sa.Column("bucket_marked_at", INSTANT, nullable=True, comment=comment))


def _place(table: str) -> None:
    """Where the bytes lie, as recordings have it since 0006."""
    comment = "where its bytes are certain to be"
    store = sa.Column("store", sa.String(32), nullable=False, server_default="local", comment=comment)
    op.add_column(table, store)
    op.create_check_constraint(op.f(f"{table}_store_check"), table, "store IN ('local', 's3')")
    for name, comment in (
        ("object_key", "its name in the bucket; while the store is local, one that may be there already"),
        ("fault", "what is wrong with its bytes, if anything: they are not handed over then"),
    ):
        op.add_column(table, sa.Column(name, sa.Text(), nullable=True, comment=comment))
    op.create_check_constraint(
        op.f(f"{table}_object_key_check"), table, "store = 'local' OR object_key IS NOT NULL"
    )
    column, condition = HERE[table]
    op.create_index(f"{table}_here_idx", table, [column], postgresql_where=sa.text(condition))


def downgrade() -> None:
    for table in MOVED:
        op.drop_index(f"{table}_here_idx", table)
        op.drop_constraint(op.f(f"{table}_object_key_check"), table, type_="check")
        for name in ("fault", "object_key", "store"):
            op.drop_column(table, name)
    op.drop_column("database_identity", "bucket_marked_at")
    op.drop_column("recorder", "root_id")
    op.execute("DROP TRIGGER recording_announced ON recording")
    op.execute(ANNOUNCED.format(condition="true", more=""))
    _announce("AFTER INSERT")
    op.alter_column("coverage", "recording_id", comment="of a recorded span")
    op.execute(
        "UPDATE coverage SET kind = 'recorded', detail = NULL WHERE kind = 'lost' AND recording_id IS NOT NULL"
    )
    op.drop_constraint(op.f("recording_lost_check"), "recording", type_="check")
    op.drop_column("recording", "lost")
