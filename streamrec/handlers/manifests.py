"""Sealed days, for whoever wants to see that nothing was taken away."""

from __future__ import annotations

import datetime

from streamrec import manifests
from streamrec.db import Session
from streamrec.errors import Invalid
from streamrec.handlers import _reply
from streamrec.handlers._reply import Reply


def get_manifest(channel_id: int, date: str | None = None) -> Reply:
    day = None if date is None else _day(date)
    with Session.begin() as session:
        return _reply.ok(manifests.get(session, channel_id, day))


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise Invalid("date: must be a day such as 2026-11-20", field="date", rule="date") from None
