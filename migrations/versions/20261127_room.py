"""How much room is left where a recorder writes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

COMMENTS = {
    "free_bytes": "that may still be written on its archive's disk; null: not known",
    "disk_bytes": "of its archive's whole disk; null: not known",
}


def upgrade() -> None:
    for name, comment in COMMENTS.items():
        op.add_column("recorder", sa.Column(name, sa.BigInteger(), comment=comment))


def downgrade() -> None:
    for name in COMMENTS:
        op.drop_column("recorder", name)
