"""Ordered sources of a channel, which of them a recording came from, the canary, and three more gap reasons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

INSTANT = postgresql.TIMESTAMP(timezone=True)
SOURCE = "0: the channel's URL; n: the nth of its backup URLs at that time"
REASONS = (
    *("starting", "source_refused", "source_denied", "source_error", "source_ended", "dns", "tls", "stalled"),
    *("starved", "not_media", "unsupported", "egress_denied", "clock", "capture_crashed", "recorder_down"),
    *("disk_full", "io_error", "disabled", "unknown"),
)
MORE_REASONS = ("stale_playlist", "drm", "storage_missing")


def upgrade() -> None:
    _extend_channel()
    op.create_table(
        "backup_credential",
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False, comment="one of the channel's backup URLs"),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("backup_credential_channel_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("channel_id", "url", name=op.f("backup_credential_pkey")),
    )
    for table in ("run", "recording", "capture"):
        op.add_column(table, sa.Column("source_index", sa.SmallInteger(), nullable=True, comment=SOURCE))
    op.add_column(
        "run",
        sa.Column(
            "source_url", sa.Text(), nullable=True, comment="where it was read, without user name and password"
        ),
    )
    _set_reasons((*REASONS, *MORE_REASONS))
    _create_canary()


def _extend_channel() -> None:
    op.add_column(
        "channel",
        sa.Column(
            "backup_urls",
            postgresql.ARRAY(sa.Text()),
            server_default="{}",
            nullable=False,
            comment="tried in this order when url fails; without user names and passwords, see backup_credential",
        ),
    )
    op.add_column(
        "channel",
        sa.Column(
            "tls_verify",
            sa.Boolean(),
            server_default=sa.true(),
            nullable=False,
            comment="false: any certificate will do",
        ),
    )
    op.add_column(
        "channel",
        sa.Column(
            "max_bandwidth",
            sa.BigInteger(),
            nullable=True,
            comment="bit/s: the best HLS variant at or below it; null: the best",
        ),
    )
    op.create_check_constraint(
        op.f("channel_backup_urls_check"),
        "channel",
        "cardinality(backup_urls) <= 8 AND array_to_string(backup_urls, ' ') !~ '://[^/?# ]*@'",
    )
    op.create_check_constraint(op.f("channel_max_bandwidth_check"), "channel", "max_bandwidth > 0")


def _set_reasons(reasons: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("coverage_gapreason_check"), "coverage", type_="check")
    listed = ", ".join(f"'{reason}'" for reason in reasons)
    op.create_check_constraint(op.f("coverage_gapreason_check"), "coverage", f"reason IN ({listed})")


def _create_canary() -> None:
    op.create_table(
        "canary",
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checked_at", INSTANT, nullable=False),
        sa.Column(
            "verified_until", INSTANT, nullable=True, comment="the end of the last recording that was compared"
        ),
        sa.Column("frames", sa.BigInteger(), nullable=False, comment="compared since the channel was made"),
        sa.Column(
            "faults", sa.BigInteger(), nullable=False, comment="frames missing, doubled, damaged or off in time"
        ),
        sa.Column("failed_at", INSTANT, nullable=True, comment="when the latest fault was found"),
        sa.Column("detail", sa.Text(), nullable=True, comment="the latest fault in one sentence"),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("canary_channel_id_fkey")),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("canary_pkey")),
    )


def downgrade() -> None:
    op.drop_table("canary")
    op.execute("UPDATE coverage SET reason = 'stalled' WHERE reason = 'stale_playlist'")
    op.execute("UPDATE coverage SET reason = 'unsupported' WHERE reason = 'drm'")
    op.execute("UPDATE coverage SET reason = 'io_error' WHERE reason = 'storage_missing'")
    _set_reasons(REASONS)
    op.drop_column("run", "source_url")
    for table in ("run", "recording", "capture"):
        op.drop_column(table, "source_index")
    op.drop_table("backup_credential")
    op.drop_constraint(op.f("channel_max_bandwidth_check"), "channel", type_="check")
    op.drop_constraint(op.f("channel_backup_urls_check"), "channel", type_="check")
    for column in ("max_bandwidth", "tls_verify", "backup_urls"):
        op.drop_column("channel", column)
