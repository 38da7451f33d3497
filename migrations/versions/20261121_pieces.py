"""Indexes of recordings, and what there is to play of files that are being written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

INSTANT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "recording_index",
        sa.Column("recording_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="see streamrec.archive.pieces"),
        sa.Column(
            "number",
            sa.BigInteger(),
            nullable=False,
            comment="of its first piece, in the channel's sequence of pieces and gaps",
        ),
        sa.Column(
            "discontinuity", sa.BigInteger(), nullable=False, comment="how many breaks there were before it"
        ),
        sa.ForeignKeyConstraint(
            ["recording_id"],
            ["recording.id"],
            name=op.f("recording_index_recording_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("recording_id", name=op.f("recording_index_pkey")),
    )
    op.create_table(
        "open_file",
        sa.Column("uuid", sa.Uuid(), nullable=False, comment="of the recording that it will be"),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="the key that it will have"),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("codecs", sa.Text(), nullable=False),
        sa.Column("start_time", INSTANT, nullable=False),
        sa.Column(
            "data",
            sa.LargeBinary(),
            nullable=False,
            comment="as in recording_index, of what the system has taken",
        ),
        sa.Column("updated_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("format IN ('mp3', 'aac', 'ts', 'mp4')", name=op.f("open_file_fileformat_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("open_file_channel_id_fkey")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("open_file_pkey")),
    )
    op.create_index(op.f("open_file_channel_id_idx"), "open_file", ["channel_id"])


def downgrade() -> None:
    op.drop_table("open_file")
    op.drop_table("recording_index")
