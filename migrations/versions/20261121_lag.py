"""How late a recorder's event loop is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_NAMES = {
    "loop_lag_seconds": "what 99 of 100 of the latest turns of its event loop were late or long by",
    "loop_lag_most_seconds": "the most of them",
}


def upgrade() -> None:
    for name, comment in _NAMES.items():
        op.add_column("recorder", sa.Column(name, sa.Float(), nullable=False, server_default="0", comment=comment))


def downgrade() -> None:
    for name in _NAMES:
        op.drop_column("recorder", name)
