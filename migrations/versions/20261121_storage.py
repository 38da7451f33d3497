"""Where recordings lie, how long they are kept, what holds them, and what proves that none was taken away."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

INSTANT = postgresql.TIMESTAMP(timezone=True)
RESEAL = """
CREATE FUNCTION coverage_reseal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO withdrawal (channel_id, uuid) VALUES (OLD.channel_id, OLD.uuid);
        RETURN OLD;
    END IF;
    NEW.manifest_id := NULL;
    RETURN NEW;
END $$;
"""
ON_CHANGE = """
CREATE TRIGGER coverage_reseal_change BEFORE UPDATE ON coverage FOR EACH ROW
WHEN (OLD.manifest_id IS NOT NULL AND
      (OLD.kind, OLD.start_time, OLD.end_time, OLD.reason) IS DISTINCT FROM
      (NEW.kind, NEW.start_time, NEW.end_time, NEW.reason))
EXECUTE FUNCTION coverage_reseal();
"""
ON_DELETE = """
CREATE TRIGGER coverage_reseal_delete BEFORE DELETE ON coverage FOR EACH ROW
WHEN (OLD.manifest_id IS NOT NULL) EXECUTE FUNCTION coverage_reseal();
"""


def upgrade() -> None:
    _extend_channel()
    _extend_recording()
    op.add_column(
        "recorder",
        sa.Column(
            "storage_fault", sa.Text(), nullable=True, comment="why it may not write its archive; null: it may"
        ),
    )
    _identify()
    _hold()
    _seal()
    _check()


def _store(name: str, comment: str | None = None, *, nullable: bool) -> sa.Column[str]:
    default = None if nullable else "local"
    return sa.Column(name, sa.String(32), nullable=nullable, server_default=default, comment=comment)


def _one_of_the_stores(table: str) -> None:
    op.create_check_constraint(op.f(f"{table}_store_check"), table, "store IN ('local', 's3')")


def _extend_channel() -> None:
    op.add_column("channel", _store("store", "null: as the settings say", nullable=True))
    _one_of_the_stores("channel")
    for name, comment in (
        ("retention_days", "null: as the settings say"),
        ("retention_bytes", "a cap on what is kept; null: none"),
    ):
        op.add_column("channel", sa.Column(name, sa.BigInteger(), nullable=True, comment=comment))
    op.create_check_constraint(
        op.f("channel_retention_check"), "channel", "retention_days BETWEEN 1 AND 36500 AND retention_bytes > 0"
    )


def _extend_recording() -> None:
    op.add_column("recording", _store("store", "where its bytes are certain to be", nullable=False))
    _one_of_the_stores("recording")
    comment = "its name in the bucket; while the store is local, one that may be there already"
    op.add_column("recording", sa.Column("object_key", sa.Text(), nullable=True, comment=comment))
    op.create_check_constraint(
        op.f("recording_object_key_check"), "recording", "store = 'local' OR object_key IS NOT NULL"
    )
    op.add_column("garbage", _store("store", nullable=False))
    _one_of_the_stores("garbage")
    op.alter_column("garbage", "path", comment="key below the archive, or in the bucket")
    op.drop_constraint(op.f("garbage_pkey"), "garbage", type_="primary")
    op.create_primary_key(op.f("garbage_pkey"), "garbage", ["store", "path"])


def _identify() -> None:
    op.create_table(
        "database_identity",
        sa.Column("id", sa.Uuid(), server_default=sa.func.gen_random_uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("database_identity_pkey")),
    )
    op.execute("INSERT INTO database_identity DEFAULT VALUES")
    op.create_table(
        "archive_root",
        sa.Column("id", sa.Uuid(), nullable=False, comment="as in the folder's .streamrec-root"),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("archive_root_pkey")),
        sa.UniqueConstraint("host", "path", name=op.f("archive_root_host_path_key")),
    )


def _hold() -> None:
    op.create_table(
        "hold",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("start_time", INSTANT, nullable=False),
        sa.Column("end_time", INSTANT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "created_by", sa.Text(), nullable=True, comment="the name of the API key; null where none is asked for"
        ),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("end_time > start_time", name=op.f("hold_order_check")),
        sa.CheckConstraint("char_length(reason) BETWEEN 1 AND 1000", name=op.f("hold_reason_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("hold_channel_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("hold_pkey")),
    )
    op.create_index(op.f("hold_channel_id_idx"), "hold", ["channel_id"])


def _seal() -> None:
    op.create_table(
        "manifest",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="1, 2, 3 ... of the channel's"),
        sa.Column("day", sa.Date(), nullable=False, comment="the UTC day"),
        sa.Column("document", sa.Text(), nullable=False, comment="canonical JSON, byte for byte what was signed"),
        sa.Column("sha256", sa.String(64), nullable=False, comment="of the document; the next one names it"),
        sa.Column("public_key", sa.Text(), nullable=True, comment="Ed25519, base64; null: not signed"),
        sa.Column("signature", sa.Text(), nullable=True, comment="Ed25519 of the document, base64"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("manifest_channel_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("manifest_pkey")),
        sa.UniqueConstraint("channel_id", "number", name=op.f("manifest_channel_id_number_key")),
        sa.UniqueConstraint("channel_id", "day", name=op.f("manifest_channel_id_day_key")),
    )
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False, comment="of the row of the account"),
        sa.Column("created_at", INSTANT, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("manifest_id", sa.BigInteger(), nullable=True, comment="where it is told"),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("withdrawal_channel_id_fkey")),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifest.id"], name=op.f("withdrawal_manifest_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("withdrawal_pkey")),
    )
    op.create_index(op.f("withdrawal_channel_id_idx"), "withdrawal", ["channel_id"])
    comment = "where it is sealed as it is; a trigger empties it on a change"
    op.add_column("coverage", sa.Column("manifest_id", sa.BigInteger(), nullable=True, comment=comment))
    op.create_foreign_key(op.f("coverage_manifest_id_fkey"), "coverage", "manifest", ["manifest_id"], ["id"])
    op.create_index(
        "coverage_unsealed_idx",
        "coverage",
        ["channel_id", "end_time"],
        postgresql_where=sa.text("manifest_id IS NULL"),
    )
    for statement in (RESEAL, ON_CHANGE, ON_DELETE):
        op.execute(statement)


def _check() -> None:
    op.create_table(
        "archive_check",
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("host", sa.Text(), nullable=False, comment="whose archive it was"),
        sa.Column("checked_at", INSTANT, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("faults", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("level", "host", name=op.f("archive_check_pkey")),
    )
    op.create_table(
        "recording_fault",
        sa.Column("recording_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("found_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["recording_id"],
            ["recording.id"],
            name=op.f("recording_fault_recording_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("recording_id", name=op.f("recording_fault_pkey")),
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER coverage_reseal_change ON coverage")
    op.execute("DROP TRIGGER coverage_reseal_delete ON coverage")
    op.execute("DROP FUNCTION coverage_reseal()")
    op.drop_index("coverage_unsealed_idx", "coverage")
    op.drop_column("coverage", "manifest_id")
    for table in ("recording_fault", "archive_check", "withdrawal", "manifest", "hold", "archive_root"):
        op.drop_table(table)
    op.drop_table("database_identity")
    op.drop_column("recorder", "storage_fault")
    op.execute("DELETE FROM garbage WHERE store <> 'local'")
    op.drop_constraint(op.f("garbage_pkey"), "garbage", type_="primary")
    op.drop_column("garbage", "store")
    op.create_primary_key(op.f("garbage_pkey"), "garbage", ["path"])
    op.alter_column("garbage", "path", comment="key below the archive")
    op.drop_constraint(op.f("recording_object_key_check"), "recording", type_="check")
    op.drop_column("recording", "object_key")
    op.drop_column("recording", "store")
    op.drop_constraint(op.f("channel_retention_check"), "channel", type_="check")
    for column in ("store", "retention_days", "retention_bytes"):
        op.drop_column("channel", column)
