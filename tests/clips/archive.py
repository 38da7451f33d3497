"""Recordings of known frames: samples cut into files as the recorder cuts them, with their rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from sqlalchemy.orm import Session

from streamrec.archive import layout
from streamrec.framing.units import FLICKS, Unit
from streamrec.settings import Settings
from streamrec.timeline import Span
from tests import factories, samples
from tests.factories import T0

KEYNAME = "gr-rstpk-1"
CODECS = {
    "mp3.mp3": "mp3",
    "vbr.mp3": "mp3",
    "aac.aac": "aac",
    "tv.ts": "h264+aac",
    "tv.mp4": "h264+aac",
    "hevc.ts": "hevc+ac3",
    "mpeg2.ts": "mpeg2video+mp2",
    "opus.mp4": "opus",
}


@dataclass
class Air:
    """What a station sent, unit by unit, and when each began."""

    units: list[Unit]
    times: list[datetime]

    def between(self, start: datetime, end: datetime) -> bytes:
        """The units that begin in `[start, end)`."""
        return b"".join(unit.data for unit, at in zip(self.units, self.times, strict=True) if start <= at < end)


@dataclass
class Work:
    """An attempt as a worker would make it."""

    job_id: UUID
    attempt: int = 1

    def check(self) -> None:
        """Nobody wants it to stop."""

    def progress(self, fraction: float) -> None:
        """Nobody asks."""
        assert 0 <= fraction <= 1


def wall(flicks: int, start: datetime = T0) -> datetime:
    return start + timedelta(microseconds=flicks * 1_000_000 // FLICKS)


def on_air(
    session: Session, settings: Settings, channel_id: int, name: str, *, start: datetime = T0, seconds: int = 2
) -> Air:
    """Record a sample from `start` on, in one run and files of about so many seconds."""
    file_format = samples.format_of(name)
    units, _ = samples.framed(file_format, [samples.sample(name)])
    begins = [0]
    for unit in units:
        begins.append(begins[-1] + unit.duration)
    cuts = [at for at, unit in enumerate(units) if unit.is_cut]
    grouped = groupby(range(len(units)), lambda at: begins[max(c for c in cuts if c <= at)] // (seconds * FLICKS))
    run_id = factories.run(session, channel_id, (start - T0).total_seconds())
    for _, members in grouped:
        held = list(members)
        first, last = held[0], held[-1] + 1
        data = units[first].header + b"".join(unit.data for unit in units[first:last])
        span = Span(wall(begins[first], start), wall(begins[last], start))
        _recorded(session, settings, channel_id, name, data, span, run_id)
    return Air(units, [wall(at, start) for at in begins[:-1]])


def _recorded(
    session: Session,
    settings: Settings,
    channel_id: int,
    name: str,
    data: bytes,
    span: Span,
    run_id: UUID,
) -> None:
    file_format = samples.format_of(name)
    key = layout.key(keyname=KEYNAME, start_time=span.start, run_id=run_id, format=file_format, epoch=1)
    path = settings.archive_dir / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    factories.captured(
        session,
        channel_id,
        (span.start - T0).total_seconds(),
        (span.end - T0).total_seconds(),
        path=key,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        format=file_format,
        codecs=CODECS[name],
        run_id=run_id,
    )
