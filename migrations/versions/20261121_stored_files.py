"""Stored files: content kept once, and who stored it under which name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

INSTANT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "file_content",
        sa.Column("sha256", sa.String(64), nullable=False, comment="lower-case hex, as the others"),
        sa.Column("sha1", sa.String(40), nullable=False),
        sa.Column("md5", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column(
            "unwanted_at",
            INSTANT,
            nullable=True,
            comment="since when no file refers to it; the bytes go, and then the row",
        ),
        sa.CheckConstraint(
            "sha256 ~ '^[0-9a-f]{64}$' AND sha1 ~ '^[0-9a-f]{40}$'", name=op.f("file_content_hashes_check")
        ),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("file_content_size_bytes_check")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("file_content_pkey")),
    )
    for column in ("sha1", "md5", "unwanted_at"):
        op.create_index(op.f(f"file_content_{column}_idx"), "file_content", [column])
    op.create_table(
        "stored_file",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column(
            "owner", sa.Text(), nullable=True, comment="the name of an API key; null: sent while the API was open"
        ),
        sa.Column("file_name", sa.Text(), nullable=False, comment="a label that is never a path"),
        sa.Column(
            "type", sa.Text(), nullable=False, comment="a media type: found in the content, or given by the owner"
        ),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="grows with every change; the ETag"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.CheckConstraint("char_length(file_name) BETWEEN 1 AND 255", name=op.f("stored_file_file_name_check")),
        sa.ForeignKeyConstraint(["sha256"], ["file_content.sha256"], name=op.f("stored_file_sha256_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("stored_file_pkey")),
    )
    op.create_index(op.f("stored_file_sha256_idx"), "stored_file", ["sha256"])


def downgrade() -> None:
    op.drop_table("stored_file")
    op.drop_table("file_content")
