"""Clips: what was asked for, and the file that was made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

INSTANT = postgresql.TIMESTAMP(timezone=True)
MADE = (
    "path IS NULL OR (size_bytes > 0 AND sha256 ~ '^[0-9a-f]{64}$' AND manifest IS NOT NULL "
    "AND lossless IS NOT NULL AND seconds IS NOT NULL AND expires_at IS NOT NULL)"
)


def upgrade() -> None:
    op.create_table(
        "clip",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "number", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="the order of lists"
        ),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("start_time", INSTANT, nullable=False),
        sa.Column("end_time", INSTANT, nullable=False),
        sa.Column("format", sa.String(length=8), nullable=False),
        sa.Column("exact", sa.Boolean(), nullable=False),
        sa.Column("gaps", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=True, comment="key below the folder of clips"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True, comment="lower-case hex"),
        sa.Column(
            "lossless", sa.Boolean(), nullable=True, comment="the station's own frames, or what they decode to"
        ),
        sa.Column("seconds", sa.Float(), nullable=True, comment="of the frames in it"),
        sa.Column("manifest", postgresql.JSONB(), nullable=True, comment="where it comes from"),
        sa.Column("created_at", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.CheckConstraint("gaps IN ('skip', 'fill', 'refuse')", name=op.f("clip_gappolicy_check")),
        sa.CheckConstraint("end_time > start_time", name=op.f("clip_order_check")),
        sa.CheckConstraint(MADE, name=op.f("clip_made_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("clip_channel_id_fkey")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("clip_job_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("clip_pkey")),
        sa.UniqueConstraint("job_id", name=op.f("clip_job_id_key")),
        sa.UniqueConstraint("number", name=op.f("clip_number_key")),
        sa.UniqueConstraint("path", name=op.f("clip_path_key")),
    )
    op.create_index("clip_channel_id_idx", "clip", ["channel_id"])
    op.create_index("clip_expires_at_idx", "clip", ["expires_at"])
    op.create_index("clip_created_at_idx", "clip", ["created_at", "number"])


def downgrade() -> None:
    op.drop_table("clip")
