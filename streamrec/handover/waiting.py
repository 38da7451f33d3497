"""How much is to move to the bucket and has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.handover import clipped, recorded, stored
from streamrec.models import Clip, FileContent, Recording
from streamrec.settings import Settings


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not moved yet although it is old enough."""

    files: int
    size_bytes: int
    oldest_seconds: float


def waiting(session: Session, settings: Settings) -> Waiting:
    """Of recordings, clips and stored files together; nothing without a bucket."""
    if settings.s3_bucket is None:
        return Waiting(0, 0, 0.0)
    found = [
        _figures(session, recorded.waits(settings), Recording.size_bytes, Recording.end_time),
        _figures(session, clipped.waits(settings), Clip.size_bytes, Clip.created_at),
        _figures(session, stored.waits(settings), FileContent.size_bytes, FileContent.created_at),
    ]
    return Waiting(
        sum(one.files for one in found),
        sum(one.size_bytes for one in found),
        max(one.oldest_seconds for one in found),
    )


def _figures(session: Session, waits: sa.Select[Any], size: Any, since: Any) -> Waiting:
    oldest = sa.extract("epoch", sa.func.clock_timestamp() - sa.func.min(since))
    files, total, age = session.execute(waits.with_only_columns(sa.func.count(), sa.func.sum(size), oldest)).one()
    return Waiting(files, int(total or 0), float(age or 0.0))
