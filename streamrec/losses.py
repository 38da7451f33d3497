"""Recordings that are lost: their files are missing or altered, and the account says so until they are back.

The row stays as it is, so that what was recorded can still be told, and a later look can find it again.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec import holds
from streamrec.archive.looking import Fault, Told
from streamrec.clock import now
from streamrec.models import Coverage, CoverageKind, Loss, Recording, RecordingFault

log = structlog.get_logger("streamrec.losses")

PLACE: Final = ("path", "store", "object_key", "size_bytes", "sha256")
_DETAILS: Final = {
    Loss.MISSING: "It was recorded, and its file is missing.",
    Loss.ALTERED: "It was recorded, and its file is not what was recorded.",
}
_UNSYNCHRONIZED = {"synchronize_session": False}


class Seen(Told, Protocol):
    """A recording as it was when it was looked at."""

    @property
    def id(self) -> int: ...
    @property
    def channel_id(self) -> int: ...


def note(session: Session, seen: Seen, fault: Fault) -> bool:
    """Note what is wrong with a recording; if its bytes cannot be had, its time is lost from now on.

    Returns: False, and nothing is done, if the recording was deleted, or lies elsewhere since it was looked at.
    """
    current = _locked(session, seen)
    if current is None:
        return False
    known = session.scalar(sa.select(RecordingFault.fault).where(RecordingFault.recording_id == seen.id))
    row = insert(RecordingFault).values(recording_id=seen.id, fault=fault.detail, found_at=now())
    session.execute(
        row.on_conflict_do_update(index_elements=[RecordingFault.recording_id], set_={"fault": fault.detail})
    )
    if fault.loss is not None and current.lost is not fault.loss:
        _tell(session, seen.id, fault.loss, CoverageKind.LOST, _DETAILS[fault.loss])
    if known != fault.detail:
        facts = {"recording_id": seen.id, "channel_id": seen.channel_id, "fault": fault.detail}
        log.error(
            "a recording is not what its row says", action="recording_fault", is_lost=bool(fault.loss), **facts
        )
    return True


def found_right(session: Session, seen: Seen) -> bool:
    """Take back whatever was noted of a recording every byte of which was found right.

    Returns: False, and nothing is done, if the recording was deleted, or lies elsewhere since it was looked at.
    """
    current = _locked(session, seen)
    if current is None:
        return False
    session.execute(sa.delete(RecordingFault).where(RecordingFault.recording_id == seen.id))
    if current.lost is not None:
        _tell(session, seen.id, None, CoverageKind.RECORDED, None)
        log.info("a recording is back", action="recording_back", recording_id=seen.id, channel_id=seen.channel_id)
    return True


def _locked(session: Session, seen: Seen) -> Any:
    """The row, locked, if it still says what was looked at.

    The channel comes first, as for deletions and seals: none of them sees a half of this.
    """
    holds.lock(session, seen.channel_id)
    columns = (Recording.lost, *(getattr(Recording, name) for name in PLACE))
    row = session.execute(sa.select(*columns).where(Recording.id == seen.id).with_for_update()).one_or_none()
    if row is None or any(getattr(row, name) != getattr(seen, name) for name in PLACE):
        return None
    return row


def _tell(session: Session, recording_id: int, lost: Loss | None, kind: CoverageKind, detail: str | None) -> None:
    row = sa.update(Recording).where(Recording.id == recording_id)
    session.execute(
        row.values(lost=lost, version=Recording.version + 1, updated_at=now()), execution_options=_UNSYNCHRONIZED
    )
    span = sa.update(Coverage).where(Coverage.recording_id == recording_id)
    session.execute(span.values(kind=kind, detail=detail), execution_options=_UNSYNCHRONIZED)
