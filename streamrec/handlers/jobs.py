"""Work that no request waits for: how far it is, and where its result is."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from streamrec import jobs
from streamrec.db import Session
from streamrec.handlers import _present, _reply
from streamrec.handlers._listing import Listing
from streamrec.handlers._reply import Reply

_SORT_KINDS: dict[str, type] = {"created_at": datetime}


def list_jobs(
    kind: str | None = None,
    state: str | None = None,
    channel_id: int | None = None,
    sort: str = "-created_at",
    limit: int = 100,
    cursor: str | None = None,
) -> Reply:
    listing = Listing("jobs", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        page = jobs.page(
            session, kind=kind, state=state, channel_id=channel_id, sort=sort, after=after, limit=limit
        )
    return listing.reply(page, _present.job)


def get_job(job_id: str) -> Reply:
    with Session.begin() as session:
        row = jobs.get(session, UUID(job_id))
    return _reply.ok(_present.job(row), version=_present.job_version(row))
