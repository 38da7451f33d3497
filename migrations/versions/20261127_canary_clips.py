"""Which clip is being made of the canary, when one is due, and when one was compared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

INSTANT = sa.DateTime(timezone=True)
ADDED = ("clip_id", "clip_due_at", "clipped_at")


def upgrade() -> None:
    op.add_column("canary", sa.Column("clip_id", sa.Uuid(), comment="asked for and not compared yet"))
    op.create_foreign_key(op.f("canary_clip_id_fkey"), "canary", "clip", ["clip_id"], ["id"], ondelete="SET NULL")
    due = "when the next clip was, or is, to be asked for"
    op.add_column(
        "canary",
        sa.Column("clip_due_at", INSTANT, server_default=sa.func.clock_timestamp(), nullable=False, comment=due),
    )
    op.add_column("canary", sa.Column("clipped_at", INSTANT, comment="when a clip was last compared"))


def downgrade() -> None:
    for name in ADDED:
        op.drop_column("canary", name)
