"""The schemas of the tag `system`. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

from streamrec.health import Check, RecorderState, Report

LINKS = {
    "ui": "/ui/",
    "console": "/console/",
    "openapi": "/openapi.json",
    "health": "/health",
    "metrics": "/metrics",
    "channels": "/channel",
    "recordings": "/recording",
}
_WHAT = {
    "ui": "Try the API in the browser",
    "console": "What is being recorded",
    "openapi": "The contract",
    "health": "How the service is",
    "metrics": "Figures for Prometheus",
    "channels": "All channels",
    "recordings": "All recordings",
}


def root(version: str) -> dict[str, Any]:
    """`Root`."""
    return {"name": "streamrec", "version": version, "links": LINKS}


def page(version: str) -> str:
    """The same for people; no script, no style sheet, so that the strictest policy lets it be."""
    items = "\n".join(
        f'<li><a href="{escape(LINKS[name])}">{escape(text)}</a></li>' for name, text in _WHAT.items()
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>streamrec</title></head>\n'
        f"<body><h1>streamrec {escape(version)}</h1>\n<ul>\n{items}\n</ul></body></html>\n"
    )


def health(report: Report, version: str) -> dict[str, Any]:
    """`Health`."""
    return {
        "status": report.status,
        "live": True,
        "ready": report.is_ready,
        "version": version,
        "checks": [_check(check) for check in report.checks],
        "canary": None if report.canary is None else _check(report.canary),
        "jobs": None if report.jobs is None else _check(report.jobs),
        "sealing": None if report.sealing is None else _check(report.sealing),
        "room": None if report.room is None else _check(report.room),
        "bucket": None if report.bucket is None else _check(report.bucket),
        "archive_faults": report.archive_faults,
        "recorders": [_recorder(recorder) for recorder in report.recorders],
    }


def _check(check: Check) -> dict[str, Any]:
    return {"name": check.name, "ok": check.is_ok, "detail": check.detail[:500]}


def _recorder(state: RecorderState) -> dict[str, Any]:
    return {
        "id": str(state.id),
        "host": state.host,
        "alive": state.is_alive,
        "leaving": state.is_leaving,
        "heartbeat_age_seconds": state.heartbeat_age_seconds,
        "version": state.version,
        "ffmpeg": state.ffmpeg,
        "capacity": state.capacity,
        "channels": state.channels,
        "labels": dict(state.labels),
        "captures": dict(state.captures),
        "storage_fault": state.storage_fault,
        "free_bytes": None if state.room is None else state.room.free_bytes,
        "disk_bytes": None if state.room is None else state.room.disk_bytes,
    }
