"""Rows as the recorder leaves them, made in one line, for tests of what reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import channels
from streamrec.channel_fields import checked
from streamrec.models import (
    Capture,
    CaptureState,
    Coverage,
    CoverageKind,
    EnabledPeriod,
    FileFormat,
    GapReason,
    Origin,
    Recorder,
    Recording,
    Run,
)

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """T0 and so many seconds."""
    return T0 + timedelta(seconds=seconds)


def fields(**changes: Any) -> dict[str, Any]:
    """The body of a new channel."""
    return {
        "name": "RastaPank UOC",
        "keyname": "gr-rstpk-1",
        "type": "radio",
        "url": "http://stream.invalid:8000/uoc_64.mp3",
        **changes,
    }


def channel(session: Session, *, expected_from: datetime | None = None, **changes: Any) -> channels.View:
    """A channel; with `expected_from` it counts as enabled since then."""
    made = channels.create(session, checked(fields(**changes), resolve=lambda host: []))
    if expected_from is not None:
        session.execute(
            sa.update(EnabledPeriod)
            .where(EnabledPeriod.channel_id == made.id)
            .values(start_time=expected_from, end_time=None)
        )
    return made


def run(session: Session, channel_id: int, start: float) -> UUID:
    """A run that began at `at(start)`."""
    made = Run(id=uuid4(), channel_id=channel_id, source="ffmpeg", format=FileFormat.MP3, start_time=at(start))
    session.add(made)
    session.flush()
    return made.id


def captured(session: Session, channel_id: int, start: float, end: float, **changes: Any) -> Recording:
    """A captured recording of `at(start)`..`at(end)` with its coverage row; with `run_id` of that run."""
    run_id = changes.pop("run_id", None) or run(session, channel_id, start)
    values: dict[str, Any] = {
        "path": f"gr-rstpk-1/2026/11/01/{uuid4().hex}.mp3",
        "size_bytes": 10,
        "sha256": "ab" * 32,
        "format": FileFormat.MP3,
        "codecs": "mp3",
        **changes,
    }
    recording = Recording(
        channel_id=channel_id,
        run_id=run_id,
        origin=Origin.CAPTURED,
        start_time=at(start),
        end_time=at(end),
        **values,
    )
    session.add(recording)
    session.flush()
    covered(session, channel_id, start, end, recording_id=recording.id)
    return recording


def covered(
    session: Session,
    channel_id: int,
    start: float,
    end: float,
    kind: CoverageKind = CoverageKind.RECORDED,
    reason: GapReason | None = None,
    recording_id: int | None = None,
) -> Coverage:
    """A row of the account."""
    row = Coverage(
        uuid=uuid4(),
        channel_id=channel_id,
        kind=kind,
        reason=reason,
        start_time=at(start),
        end_time=at(end),
        recording_id=recording_id,
    )
    session.add(row)
    session.flush()
    return row


def capturing(
    session: Session, channel_id: int, state: CaptureState = CaptureState.RUNNING, *, is_alive: bool = True
) -> Recorder:
    """A recorder at work on a channel; one that is not alive has not been heard of for a minute."""
    heard = sa.func.now() if is_alive else sa.func.now() - timedelta(minutes=1)
    recorder = Recorder(id=uuid4(), host="studio-1", pid=42, version="0.1.0", ffmpeg="9.0.2", heartbeat_at=heard)
    session.add(recorder)
    session.flush()
    session.add(
        Capture(
            channel_id=channel_id,
            recorder_id=recorder.id,
            state=state,
            since=T0,
            title="Artist - <b>Song</b>",
            path="gr-rstpk-1/2026/11/01/x.mp3.part",
            file_start_time=T0,
            file_bytes=1000,
            file_seconds=12.5,
            bit_rate=64000,
            codecs="mp3",
            updated_at=T0,
        )
    )
    session.flush()
    return recorder
