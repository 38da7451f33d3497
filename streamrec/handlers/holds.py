"""What of a channel nothing may delete."""

from __future__ import annotations

from typing import Any

from streamrec import holds
from streamrec.db import Session
from streamrec.handlers import _current, _present, _query, _reply
from streamrec.handlers._reply import Reply


def list_holds(channel_id: int) -> Reply:
    with Session.begin() as session:
        return _reply.ok([_present.hold(row) for row in holds.listed(session, channel_id)])


def create_hold(channel_id: int, body: dict[str, Any]) -> Reply:
    start, end = (_query.instant(body[name], name) for name in ("start_time", "end_time"))
    with Session.begin() as session:
        made = holds.create(
            session, channel_id, start=start, end=end, reason=body["reason"], by=_current.principal()
        )
        return _reply.created(_present.hold(made), location=f"/channel/{channel_id}/hold/{made.id}")


def delete_hold(channel_id: int, hold_id: int) -> Reply:
    with Session.begin() as session:
        holds.lift(session, channel_id, hold_id)
    return _reply.no_content()
