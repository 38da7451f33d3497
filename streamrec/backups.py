"""The user names and passwords of a channel's backup URLs, kept apart as those of its URL are."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import egress
from streamrec.egress import Credentials, StreamUrl
from streamrec.models import BackupCredential

Stored = dict[str, Credentials]  # by the URL as it is shown


def store(session: Session, channel_id: int, urls: Sequence[StreamUrl]) -> bool:
    """Keep the credentials of exactly these URLs; whether that changed something.

    A URL without a user name in it keeps what is stored for it, or for another of the same server.
    """
    before = _stored(session, channel_id)
    after = {url.url: found for url in urls if (found := _credentials(url, before)) is not None}
    if _plain(before) == _plain(after):
        return False
    session.execute(sa.delete(BackupCredential).where(BackupCredential.channel_id == channel_id))
    if after:
        rows = [
            {"channel_id": channel_id, "url": url, "username": found.username, "password": found.password}
            for url, found in after.items()
        ]
        session.execute(sa.insert(BackupCredential).values(rows))
    return True


def forget(session: Session, channel_id: int) -> None:
    """Drop the credentials of a channel that is deleted."""
    store(session, channel_id, ())


def _stored(session: Session, channel_id: int) -> Stored:
    columns = (BackupCredential.url, BackupCredential.username, BackupCredential.password)
    rows = session.execute(sa.select(*columns).where(BackupCredential.channel_id == channel_id))
    return {url: Credentials(username, password) for url, username, password in rows}


def _credentials(url: StreamUrl, stored: Stored) -> Credentials | None:
    if url.has_userinfo:
        return url.credentials
    if url.url in stored:
        return stored[url.url]
    near = (found for known, found in stored.items() if url.is_same_server(egress.parse(known)))
    return next(near, None)


def _plain(stored: Stored) -> dict[str, tuple[str, str]]:
    return {url: (found.username, found.password) for url, found in stored.items()}
