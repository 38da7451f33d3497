"""All tables: columns, constraints, enums and what they mean. No queries."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, ExcludeConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from streamrec.clock import now
from streamrec.db import Instant


class Base(DeclarativeBase):
    """Names every constraint, so that code can recognise the one that was broken."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Instant(),
        str: sa.Text(),
        int: sa.BigInteger(),
    }


def _values(kind: type[enum.Enum]) -> sa.Enum:
    """An enum stored by value as text with a CHECK, which a later migration can widen without a lock."""
    return sa.Enum(
        kind,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
        name=kind.__name__.lower(),
    )


def _same_channel_overlaps(start: str, end: str, name: str) -> ExcludeConstraint:
    """No two rows of one channel overlap in time.

    `int8range(id, id, '[]')` stands for equality, because the embedded PostgreSQL has no btree_gist.
    """
    return ExcludeConstraint(
        (sa.text("int8range(channel_id, channel_id, '[]')"), "&&"),
        (sa.text(f"tstzrange({start}, {end})"), "&&"),
        using="gist",
        name=name,
    )


# --- channels ---------------------------------------------------------------------------------------------


class ChannelType(enum.StrEnum):
    """What a station sends."""

    RADIO = "radio"
    TV = "TV"


class Store(enum.StrEnum):
    """Where a closed recording lies: in the archive's folder, or in a bucket of an S3 store."""

    LOCAL = "local"
    S3 = "s3"


class CaptureMode(enum.StrEnum):
    """How a channel is captured: as streamrec sees fit, or by ffmpeg whatever the URL."""

    AUTO = "auto"
    FFMPEG = "ffmpeg"


class Channel(Base):
    """A radio or television station: the standing order to record it."""

    __tablename__ = "channel"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str]
    keyname: Mapped[str] = mapped_column(sa.String(10))
    type: Mapped[ChannelType] = mapped_column(_values(ChannelType))
    url: Mapped[str] = mapped_column(comment="without user name and password; see channel_credential")
    enabled: Mapped[bool] = mapped_column(default=True, server_default=sa.true())
    segment_seconds: Mapped[int] = mapped_column(default=60, server_default="60")
    capture: Mapped[CaptureMode] = mapped_column(
        _values(CaptureMode), default=CaptureMode.AUTO, server_default="auto"
    )
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list, server_default="{}")
    country: Mapped[str | None] = mapped_column(sa.String(2), comment="ISO 3166-1 alpha-2, upper case")
    language: Mapped[str | None] = mapped_column(sa.String(35), comment="BCP 47")
    pin: Mapped[dict[str, str]] = mapped_column(
        JSONB, default=dict, server_default="{}", comment="labels that a recorder must have: site, network"
    )
    backup_urls: Mapped[list[str]] = mapped_column(
        ARRAY(sa.Text),
        default=list,
        server_default="{}",
        comment="tried in this order when url fails; without user names and passwords, see backup_credential",
    )
    tls_verify: Mapped[bool] = mapped_column(
        default=True, server_default=sa.true(), comment="false: any certificate will do"
    )
    max_bandwidth: Mapped[int | None] = mapped_column(
        comment="bit/s: the best HLS variant at or below it; null: the best"
    )
    store: Mapped[Store | None] = mapped_column(_values(Store), comment="null: as the settings say")
    retention_days: Mapped[int | None] = mapped_column(comment="null: as the settings say")
    retention_bytes: Mapped[int | None] = mapped_column(comment="a cap on what is kept; null: none")
    version: Mapped[int] = mapped_column(default=1, comment="grows with every change; the ETag")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    deleted_at: Mapped[datetime | None] = mapped_column(
        comment="a deleted channel keeps its row, so that its recordings keep theirs and its id is not reused"
    )

    credential: Mapped[ChannelCredential | None] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, uselist=False
    )

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy declares it an instance attribute
    __table_args__ = (
        sa.CheckConstraint("keyname ~ '^[A-Za-z0-9_-]{10}$'", "keyname"),
        sa.CheckConstraint("segment_seconds BETWEEN 5 AND 3600", "segment_seconds"),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", "name"),
        sa.CheckConstraint("char_length(url) <= 2048 AND url !~ '://[^/?#]*@'", "url"),
        sa.CheckConstraint(
            "cardinality(backup_urls) <= 8 AND array_to_string(backup_urls, ' ') !~ '://[^/?# ]*@'", "backup_urls"
        ),
        sa.CheckConstraint("max_bandwidth > 0", "max_bandwidth"),
        sa.CheckConstraint("retention_days BETWEEN 1 AND 36500 AND retention_bytes > 0", "retention"),
        sa.Index("channel_keyname_key", "keyname", unique=True, postgresql_where=sa.text("deleted_at IS NULL")),
    )


class ChannelCredential(Base):
    """The user name and password of a channel's URL, kept apart so that no answer or log can show them."""

    __tablename__ = "channel_credential"

    channel_id: Mapped[int] = mapped_column(
        sa.ForeignKey(Channel.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    username: Mapped[str]
    password: Mapped[str]


class BackupCredential(Base):
    """The user name and password of one of a channel's backup URLs."""

    __tablename__ = "backup_credential"

    channel_id: Mapped[int] = mapped_column(
        sa.ForeignKey(Channel.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    url: Mapped[str] = mapped_column(primary_key=True, comment="one of the channel's backup URLs")
    username: Mapped[str]
    password: Mapped[str]


class EnabledPeriod(Base):
    """A stretch in which a channel was to be recorded; every second of it must be accounted for."""

    __tablename__ = "enabled_period"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id))
    start_time: Mapped[datetime]
    end_time: Mapped[datetime | None] = mapped_column(comment="null while the channel is enabled")

    __table_args__ = (
        sa.CheckConstraint("end_time >= start_time", "order"),
        _same_channel_overlaps("start_time", "end_time", name="enabled_period_overlap_excl"),
    )


# --- recordings and the account of time -------------------------------------------------------------------


_SOURCE = "0: the channel's URL; n: the nth of its backup URLs at that time"
_OBJECT = "its name in the bucket; while the store is local, one that may be there already"
_SPOILED = "what is wrong with its bytes, if anything: they are not handed over then"
_EPOCH = "of the assignment when a recorder told it; a trigger refuses an older one than the current"


class Origin(enum.StrEnum):
    """Where a recording row came from: streamrec's own capture, or a client that registered it."""

    CAPTURED = "captured"
    REGISTERED = "registered"


class Loss(enum.StrEnum):
    """Why a recording's file cannot be had."""

    MISSING = "missing"  # not there
    ALTERED = "altered"  # there, but not the bytes that were recorded


class FileFormat(enum.StrEnum):
    """How a recorded file is framed; the value is also the file's extension."""

    MP3 = "mp3"
    AAC = "aac"
    TS = "ts"
    MP4 = "mp4"


class Run(Base):
    """An unbroken stretch of a capture: one source connection, one set of codecs, one clock anchor."""

    __tablename__ = "run"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), index=True)
    recorder_id: Mapped[UUID | None]
    epoch: Mapped[int | None] = mapped_column(comment="of the assignment it was captured under")
    source: Mapped[str] = mapped_column(sa.String(16), comment="which source read it, such as ffmpeg")
    source_index: Mapped[int | None] = mapped_column(sa.SmallInteger(), comment=_SOURCE)
    source_url: Mapped[str | None] = mapped_column(comment="where it was read, without user name and password")
    format: Mapped[FileFormat] = mapped_column(_values(FileFormat))
    codecs: Mapped[str | None] = mapped_column(comment="ffmpeg's names, video first: h264+aac")
    start_time: Mapped[datetime] = mapped_column(comment="the wall clock at media time zero")
    end_time: Mapped[datetime | None] = mapped_column(comment="null while it goes on")
    end_reason: Mapped[str | None] = mapped_column(sa.String(32), comment="a gap reason, or why it was stopped")


class Recording(Base):
    """One file of a channel, `[start_time, end_time)`.

    A captured row exists only once its file is durable under `path` with this size and SHA-256. A registered
    row repeats what a client said; its path is a label that is never opened.
    """

    __tablename__ = "recording"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    uuid: Mapped[UUID] = mapped_column(default=uuid4, unique=True, comment="makes inserts repeatable")
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id))
    run_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey(Run.id))
    epoch: Mapped[int | None] = mapped_column(comment=_EPOCH)
    origin: Mapped[Origin] = mapped_column(_values(Origin))
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    path: Mapped[str] = mapped_column(comment="captured: key below the archive; registered: the client's label")
    store: Mapped[Store] = mapped_column(
        _values(Store), default=Store.LOCAL, server_default="local", comment="where its bytes are certain to be"
    )
    object_key: Mapped[str | None] = mapped_column(comment=_OBJECT)
    size_bytes: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(sa.String(64), comment="lower-case hex")
    format: Mapped[FileFormat | None] = mapped_column(_values(FileFormat))
    codecs: Mapped[str | None]
    source_index: Mapped[int | None] = mapped_column(sa.SmallInteger(), comment=_SOURCE)
    truncated: Mapped[bool] = mapped_column(
        default=False,
        server_default=sa.false(),
        comment="salvaged after a crash: it ends at its last whole frame",
    )
    lost: Mapped[Loss | None] = mapped_column(
        _values(Loss), comment="why its file cannot be had; its time is then lost in the account"
    )
    version: Mapped[int] = mapped_column(default=1, comment="grows with every change; the ETag")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy declares it an instance attribute
    __table_args__ = (
        sa.CheckConstraint("end_time >= start_time", "order"),
        sa.CheckConstraint(
            "origin <> 'captured' OR (end_time > start_time AND size_bytes > 0 AND sha256 ~ '^[0-9a-f]{64}$' "
            "AND format IS NOT NULL AND run_id IS NOT NULL)",
            "captured",
        ),
        sa.CheckConstraint("lost IS NULL OR origin = 'captured'", "lost"),
        sa.Index("recording_channel_id_start_time_idx", "channel_id", "start_time", "id"),
        sa.CheckConstraint("store = 'local' OR object_key IS NOT NULL", "object_key"),
        sa.Index(
            "recording_here_idx",
            "channel_id",
            "id",
            postgresql_where=sa.text("store = 'local' AND origin = 'captured'"),
        ),
        sa.Index("recording_start_time_idx", "start_time", "id"),
        sa.Index("recording_path_key", "path", unique=True, postgresql_where=sa.text("origin = 'captured'")),
    )


class RecordingIndex(Base):
    """Where players can cut a recording. One that lacks it gets it when somebody first wants to play it."""

    __tablename__ = "recording_index"

    recording_id: Mapped[int] = mapped_column(
        sa.ForeignKey(Recording.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    data: Mapped[bytes] = mapped_column(comment="see streamrec.archive.pieces")
    number: Mapped[int] = mapped_column(comment="of its first piece, in the channel's sequence of pieces and gaps")
    discontinuity: Mapped[int] = mapped_column(comment="how many breaks there were before it")


class OpenFile(Base):
    """What there is to play of a file that is being written; the row goes when the recording's comes."""

    __tablename__ = "open_file"

    uuid: Mapped[UUID] = mapped_column(primary_key=True, comment="of the recording that it will be")
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), index=True)
    run_id: Mapped[UUID]
    path: Mapped[str] = mapped_column(comment="the key that it will have")
    format: Mapped[FileFormat] = mapped_column(_values(FileFormat))
    codecs: Mapped[str]
    start_time: Mapped[datetime]
    data: Mapped[bytes] = mapped_column(comment="as in recording_index, of what the system has taken")
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class CoverageKind(enum.StrEnum):
    """What became of a stretch of an enabled channel."""

    RECORDED = "recorded"
    GAP = "gap"
    EXPIRED = "expired"
    LOST = "lost"


class GapReason(enum.StrEnum):
    """Why a stretch was not recorded. The list is closed: a new reason is a migration."""

    STARTING = "starting"  # between enabling the channel and its first media
    SOURCE_REFUSED = "source_refused"  # connection refused or host unreachable
    SOURCE_DENIED = "source_denied"  # 401, 403, 404, 410, 451
    SOURCE_ERROR = "source_error"  # any other error answer
    SOURCE_ENDED = "source_ended"  # the stream was closed or reset
    DNS = "dns"
    TLS = "tls"
    STALLED = "stalled"  # connected, but no media
    STALE_PLAYLIST = "stale_playlist"  # an HLS playlist that is served, but does not go on
    STARVED = "starved"  # less than half of real time
    NOT_MEDIA = "not_media"
    UNSUPPORTED = "unsupported"  # a codec or protocol that cannot be kept
    DRM = "drm"  # encrypted in a way that only licensed players can read
    EGRESS_DENIED = "egress_denied"
    CLOCK = "clock"  # media time and wall clock came apart by more than a second
    CAPTURE_CRASHED = "capture_crashed"
    RECORDER_DOWN = "recorder_down"
    DISK_FULL = "disk_full"
    IO_ERROR = "io_error"
    STORAGE_MISSING = "storage_missing"  # the archive's disk is not mounted, or it is another one
    DISABLED = "disabled"  # the last moment before a channel was disabled, deleted or given another URL
    UNKNOWN = "unknown"


class Coverage(Base):
    """The account of an enabled channel's time: one row a span, none overlapping."""

    __tablename__ = "coverage"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    uuid: Mapped[UUID] = mapped_column(unique=True, comment="makes inserts repeatable")
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id))
    kind: Mapped[CoverageKind] = mapped_column(_values(CoverageKind))
    start_time: Mapped[datetime]
    end_time: Mapped[datetime] = mapped_column(comment="an outage that goes on has this moved forward in place")
    reason: Mapped[GapReason | None] = mapped_column(_values(GapReason), comment="of a gap, and only of a gap")
    detail: Mapped[str | None] = mapped_column(comment="one sentence for a person")
    recording_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey(Recording.id, ondelete="SET NULL"), index=True, comment="of a recorded or lost span"
    )
    epoch: Mapped[int | None] = mapped_column(comment=_EPOCH)
    manifest_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("manifest.id"), comment="where it is sealed as it is; a trigger empties it on a change"
    )

    __table_args__ = (
        sa.CheckConstraint("end_time > start_time", "order"),
        sa.CheckConstraint("(kind = 'gap') = (reason IS NOT NULL)", "reason"),
        _same_channel_overlaps("start_time", "end_time", name="coverage_overlap_excl"),
        sa.Index("coverage_channel_id_start_time_idx", "channel_id", "start_time"),
        # /metrics asks for the gaps of the last day
        sa.Index("coverage_gap_end_time_idx", "end_time", postgresql_where=sa.text("kind = 'gap'")),
        sa.Index("coverage_gap_idx", "start_time", "id", postgresql_where=sa.text("kind = 'gap'")),
        sa.Index(
            "coverage_unsealed_idx", "channel_id", "end_time", postgresql_where=sa.text("manifest_id IS NULL")
        ),
    )


class Garbage(Base):
    """A file or object that no row needs and that is to be removed; the row goes once that is done."""

    __tablename__ = "garbage"

    store: Mapped[Store] = mapped_column(
        _values(Store), primary_key=True, default=Store.LOCAL, server_default="local"
    )
    path: Mapped[str] = mapped_column(primary_key=True, comment="key below the archive, or in the bucket")
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(
        server_default=sa.func.clock_timestamp(), comment="not before; an upload may be on its way"
    )


# --- keeping and proving ----------------------------------------------------------------------------------


class DatabaseIdentity(Base):
    """Which database this is: one row, made with the table."""

    __tablename__ = "database_identity"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=sa.func.gen_random_uuid())
    bucket_marked_at: Mapped[datetime | None] = mapped_column(
        comment="since when its bucket bears its mark; null: nothing was handed over yet"
    )


class ArchiveRoot(Base):
    """A folder that recorders keep an archive in: where it is missing one day, a disk is not mounted."""

    __tablename__ = "archive_root"

    id: Mapped[UUID] = mapped_column(primary_key=True, comment="as in the folder's .streamrec-root")
    host: Mapped[str]
    path: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (sa.UniqueConstraint("host", "path"),)


class Hold(Base):
    """A stretch of a channel that nothing may delete, by whose order and why."""

    __tablename__ = "hold"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), index=True)
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    reason: Mapped[str]
    created_by: Mapped[str | None] = mapped_column(comment="the name of the API key; null where none is asked for")
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (
        sa.CheckConstraint("end_time > start_time", "order"),
        sa.CheckConstraint("char_length(reason) BETWEEN 1 AND 1000", "reason"),
    )


class Manifest(Base):
    """A day of a channel's account, sealed: its entries, chained to those before, and a signature."""

    __tablename__ = "manifest"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id))
    number: Mapped[int] = mapped_column(comment="1, 2, 3 ... of the channel's")
    day: Mapped[date] = mapped_column(sa.Date(), comment="the UTC day")
    document: Mapped[str] = mapped_column(comment="canonical JSON, byte for byte what was signed")
    sha256: Mapped[str] = mapped_column(sa.String(64), comment="of the document; the next one names it")
    public_key: Mapped[str | None] = mapped_column(comment="Ed25519, base64; null: not signed")
    signature: Mapped[str | None] = mapped_column(comment="Ed25519 of the document, base64")
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (sa.UniqueConstraint("channel_id", "number"), sa.UniqueConstraint("channel_id", "day"))


class Withdrawal(Base):
    """A sealed row of the account that was taken back; a trigger notes it, and the next manifest tells it."""

    __tablename__ = "withdrawal"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), index=True)
    uuid: Mapped[UUID] = mapped_column(comment="of the row of the account")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    manifest_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Manifest.id), comment="where it is told")


class ArchiveCheck(Base):
    """The last look of each level at a host's archive, or at a bucket (`host` is `s3://` and its name)."""

    __tablename__ = "archive_check"

    level: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True, comment="whose archive it was")
    checked_at: Mapped[datetime]
    seconds: Mapped[float]
    looked_at: Mapped[int]
    faults: Mapped[int]


class RecordingFault(Base):
    """What is wrong with a recording's file, since when; gone once a look at every byte finds it right."""

    __tablename__ = "recording_fault"

    recording_id: Mapped[int] = mapped_column(
        sa.ForeignKey(Recording.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    fault: Mapped[str]
    found_at: Mapped[datetime] = mapped_column(default=now)


# --- recorders --------------------------------------------------------------------------------------------


class Recorder(Base):
    """A recorder process that lives, or lived; times are the database's own."""

    __tablename__ = "recorder"

    id: Mapped[UUID] = mapped_column(primary_key=True, comment="new with every start")
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    ffmpeg: Mapped[str | None] = mapped_column(comment="the version of ffmpeg that it runs")
    start_time: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    stopped_at: Mapped[datetime | None] = mapped_column(comment="set by a clean stop")
    media_bytes: Mapped[int] = mapped_column(default=0, server_default="0", comment="received since its start")
    media_seconds: Mapped[float] = mapped_column(default=0, server_default="0", comment="written since its start")
    restarts: Mapped[int] = mapped_column(default=0, server_default="0", comment="attempts after a first one")
    loop_lag_seconds: Mapped[float] = mapped_column(
        default=0,
        server_default="0",
        comment="what 99 of 100 of the latest turns of its event loop were late or long by",
    )
    loop_lag_most_seconds: Mapped[float] = mapped_column(default=0, server_default="0", comment="the most of them")
    capacity: Mapped[int] = mapped_column(default=500, server_default="500", comment="captures it may hold")
    labels: Mapped[dict[str, str]] = mapped_column(
        JSONB, default=dict, server_default="{}", comment="site, network: which pinned channels it may capture"
    )
    is_leaving: Mapped[bool] = mapped_column(
        default=False, server_default=sa.false(), comment="it gives away what it holds"
    )
    storage_fault: Mapped[str | None] = mapped_column(comment="why it may not write its archive; null: it may")
    root_id: Mapped[UUID | None] = mapped_column(comment="archive_root.id of the archive that it writes")
    free_bytes: Mapped[int | None] = mapped_column(
        comment="that may still be written on its archive's disk; null: not known"
    )
    disk_bytes: Mapped[int | None] = mapped_column(comment="of its archive's whole disk; null: not known")


class Assignment(Base):
    """Which recorder captures a channel. The row stays when nobody does, because epochs never shrink."""

    __tablename__ = "assignment"

    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), primary_key=True, autoincrement=False)
    recorder_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey(Recorder.id), comment="who holds it, if alive")
    epoch: Mapped[int] = mapped_column(comment="grows with every change of recorder_id")
    successor_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey(Recorder.id), comment="who stands by to take over from a living recorder"
    )
    is_ready: Mapped[bool] = mapped_column(
        default=False, server_default=sa.false(), comment="the successor has media"
    )
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())

    __table_args__ = (sa.CheckConstraint("epoch > 0", "epoch"),)


class CaptureState(enum.StrEnum):
    """supervisord's words: RUNNING is earned by media, BACKOFF waits before the next attempt."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"


class Capture(Base):
    """What the recorder says of its work on a channel, at most a few seconds old."""

    __tablename__ = "capture"

    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), primary_key=True, autoincrement=False)
    recorder_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey(Recorder.id))
    state: Mapped[CaptureState] = mapped_column(_values(CaptureState))
    since: Mapped[datetime] = mapped_column(comment="when this state was entered")
    run_id: Mapped[UUID | None]
    path: Mapped[str | None] = mapped_column(comment="key of the file being written")
    file_start_time: Mapped[datetime | None]
    file_bytes: Mapped[int | None]
    file_seconds: Mapped[float | None] = mapped_column(comment="media seconds in the file so far")
    bit_rate: Mapped[int | None] = mapped_column(comment="bit/s over the last ten seconds")
    codecs: Mapped[str | None]
    title: Mapped[str | None] = mapped_column(comment="the last title that the stream announced")
    last_error: Mapped[str | None] = mapped_column(comment="in words; kept until media flows again")
    source_index: Mapped[int | None] = mapped_column(sa.SmallInteger(), comment=_SOURCE)
    restarts: Mapped[int] = mapped_column(default=0, server_default="0", comment="attempts after the first")
    updated_at: Mapped[datetime]


class Canary(Base):
    """What became of the known signal that streamrec records of itself: the archive compared with the truth."""

    __tablename__ = "canary"

    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), primary_key=True, autoincrement=False)
    checked_at: Mapped[datetime]
    verified_until: Mapped[datetime | None] = mapped_column(
        comment="the end of the last recording that was compared"
    )
    frames: Mapped[int] = mapped_column(default=0, comment="compared since the channel was made")
    faults: Mapped[int] = mapped_column(default=0, comment="frames missing, doubled, damaged or off in time")
    failed_at: Mapped[datetime | None] = mapped_column(comment="when the latest fault was found")
    detail: Mapped[str | None] = mapped_column(comment="the latest fault in one sentence")
    clip_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey("clip.id", ondelete="SET NULL"), comment="asked for and not compared yet"
    )
    clip_due_at: Mapped[datetime] = mapped_column(
        server_default=sa.func.clock_timestamp(), comment="when the next clip was, or is, to be asked for"
    )
    clipped_at: Mapped[datetime | None] = mapped_column(comment="when a clip was last compared")


# --- stored files -----------------------------------------------------------------------------------------


class FileContent(Base):
    """Bytes that stored files refer to, kept once under their SHA-256; a row means that they are durable."""

    __tablename__ = "file_content"

    sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True, comment="lower-case hex, as the others")
    sha1: Mapped[str] = mapped_column(sa.String(40), index=True)
    md5: Mapped[str] = mapped_column(sa.String(32), index=True)
    size_bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
    unwanted_at: Mapped[datetime | None] = mapped_column(
        index=True, comment="since when no file refers to it; the bytes go, and then the row"
    )
    store: Mapped[Store] = mapped_column(
        _values(Store), default=Store.LOCAL, server_default="local", comment="where its bytes are certain to be"
    )
    object_key: Mapped[str | None] = mapped_column(comment=_OBJECT)
    fault: Mapped[str | None] = mapped_column(comment=_SPOILED)

    __table_args__ = (
        sa.CheckConstraint("store = 'local' OR object_key IS NOT NULL", "object_key"),
        sa.Index("file_content_here_idx", "sha256", postgresql_where=sa.text("store = 'local'")),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$' AND sha1 ~ '^[0-9a-f]{40}$'", "hashes"),
        sa.CheckConstraint("size_bytes >= 0", "size_bytes"),
    )


class StoredFile(Base):
    """What somebody stored under a name."""

    __tablename__ = "stored_file"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    sha256: Mapped[str] = mapped_column(sa.ForeignKey(FileContent.sha256), index=True)
    owner: Mapped[str | None] = mapped_column(comment="the name of an API key; null: sent while the API was open")
    file_name: Mapped[str] = mapped_column(comment="a label that is never a path")
    type: Mapped[str] = mapped_column(comment="a media type: found in the content, or given by the owner")
    version: Mapped[int] = mapped_column(default=1, comment="grows with every change; the ETag")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy declares it an instance attribute
    __table_args__ = (sa.CheckConstraint("char_length(file_name) BETWEEN 1 AND 255", "file_name"),)


# --- jobs -------------------------------------------------------------------------------------------------


class JobKind(enum.StrEnum):
    """What a job does."""

    CLIP = "clip"
    EXPORT = "export"


class JobState(enum.StrEnum):
    """How far a job is; the last two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Job(Base):
    """Work that no request waits for. Clients see this row; the queue itself is procrastinate's."""

    __tablename__ = "job"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(sa.Identity(), unique=True, comment="the order of lists")
    kind: Mapped[JobKind] = mapped_column(_values(JobKind))
    channel_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Channel.id), comment="whose material it works on")
    state: Mapped[JobState] = mapped_column(_values(JobState), default=JobState.QUEUED)
    progress: Mapped[int] = mapped_column(sa.SmallInteger, default=0, server_default="0", comment="percent, 0-100")
    result: Mapped[str | None] = mapped_column(comment="path of the API at which its result is")
    error: Mapped[str | None] = mapped_column(comment="one sentence for a person")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    deaths: Mapped[int] = mapped_column(
        sa.SmallInteger,
        default=0,
        server_default="0",
        comment="how many workers ended, of themselves or killed, while they did it",
    )
    task_id: Mapped[int | None] = mapped_column(comment="procrastinate_jobs.id while it is in the queue")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    started_at: Mapped[datetime | None] = mapped_column(comment="of the last attempt")
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("progress BETWEEN 0 AND 100", "progress"),
        sa.CheckConstraint("(ended_at IS NOT NULL) = (state IN ('done', 'failed'))", "ended"),
        sa.CheckConstraint("(error IS NOT NULL) = (state = 'failed')", "error"),
        sa.Index("job_created_at_idx", "created_at", "number"),
        sa.Index("job_ended_at_idx", "ended_at"),
        sa.Index("job_open_idx", "state", postgresql_where=sa.text("ended_at IS NULL")),
    )


# --- clips ------------------------------------------------------------------------------------------------


class GapPolicy(enum.StrEnum):
    """What becomes of gaps in a clip's range."""

    SKIP = "skip"  # what is before and what is behind meet
    FILL = "fill"  # with silence
    REFUSE = "refuse"


class Clip(Base):
    """A cut of a channel's time, asked for and, once it has a path, made. Its job says how far it is."""

    __tablename__ = "clip"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(sa.Identity(), unique=True, comment="the order of lists")
    job_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Job.id), unique=True)
    channel_id: Mapped[int] = mapped_column(sa.ForeignKey(Channel.id), index=True)
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    format: Mapped[str] = mapped_column(sa.String(8))
    exact: Mapped[bool]
    gaps: Mapped[GapPolicy] = mapped_column(_values(GapPolicy))
    path: Mapped[str | None] = mapped_column(unique=True, comment="key below the folder of clips")
    size_bytes: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(sa.String(64), comment="lower-case hex")
    lossless: Mapped[bool | None] = mapped_column(comment="the station's own frames, or what they decode to")
    seconds: Mapped[float | None] = mapped_column(comment="of the frames in it")
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSONB, comment="where it comes from")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    store: Mapped[Store] = mapped_column(
        _values(Store), default=Store.LOCAL, server_default="local", comment="where its bytes are certain to be"
    )
    object_key: Mapped[str | None] = mapped_column(comment=_OBJECT)
    fault: Mapped[str | None] = mapped_column(comment=_SPOILED)

    __table_args__ = (
        sa.CheckConstraint("store = 'local' OR object_key IS NOT NULL", "object_key"),
        sa.Index("clip_here_idx", "number", postgresql_where=sa.text("store = 'local' AND path IS NOT NULL")),
        sa.CheckConstraint("end_time > start_time", "order"),
        sa.CheckConstraint(
            "path IS NULL OR (size_bytes > 0 AND sha256 ~ '^[0-9a-f]{64}$' AND manifest IS NOT NULL "
            "AND lossless IS NOT NULL AND seconds IS NOT NULL AND expires_at IS NOT NULL)",
            "made",
        ),
        sa.Index("clip_created_at_idx", "created_at", "number"),
    )


# --- access -----------------------------------------------------------------------------------------------


class ApiKey(Base):
    """A key for the API; only its digest is kept."""

    __tablename__ = "api_key"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True, comment="SHA-256 of the key, hex")
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
