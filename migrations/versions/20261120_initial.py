"""Channels, recordings, the account of time, recorders and API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

INSTANT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the key, hex"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_key_digest_key")),
        sa.UniqueConstraint("name", name=op.f("api_key_name_key")),
    )
    op.create_table(
        "channel",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("keyname", sa.String(length=10), nullable=False),
        sa.Column(
            "type",
            sa.Enum("radio", "TV", name="channeltype", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column(
            "url", sa.Text(), nullable=False, comment="without user name and password; see channel_credential"
        ),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("segment_seconds", sa.BigInteger(), server_default="60", nullable=False),
        sa.Column(
            "capture",
            sa.Enum("auto", "ffmpeg", name="capturemode", native_enum=False, create_constraint=True, length=32),
            server_default="auto",
            nullable=False,
        ),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("country", sa.String(length=2), nullable=True, comment="ISO 3166-1 alpha-2, upper case"),
        sa.Column("language", sa.String(length=35), nullable=True, comment="BCP 47"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="grows with every change; the ETag"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column(
            "deleted_at",
            INSTANT,
            nullable=True,
            comment="a deleted channel keeps its row, so that its recordings keep theirs and its id is not reused",
        ),
        sa.CheckConstraint("char_length(url) <= 2048 AND url !~ '://[^/?#]*@'", name=op.f("channel_url_check")),
        sa.CheckConstraint("keyname ~ '^[A-Za-z0-9_-]{10}$'", name=op.f("channel_keyname_check")),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name=op.f("channel_name_check")),
        sa.CheckConstraint("segment_seconds BETWEEN 5 AND 3600", name=op.f("channel_segment_seconds_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("channel_pkey")),
    )
    op.create_index(
        "channel_keyname_key", "channel", ["keyname"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "garbage",
        sa.Column("path", sa.Text(), nullable=False, comment="key below the archive"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("garbage_pkey")),
    )
    op.create_table(
        "recorder",
        sa.Column("id", sa.Uuid(), nullable=False, comment="new with every start"),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("ffmpeg", sa.Text(), nullable=True, comment="the version of ffmpeg that it runs"),
        sa.Column("start_time", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("heartbeat_at", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("stopped_at", INSTANT, nullable=True, comment="set by a clean stop"),
        sa.Column(
            "media_bytes",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="received since its start",
        ),
        sa.Column(
            "media_seconds", sa.Double(), server_default="0", nullable=False, comment="written since its start"
        ),
        sa.Column(
            "restarts", sa.BigInteger(), server_default="0", nullable=False, comment="attempts after a first one"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("recorder_pkey")),
    )
    op.create_table(
        "capture",
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorder_id", sa.Uuid(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "stopped",
                "starting",
                "running",
                "backoff",
                "stopping",
                name="capturestate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("since", INSTANT, nullable=False, comment="when this state was entered"),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True, comment="key of the file being written"),
        sa.Column("file_start_time", INSTANT, nullable=True),
        sa.Column("file_bytes", sa.BigInteger(), nullable=True),
        sa.Column("file_seconds", sa.Double(), nullable=True, comment="media seconds in the file so far"),
        sa.Column("bit_rate", sa.BigInteger(), nullable=True, comment="bit/s over the last ten seconds"),
        sa.Column("codecs", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True, comment="the last title that the stream announced"),
        sa.Column("last_error", sa.Text(), nullable=True, comment="in words; kept until media flows again"),
        sa.Column(
            "restarts", sa.BigInteger(), server_default="0", nullable=False, comment="attempts after the first"
        ),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("capture_channel_id_fkey")),
        sa.ForeignKeyConstraint(["recorder_id"], ["recorder.id"], name=op.f("capture_recorder_id_fkey")),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("capture_pkey")),
    )
    op.create_table(
        "channel_credential",
        sa.Column("channel_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("channel_credential_channel_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("channel_credential_pkey")),
    )
    op.create_table(
        "enabled_period",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("start_time", INSTANT, nullable=False),
        sa.Column("end_time", INSTANT, nullable=True, comment="null while the channel is enabled"),
        postgresql.ExcludeConstraint(
            (sa.text("int8range(channel_id, channel_id, '[]')"), "&&"),
            (sa.text("tstzrange(start_time, end_time)"), "&&"),
            using="gist",
            name="enabled_period_overlap_excl",
        ),
        sa.CheckConstraint("end_time >= start_time", name=op.f("enabled_period_order_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("enabled_period_channel_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("enabled_period_pkey")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("recorder_id", sa.Uuid(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False, comment="which source read it, such as ffmpeg"),
        sa.Column(
            "format",
            sa.Enum(
                "mp3",
                "aac",
                "ts",
                "mp4",
                name="fileformat",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("codecs", sa.Text(), nullable=True, comment="ffmpeg's names, video first: h264+aac"),
        sa.Column("start_time", INSTANT, nullable=False, comment="the wall clock at media time zero"),
        sa.Column("end_time", INSTANT, nullable=True, comment="null while it goes on"),
        sa.Column(
            "end_reason", sa.String(length=32), nullable=True, comment="a gap reason, or why it was stopped"
        ),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("run_channel_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("run_pkey")),
    )
    op.create_index(op.f("run_channel_id_idx"), "run", ["channel_id"], unique=False)
    op.create_table(
        "recording",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False, comment="makes inserts repeatable"),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column(
            "origin",
            sa.Enum("captured", "registered", name="origin", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("start_time", INSTANT, nullable=False),
        sa.Column("end_time", INSTANT, nullable=False),
        sa.Column(
            "path",
            sa.Text(),
            nullable=False,
            comment="captured: key below the archive; registered: the client's label",
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True, comment="lower-case hex"),
        sa.Column(
            "format",
            sa.Enum(
                "mp3",
                "aac",
                "ts",
                "mp4",
                name="fileformat",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("codecs", sa.Text(), nullable=True),
        sa.Column(
            "truncated",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="salvaged after a crash: it ends at its last whole frame",
        ),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="grows with every change; the ETag"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.CheckConstraint(
            "origin <> 'captured' OR (end_time > start_time AND size_bytes > 0"
            " AND sha256 ~ '^[0-9a-f]{64}$' AND format IS NOT NULL AND run_id IS NOT NULL)",
            name=op.f("recording_captured_check"),
        ),
        sa.CheckConstraint("end_time >= start_time", name=op.f("recording_order_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("recording_channel_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("recording_run_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("recording_pkey")),
        sa.UniqueConstraint("uuid", name=op.f("recording_uuid_key")),
    )
    op.create_index(
        "recording_channel_id_start_time_idx", "recording", ["channel_id", "start_time", "id"], unique=False
    )
    op.create_index(
        "recording_path_key", "recording", ["path"], unique=True, postgresql_where=sa.text("origin = 'captured'")
    )
    op.create_index("recording_start_time_idx", "recording", ["start_time", "id"], unique=False)
    op.create_table(
        "coverage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False, comment="makes inserts repeatable"),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "recorded",
                "gap",
                "expired",
                "lost",
                name="coveragekind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("start_time", INSTANT, nullable=False),
        sa.Column(
            "end_time", INSTANT, nullable=False, comment="an outage that goes on has this moved forward in place"
        ),
        sa.Column(
            "reason",
            sa.Enum(
                "starting",
                "source_refused",
                "source_denied",
                "source_error",
                "source_ended",
                "dns",
                "tls",
                "stalled",
                "starved",
                "not_media",
                "unsupported",
                "egress_denied",
                "clock",
                "capture_crashed",
                "recorder_down",
                "disk_full",
                "io_error",
                "disabled",
                "unknown",
                name="gapreason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
            comment="of a gap, and only of a gap",
        ),
        sa.Column("detail", sa.Text(), nullable=True, comment="one sentence for a person"),
        sa.Column("recording_id", sa.BigInteger(), nullable=True, comment="of a recorded span"),
        postgresql.ExcludeConstraint(
            (sa.text("int8range(channel_id, channel_id, '[]')"), "&&"),
            (sa.text("tstzrange(start_time, end_time)"), "&&"),
            using="gist",
            name="coverage_overlap_excl",
        ),
        sa.CheckConstraint("(kind = 'gap') = (reason IS NOT NULL)", name=op.f("coverage_reason_check")),
        sa.CheckConstraint("end_time > start_time", name=op.f("coverage_order_check")),
        sa.ForeignKeyConstraint(["channel_id"], ["channel.id"], name=op.f("coverage_channel_id_fkey")),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recording.id"], name=op.f("coverage_recording_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("coverage_pkey")),
        sa.UniqueConstraint("uuid", name=op.f("coverage_uuid_key")),
    )
    op.create_index("coverage_channel_id_start_time_idx", "coverage", ["channel_id", "start_time"], unique=False)
    op.create_index(
        "coverage_gap_end_time_idx",
        "coverage",
        ["end_time"],
        unique=False,
        postgresql_where=sa.text("kind = 'gap'"),
    )
    op.create_index(
        "coverage_gap_idx",
        "coverage",
        ["start_time", "id"],
        unique=False,
        postgresql_where=sa.text("kind = 'gap'"),
    )
    op.create_index(op.f("coverage_recording_id_idx"), "coverage", ["recording_id"], unique=False)
    op.execute("ALTER TABLE capture SET (fillfactor = 50)")  # rewritten every few seconds: leave room for HOT
    op.execute(
        """
        CREATE FUNCTION channel_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('channel', NEW.id::text);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER channel_changed AFTER INSERT OR UPDATE ON channel "
        "FOR EACH ROW EXECUTE FUNCTION channel_changed()"
    )


def downgrade() -> None:
    op.drop_index(op.f("coverage_recording_id_idx"), table_name="coverage")
    op.drop_index("coverage_gap_idx", table_name="coverage", postgresql_where=sa.text("kind = 'gap'"))
    op.drop_index("coverage_gap_end_time_idx", table_name="coverage", postgresql_where=sa.text("kind = 'gap'"))
    op.drop_index("coverage_channel_id_start_time_idx", table_name="coverage")
    op.drop_table("coverage")
    op.drop_index("recording_start_time_idx", table_name="recording")
    op.drop_index("recording_path_key", table_name="recording", postgresql_where=sa.text("origin = 'captured'"))
    op.drop_index("recording_channel_id_start_time_idx", table_name="recording")
    op.drop_table("recording")
    op.drop_index(op.f("run_channel_id_idx"), table_name="run")
    op.drop_table("run")
    op.drop_table("enabled_period")
    op.drop_table("channel_credential")
    op.drop_table("capture")
    op.drop_table("recorder")
    op.drop_table("garbage")
    op.drop_index("channel_keyname_key", table_name="channel", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_table("channel")
    op.drop_table("api_key")
    op.execute("DROP FUNCTION channel_changed()")
