"""Rows as the contract's schemas say; one function for each schema, in the schema's order of fields."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from streamrec import coverage
from streamrec.channel_imports import Line
from streamrec.channels import View
from streamrec.keyset import Row
from streamrec.media.probe import MediaInfo
from streamrec.models import FileFormat, Hold
from streamrec.timeline import written

_CHANNEL: Final = View._fields[:-1]
COVERAGE_COLUMNS: Final = ("kind", "start_time", "end_time", "duration_seconds", "reason")


def channel(row: View | Row) -> dict[str, Any]:
    """Channel; the view has the schema's order, and the version, which is an `ETag`, behind it."""
    return dict(zip(_CHANNEL, row, strict=False))


def recording(row: Row) -> dict[str, Any]:
    """Recording."""
    return {
        "id": row.id,
        "channel_id": row.channel_id,
        "start_time": written(row.start_time),
        "end_time": written(row.end_time),
        "path": row.path,
        "origin": row.origin,
        "format": row.format,
        "media_type": media_type(row.format, row.codecs),
        "codecs": row.codecs,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "duration_seconds": _seconds(row.end_time - row.start_time),
        "run_id": None if row.run_id is None else str(row.run_id),
        "source_index": row.source_index,
        "truncated": row.truncated,
        "lost": row.lost,
        "store": row.store,
        "created_at": written(row.created_at),
        "updated_at": written(row.updated_at),
    }


def hold(row: Hold) -> dict[str, Any]:
    """Hold."""
    return {
        "id": row.id,
        "channel_id": row.channel_id,
        "start_time": written(row.start_time),
        "end_time": written(row.end_time),
        "reason": row.reason,
        "created_by": row.created_by,
        "created_at": written(row.created_at),
    }


def stored_file(row: Row) -> dict[str, Any]:
    """StoredFile; the document's `size` is text."""
    return {
        "file_name": row.file_name,
        "type": row.type,
        "size": str(row.size_bytes),
        "md5": row.md5,
        "sha1": row.sha1,
        "sha256": row.sha256,
        "store": row.store,
        "created_at": written(row.created_at),
        "updated_at": written(row.updated_at),
    }


_MEDIA_TYPES: Final = {
    FileFormat.MP3: "audio/mpeg",  # RFC 3003
    FileFormat.AAC: "audio/aac",
    FileFormat.TS: "video/mp2t",  # RFC 3555
    FileFormat.MP4: "video/mp4",  # RFC 4337
}
_SOUND: Final = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac", "alac"})


def media_type(form: FileFormat | None, codecs: str | None) -> str | None:
    """The media type of a file of ours; an MP4 without a picture is audio."""
    if form is FileFormat.MP4 and codecs in _SOUND:
        return "audio/mp4"
    return None if form is None else _MEDIA_TYPES[form]


def _seconds(duration: timedelta) -> float:
    return round(duration.total_seconds(), 3)


def status(row: Row) -> dict[str, Any]:
    """CaptureStatus; without a living recorder the rest is only what was last heard."""
    is_writing = row.is_alive and row.path is not None
    return {
        "channel_id": row.channel_id,
        "enabled": row.enabled,
        "state": row.state,
        "since": written(row.since),
        "recorder_id": None if row.recorder_id is None else str(row.recorder_id),
        "recorder_alive": row.is_alive,
        "run_id": None if row.run_id is None or not row.is_alive else str(row.run_id),
        "path": row.path if is_writing else None,
        "file_start_time": written(row.file_start_time) if is_writing else None,
        "file_bytes": row.file_bytes if is_writing else None,
        "file_seconds": round(row.file_seconds, 3) if is_writing and row.file_seconds is not None else None,
        "bit_rate": row.bit_rate if row.is_alive else None,
        "source_index": row.source_index if row.is_alive else None,
        "codecs": row.codecs,
        "title": row.title,
        "last_error": _last_error(row),
        "restarts": row.restarts or 0,
        "updated_at": written(row.updated_at),
    }


def _last_error(row: Row) -> str | None:
    if row.enabled and not row.is_alive:
        return "No recorder is at work on this channel."
    return None if row.last_error is None else str(row.last_error)


def gap(row: Row) -> dict[str, Any]:
    """Gap."""
    return {
        "id": row.id,
        "channel_id": row.channel_id,
        "start_time": written(row.start_time),
        "end_time": written(row.end_time),
        "duration_seconds": _seconds(row.end_time - row.start_time),
        "reason": row.reason,
        "detail": row.detail,
        "open": row.is_open,
    }


def account(found: coverage.Account) -> dict[str, Any]:
    """Coverage."""
    durations = found.durations()
    shares = coverage.percentages(durations)
    return {
        "channel_id": found.channel_id,
        "from": written(found.window.start),
        "to": written(found.window.end),
        "duration_seconds": _seconds(found.window.duration),
        "totals": {
            str(kind): {"seconds": _seconds(duration), "percent": shares[kind]}
            for kind, duration in durations.items()
        },
        "spans": [dict(zip(COVERAGE_COLUMNS, row, strict=True)) for row in account_rows(found)],
    }


def account_rows(found: coverage.Account) -> Iterable[tuple[object, ...]]:
    """CoverageSpan's values, as the CSV has them too."""
    for stretch in found.stretches:
        start, end = stretch.span.start, stretch.span.end
        yield str(stretch.kind), written(start), written(end), _seconds(end - start), stretch.reason


def probe(info: MediaInfo) -> dict[str, Any]:
    """Probe."""
    return {
        "protocol": info.protocol,
        "recordable": info.recordable,
        "container": info.container,
        "format": info.format,
        "video_codec": info.video_codec,
        "audio_codec": info.audio_codec,
        "bit_rate": info.bit_rate,
        "sample_rate": info.sample_rate,
        "channels": info.channels,
        "width": info.width,
        "height": info.height,
        "frame_rate": info.frame_rate,
        "station": info.station,
        "title": info.title,
        "reason": info.reason,
        "detail": info.detail,
    }


def job(row: Row) -> dict[str, Any]:
    """Job."""
    return {
        "id": str(row.id),
        "kind": row.kind,
        "channel_id": row.channel_id,
        "state": row.state,
        "progress": row.progress,
        "result": row.result,
        "error": row.error,
        "created_at": written(row.created_at),
        "started_at": None if row.started_at is None else written(row.started_at),
        "ended_at": None if row.ended_at is None else written(row.ended_at),
    }


def clip(row: Row) -> dict[str, Any]:
    """Clip."""
    is_made = row.path is not None
    return {
        "id": str(row.id),
        "job_id": str(row.job_id),
        "channel_id": row.channel_id,
        "from": written(row.start_time),
        "to": written(row.end_time),
        "format": row.format,
        "exact": row.exact,
        "gaps": row.gaps,
        "state": row.state,
        "progress": row.progress,
        "error": row.error,
        "result": {
            "media": f"/clip/{row.id}/media",
            "manifest": f"/clip/{row.id}/manifest",
            "size_bytes": row.size_bytes,
            "sha256": row.sha256,
            "lossless": row.lossless,
            "duration_seconds": round(row.seconds, 3),
            "store": row.store,
            "expires_at": written(row.expires_at),
        }
        if is_made
        else None,
        "created_at": written(row.created_at),
    }


def job_version(row: Row) -> str:
    """What makes one state of a job another than the last: its entity tag."""
    return f"{row.state}-{row.attempts}-{row.progress}"


def report(lines: Iterable[Line], *, dry_run: bool) -> dict[str, Any]:
    """ImportReport; a dry run's new channels have no id yet."""
    found = list(lines)
    counts = {
        status: sum(line.status == status for line in found)
        for status in ("created", "updated", "skipped", "refused")
    }
    return {"dry_run": dry_run, **counts, "lines": [_line(line, dry_run=dry_run) for line in found]}


def _line(line: Line, *, dry_run: bool) -> dict[str, Any]:
    """ImportLine."""
    is_imaginary = dry_run and line.status == "created"
    return {
        "line": line.line,
        "status": line.status,
        "keyname": line.keyname,
        "channel_id": None if is_imaginary else line.channel_id,
        "field": line.field,
        "detail": line.detail,
    }
