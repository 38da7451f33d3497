"""How often the worker of a job died, apart from its attempts: most of those end in order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

COMMENT = "how many workers ended, of themselves or killed, while they did it"


def upgrade() -> None:
    deaths = sa.Column("deaths", sa.SmallInteger(), server_default="0", nullable=False, comment=COMMENT)
    op.add_column("job", deaths)


def downgrade() -> None:
    op.drop_column("job", "deaths")
