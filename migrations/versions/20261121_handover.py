"""An index for what has not moved to its bucket yet, and when an object may be removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

INSTANT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_index(
        "recording_here_idx",
        "recording",
        ["channel_id", "id"],
        postgresql_where=sa.text("store = 'local' AND origin = 'captured'"),
    )
    comment = "not before; an upload may be on its way"
    op.add_column(
        "garbage",
        sa.Column("due_at", INSTANT, server_default=sa.func.clock_timestamp(), nullable=False, comment=comment),
    )


def downgrade() -> None:
    op.drop_column("garbage", "due_at")
    op.drop_index("recording_here_idx", "recording")
