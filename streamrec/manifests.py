"""Sealing: once a day, what a channel's account says is chained, signed and kept as a manifest.

What changes afterwards is told by a later manifest: a trigger takes a changed row of the account out of its seal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session as OrmSession

from streamrec import holds, signing
from streamrec.archive import proof
from streamrec.clock import now
from streamrec.db import Session
from streamrec.errors import NotFound
from streamrec.models import Channel, Coverage, CoverageKind, Manifest, Recording, Withdrawal
from streamrec.sealing import end_of
from streamrec.settings import Settings
from streamrec.timeline import written

log = structlog.get_logger("streamrec.manifests")

GRACE: Final = timedelta(hours=1)  # for facts that are late; those that are later still are in the next manifest
MOST: Final = 100_000  # entries of one manifest; what is beyond is in the next


def run(settings: Settings) -> int:
    """Seal every day of every channel that is over; how many manifests were made. Raises NotReady: no key."""
    with Session.begin() as session:
        key = signing.required(session, settings.signing_key)
        channels = session.scalars(sa.select(Channel.id).order_by(Channel.id)).all()
    return sum(_channel(channel_id, key) for channel_id in channels)


def _channel(channel_id: int, key: Ed25519PrivateKey) -> int:
    count = 0
    while True:
        with Session.begin() as session:
            day = due(session, channel_id, now())
            if day is None:
                return count
            seal(session, channel_id, day, key)
        count += 1


def due(session: OrmSession, channel_id: int, at: datetime) -> date | None:
    """The next day of a channel to be sealed, if it is over by `at` and anything is to be said of it."""
    unsealed = sa.select(sa.func.min(Coverage.end_time)).where(
        Coverage.channel_id == channel_id, Coverage.manifest_id.is_(None)
    )
    earliest = session.scalar(unsealed)
    if earliest is None:
        return None
    last = session.scalar(sa.select(sa.func.max(Manifest.day)).where(Manifest.channel_id == channel_id))
    day = (earliest - timedelta(microseconds=1)).astimezone(UTC).date()
    if last is not None:
        day = max(day, last + timedelta(days=1))
    return day if end_of(day) + GRACE <= at else None


def seal(session: OrmSession, channel_id: int, day: date, key: Ed25519PrivateKey) -> Manifest:
    """Make a manifest of all that the account says up to the end of `day` and no manifest has told as it is."""
    holds.lock(session, channel_id)
    channel = session.get_one(Channel, channel_id)
    before = session.scalars(
        sa.select(Manifest).where(Manifest.channel_id == channel_id).order_by(Manifest.number.desc()).limit(1)
    ).one_or_none()
    told = json.loads(before.document) if before is not None else None
    spans, withdrawn = _spans(session, channel_id, day), _withdrawn(session, channel_id)
    chain = told["chain_after"] if told else proof.BEGINNING
    entries, after = proof.linked(chain, [*map(_span, spans), *map(_withdrawal, withdrawn)])
    document = {
        "format": proof.FORMAT,
        "channel": {"id": channel.id, "keyname": channel.keyname, "name": channel.name},
        "number": told["number"] + 1 if told else 1,
        "day": day.isoformat(),
        "previous": before.sha256 if before is not None else None,
        "chain_before": chain,
        "chain_after": after,
        "sealed_at": written(now()),
        "entries": entries,
    }
    made = _keep(session, channel_id, day, document, key)
    _note(session, Coverage, [row.id for row in spans], made.id)
    _note(session, Withdrawal, [row.id for row in withdrawn], made.id)
    return made


def _keep(
    session: OrmSession, channel_id: int, day: date, document: proof.Document, key: Ed25519PrivateKey
) -> Manifest:
    signature, public_key = proof.signed(document, key)
    text = proof.canonical(document)
    made = Manifest(
        channel_id=channel_id,
        number=document["number"],
        day=day,
        document=text.decode(),
        sha256=proof.sha256(text),
        public_key=public_key,
        signature=signature,
    )
    session.add(made)
    session.flush()
    log.info("day sealed", channel_id=channel_id, day=day.isoformat(), entries=len(document["entries"]))
    return made


def _note(session: OrmSession, table: Any, ids: Sequence[int], manifest_id: int) -> None:
    session.execute(sa.update(table).where(table.id.in_(ids)).values(manifest_id=manifest_id))


def _spans(session: OrmSession, channel_id: int, day: date) -> Sequence[Any]:
    columns = (Coverage.id, Coverage.uuid, Coverage.kind, Coverage.start_time, Coverage.end_time, Coverage.reason)
    file = (Recording.path, Recording.size_bytes, Recording.sha256, Recording.format, Recording.codecs)
    statement = (
        sa.select(*columns, *file, Recording.truncated)
        .outerjoin(Recording, Recording.id == Coverage.recording_id)
        .where(Coverage.channel_id == channel_id, Coverage.manifest_id.is_(None), Coverage.end_time <= end_of(day))
    )
    return session.execute(statement.order_by(Coverage.start_time, Coverage.id).limit(MOST)).all()


def _withdrawn(session: OrmSession, channel_id: int) -> Sequence[Withdrawal]:
    unsaid = sa.select(Withdrawal).where(Withdrawal.channel_id == channel_id, Withdrawal.manifest_id.is_(None))
    return session.scalars(unsaid.order_by(Withdrawal.id).limit(MOST)).all()


def _span(row: Any) -> proof.Document:
    entry = {
        "uuid": str(row.uuid),
        "kind": row.kind.value,
        "start_time": row.start_time.isoformat(),
        "end_time": row.end_time.isoformat(),
        "reason": row.reason.value if row.reason is not None else None,
    }
    if row.kind is not CoverageKind.RECORDED or row.path is None:
        return entry
    names = ("path", "size_bytes", "sha256", "codecs", "truncated")
    return {**entry, "recording": {**{name: getattr(row, name) for name in names}, "format": row.format.value}}


def _withdrawal(row: Withdrawal) -> proof.Document:
    return {"uuid": str(row.uuid), "kind": "withdrawn", "withdrawn_at": row.created_at.isoformat()}


# --- reading ----------------------------------------------------------------------------------------------


def get(session: OrmSession, channel_id: int, day: date | None = None) -> dict[str, Any]:
    """The manifest of a day, or the latest, as it is handed out. Raises NotFound."""
    statement = sa.select(Manifest).where(Manifest.channel_id == channel_id)
    if day is not None:
        statement = statement.where(Manifest.day == day)
    found = session.scalars(statement.order_by(Manifest.number.desc()).limit(1)).one_or_none()
    if found is None:
        raise NotFound(f"No manifest of the channel {channel_id} is there{f' for {day}' if day else ''}.")
    return envelope(found)


def all_of(session: OrmSession, channel_id: int) -> Iterator[dict[str, Any]]:
    """Every manifest of a channel, in order."""
    statement = sa.select(Manifest).where(Manifest.channel_id == channel_id).order_by(Manifest.number)
    return map(envelope, session.scalars(statement))


def exported(session: OrmSession, channel_id: int) -> Iterator[dict[str, Any]]:
    """Every manifest of a channel, and what went since the last, if anything did."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})  # a seal in between would tear it
    last = None
    for last in all_of(session, channel_id):
        yield last
    if last is not None and (since := unsealed(session, channel_id, last)):
        yield since


def unsealed(session: OrmSession, channel_id: int, last: dict[str, Any]) -> dict[str, Any] | None:
    """The list of what is gone since the last manifest; not signed, because only a seal proves."""
    entries = _gone(session, channel_id)
    if not entries:
        return None
    document = {
        "format": proof.UNSEALED_FORMAT,
        "channel": last["manifest"]["channel"],
        "after": last["sha256"],
        "told_at": written(now()),
        "entries": entries,
    }
    return {"unsealed": document}


def _gone(session: OrmSession, channel_id: int) -> list[proof.Document]:
    """What expired, was deleted or taken back, and stands in no manifest as such yet."""
    columns = (Coverage.uuid, Coverage.kind, Coverage.start_time, Coverage.end_time, Coverage.reason)
    expired = sa.select(*columns, sa.null().label("path")).where(
        Coverage.channel_id == channel_id,
        Coverage.manifest_id.is_(None),
        Coverage.kind == CoverageKind.EXPIRED,
    )
    spans = session.execute(expired.order_by(Coverage.start_time))
    return [*map(_span, spans), *map(_withdrawal, _withdrawn(session, channel_id))]


def envelope(row: Manifest) -> dict[str, Any]:
    """A manifest with what proves it."""
    proofs = {"sha256": row.sha256, "signature": row.signature, "public_key": row.public_key}
    return {"manifest": json.loads(row.document), **proofs}
