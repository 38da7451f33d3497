"""Channels: the standing orders to record a station."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from streamrec import backups, captures, egress, keyset, numbering
from streamrec.channel_fields import REQUIRED, RULES, Draft, invalid
from streamrec.clock import now
from streamrec.db import violated_constraint
from streamrec.egress import StreamUrl
from streamrec.errors import Conflict, NotFound
from streamrec.models import (
    Capture,
    CaptureState,
    Channel,
    ChannelCredential,
    ChannelType,
    EnabledPeriod,
    Recorder,
)
from streamrec.timeline import written

DEFAULTS: Final[Draft] = {
    "enabled": True,
    "segment_seconds": 60,
    "capture": "auto",
    "tags": [],
    "country": None,
    "language": None,
    "pin": {},
    "backup_urls": [],
    "tls_verify": True,
    "max_bandwidth": None,
    "store": None,
    "retention_days": None,
    "retention_bytes": None,
}

Guard = Callable[[int], None]  # is given the current version and raises PreconditionFailed


class View(NamedTuple):
    """A channel as clients see it, in the order in which `_VIEW` selects it."""

    id: int
    name: str
    keyname: str
    type: str
    url: str
    enabled: bool
    segment_seconds: int
    capture: str
    tags: list[str]
    country: str | None
    language: str | None
    pin: dict[str, str]
    backup_urls: list[str]
    tls_verify: bool
    max_bandwidth: int | None
    store: str | None
    retention_days: int | None
    retention_bytes: int | None
    has_credentials: bool
    capture_state: str
    created_at: str  # RFC 3339
    updated_at: str
    version: int


# --- reading ----------------------------------------------------------------------------------------------


def _raw(column: Any) -> sa.ColumnElement[Any]:
    """The value as the driver gives it: enum members and time zones cost more than the query in a list of 100."""
    return sa.type_coerce(column, sa.types.NullType()).label(column.key)


def _written(column: Any) -> sa.ColumnElement[Any]:
    """An instant as answers write it, for the same reason: the milliseconds are cut off, not rounded."""
    utc = sa.func.timezone("UTC", sa.func.date_trunc("milliseconds", column))
    return sa.func.to_char(utc, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"').label(column.key)


_VIEW: keyset.Select = (
    sa.select(
        Channel.id,
        *(_raw(getattr(Channel, name)) for name in View._fields[1:18]),
        ChannelCredential.channel_id.is_not(None).label("has_credentials"),
        captures.STATE.label("capture_state"),
        _written(Channel.created_at),
        _written(Channel.updated_at),
        Channel.version,
    )
    .outerjoin(ChannelCredential, ChannelCredential.channel_id == Channel.id)
    .outerjoin(Capture, Capture.channel_id == Channel.id)
    .outerjoin(Recorder, Recorder.id == Capture.recorder_id)
    .where(Channel.deleted_at.is_(None))
)
_SORTS: Final[dict[str, sa.ColumnElement[Any]]] = {
    name: getattr(Channel, name).expression
    for name in ("id", "name", "keyname", "type", "created_at", "updated_at")
}


def _not_found(channel_id: int) -> NotFound:
    return NotFound(f"There is no channel {channel_id}.", channel_id=channel_id)


def get(session: Session, channel_id: int) -> View:
    """The channel as clients see it.

    Raises:
        NotFound: there is none, or it was deleted.
    """
    row = session.execute(_VIEW.where(Channel.id == channel_id)).one_or_none()
    if row is None:
        raise _not_found(channel_id)
    return View(*row)


def require(session: Session, channel_id: int) -> None:
    """Pass if the channel exists or existed: its recordings and its account outlive it.

    Raises:
        NotFound: no channel ever had this id.
    """
    if session.scalar(sa.select(Channel.id).where(Channel.id == channel_id)) is None:
        raise _not_found(channel_id)


def page(
    session: Session,
    *,
    type: str | None = None,  # noqa: A002 - the column's and the wire's name
    enabled: bool | None = None,
    q: str | None = None,
    tag: str | None = None,
    sort: str = "id",
    after: keyset.Position | None = None,
    limit: int = 100,
) -> keyset.Page:
    """One page of the channels; `q` is looked for in names, keynames and tags, whatever the case.

    Raises:
        Invalid: with field `sort`, if there is no such order.
    """
    statement = _VIEW
    if type is not None:
        statement = statement.where(Channel.type == ChannelType(type))
    if enabled is not None:
        statement = statement.where(Channel.enabled.is_(enabled))
    if tag is not None:
        statement = statement.where(Channel.tags.contains([tag]))
    if q:
        tags = sa.func.array_to_string(Channel.tags, "\n")
        statement = statement.where(
            sa.or_(*(text.icontains(q, autoescape=True) for text in (Channel.name, Channel.keyname, tags)))
        )
    return keyset.page(session, statement, columns=_SORTS, sort=sort, after=after, limit=limit)


def everything(session: Session) -> list[View]:
    """All channels by id, for an export."""
    return [View(*row) for row in session.execute(_VIEW.order_by(Channel.id))]


# --- writing ----------------------------------------------------------------------------------------------


def create(session: Session, draft: Draft, *, channel_id: int | None = None) -> View:
    """Add a channel; an enabled one is expected to be recorded from now on.

    Raises:
        Invalid: a required field is missing.
        Conflict: another channel has this keyname, or the id is taken.
    """
    _require_fields(draft)
    url: StreamUrl = draft["url"]
    at = now()
    values = {
        **DEFAULTS,
        **_shown(draft),
        "created_at": at,
        "updated_at": at,
        "version": 1,
    }
    new_id = _inserted(session, values, channel_id)
    if url.credentials is not None:
        _store_credentials(session, new_id, url)
    if draft.get("backup_urls"):
        backups.store(session, new_id, draft["backup_urls"])
    if values["enabled"]:
        session.execute(sa.insert(EnabledPeriod).values(channel_id=new_id, start_time=at))
    return View(
        **{**values, "id": new_id, "created_at": written(at), "updated_at": written(at)},
        has_credentials=url.credentials is not None,
        capture_state=CaptureState.STOPPED.value,
    )


def _shown(draft: Draft) -> dict[str, Any]:
    """The columns' values: URLs without user names and passwords."""
    values = dict(draft)
    if "url" in draft:
        values["url"] = draft["url"].url
    if "backup_urls" in draft:
        values["backup_urls"] = [url.url for url in draft["backup_urls"]]
    return values


def _require_fields(draft: Draft) -> None:
    for field in REQUIRED:
        if field not in draft:
            raise invalid(field, f"A new channel needs the field {field}.", "required")


def _inserted(session: Session, values: dict[str, Any], channel_id: int | None) -> int:
    """The id of the new row. The sequence may meet ids that clients chose just now: then it moves on."""
    if channel_id is not None:
        values = {**values, "id": channel_id}
        numbering.advance(session, Channel, channel_id)
    for _ in range(3):
        statement = insert(Channel).values(values).on_conflict_do_nothing().returning(Channel.id)
        new_id = session.scalar(statement)
        if new_id is not None:
            return new_id
        taken = sa.select(Channel.id).where(Channel.keyname == values["keyname"], Channel.deleted_at.is_(None))
        if session.scalar(taken) is not None:
            raise _keyname_taken(values["keyname"])
    raise Conflict(f"The channel {channel_id} is being created by another request.", field="id", rule="unique")


def _keyname_taken(keyname: str) -> Conflict:
    return Conflict(f"Another channel has the keyname {keyname!r}.", field="keyname", rule="unique")


def replace(session: Session, channel_id: int, draft: Draft, *, guard: Guard | None = None) -> tuple[View, bool]:
    """Change the fields given, or create the channel under this id; the second value says whether it was created.

    Raises:
        NotFound: there is no such channel and a required field is missing.
        Conflict: the id belonged to a deleted channel, or another channel has this keyname.
        PreconditionFailed: `guard` refuses the channel's version.
    """
    known = session.execute(sa.select(Channel.deleted_at).where(Channel.id == channel_id)).one_or_none()
    if known is not None and known[0] is not None:
        raise Conflict(f"The channel {channel_id} was deleted; ids are never used again.", channel_id=channel_id)
    if known is not None:
        return update(session, channel_id, draft, guard=guard), False
    missing = [field for field in REQUIRED if field not in draft]
    if missing or not 1 <= channel_id <= numbering.HIGHEST_CHOSEN_ID:
        raise NotFound(
            f"There is no channel {channel_id}; with {', '.join(REQUIRED)} one is made under an id "
            f"from 1 to {numbering.HIGHEST_CHOSEN_ID}.",
            channel_id=channel_id,
        )
    if guard is not None:
        guard(0)  # nothing exists yet, so a condition can only fail
    return create(session, draft, channel_id=channel_id), True


def update(session: Session, channel_id: int, draft: Draft, *, guard: Guard | None = None) -> View:
    """Change the fields given; what is the same already changes nothing, not even the version.

    Raises:
        NotFound, PreconditionFailed; Conflict: another channel has this keyname.
    """
    channel = _locked(session, channel_id, guard)
    url: StreamUrl | None = draft.get("url")
    values = _shown(draft)
    changes = {field: value for field, value in values.items() if getattr(channel, field) != value}
    if url is not None and _credentials_changed(session, channel, url):
        changes["url"] = url.url
    if "backup_urls" in draft and backups.store(session, channel_id, draft["backup_urls"]):
        changes["backup_urls"] = values["backup_urls"]
    if not changes:
        return get(session, channel_id)
    at = now()
    if "enabled" in changes:
        (_open_period if changes["enabled"] else _close_period)(session, channel_id, at)
    statement = sa.update(Channel).where(Channel.id == channel_id)
    statement = statement.values(**changes, version=channel.version + 1, updated_at=at)
    try:
        with session.begin_nested():
            session.execute(statement, execution_options={"synchronize_session": False})
    except IntegrityError as exc:
        if violated_constraint(exc) == "channel_keyname_key":
            raise _keyname_taken(values["keyname"]) from exc
        raise
    return get(session, channel_id)


def retire(session: Session, channel_id: int, *, guard: Guard | None = None) -> None:
    """Delete a channel: its capture stops, its keyname is free again, its recordings and account stay.

    Raises:
        NotFound, PreconditionFailed.
    """
    channel = _locked(session, channel_id, guard)
    at = now()
    _close_period(session, channel_id, at)
    session.execute(sa.delete(ChannelCredential).where(ChannelCredential.channel_id == channel_id))
    backups.forget(session, channel_id)
    session.execute(
        sa.update(Channel)
        .where(Channel.id == channel_id)
        .values(deleted_at=at, updated_at=at, enabled=False, version=channel.version + 1),
        execution_options={"synchronize_session": False},
    )


def _locked(session: Session, channel_id: int, guard: Guard | None) -> keyset.Row:
    """The channel's own columns, locked until the transaction ends, though not against rows that refer to it.

    Recorders write such rows all the time: they neither wait for a change nor get into a deadlock with it.
    """
    columns = (*(getattr(Channel, name) for name in RULES), Channel.id, Channel.version)
    statement = sa.select(*columns).where(Channel.id == channel_id, Channel.deleted_at.is_(None))
    row = session.execute(statement.with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise _not_found(channel_id)
    if guard is not None:
        guard(row.version)
    return row


def _credentials_changed(session: Session, channel: keyset.Row, url: StreamUrl) -> bool:
    """Store, keep or drop the credentials as the new URL asks; whether something changed.

    Without a user name in it, a URL of the same server keeps what is stored; any other server drops it.
    """
    stored = session.execute(
        sa.select(ChannelCredential.username, ChannelCredential.password).where(
            ChannelCredential.channel_id == channel.id
        )
    ).one_or_none()
    if not url.has_userinfo and url.is_same_server(egress.parse(channel.url)):
        return False
    wanted = url.credentials
    if (wanted and (wanted.username, wanted.password)) == (stored and tuple(stored)):
        return False
    session.execute(sa.delete(ChannelCredential).where(ChannelCredential.channel_id == channel.id))
    if wanted is not None:
        _store_credentials(session, channel.id, url)
    return True


def _store_credentials(session: Session, channel_id: int, url: StreamUrl) -> None:
    assert url.credentials is not None
    session.execute(
        sa.insert(ChannelCredential).values(
            channel_id=channel_id, username=url.credentials.username, password=url.credentials.password
        )
    )


def _open_period(session: Session, channel_id: int, at: datetime) -> None:
    """From now on the channel is to be recorded. The clock may have stepped back: periods never overlap."""
    latest = session.scalar(
        sa.select(sa.func.max(EnabledPeriod.end_time)).where(EnabledPeriod.channel_id == channel_id)
    )
    start = at if latest is None else max(at, latest)
    session.execute(sa.insert(EnabledPeriod).values(channel_id=channel_id, start_time=start))


def _close_period(session: Session, channel_id: int, at: datetime) -> None:
    """Nothing is expected from now on; a period that would be empty is taken back."""
    period = sa.and_(EnabledPeriod.channel_id == channel_id, EnabledPeriod.end_time.is_(None))
    options = {"synchronize_session": False}
    session.execute(
        sa.delete(EnabledPeriod).where(period, EnabledPeriod.start_time >= at), execution_options=options
    )
    session.execute(sa.update(EnabledPeriod).where(period).values(end_time=at), execution_options=options)
