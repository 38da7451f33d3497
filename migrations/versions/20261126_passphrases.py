"""Passphrases of srt addresses, kept apart from them as passwords are."""

from __future__ import annotations

from urllib.parse import quote, unquote_plus

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

CHANNELS = "SELECT id, url FROM channel WHERE url LIKE 'srt:%passphrase=%'"
BACKUPS = "SELECT id, backup_urls FROM channel WHERE array_to_string(backup_urls, ' ') LIKE '%srt:%passphrase=%'"
RUNS = "SELECT DISTINCT source_url FROM run WHERE source_url LIKE 'srt:%passphrase=%'"
KEEP = "INSERT INTO channel_credential (channel_id, username, password) VALUES (:id, '', :secret)"
KEEP_BACKUP = "INSERT INTO backup_credential (channel_id, url, username, password) VALUES (:id, :url, '', :secret)"
KEPT = """
SELECT id, url, password FROM channel JOIN channel_credential ON channel_id = id
WHERE url LIKE 'srt:%' AND username = ''
"""
KEPT_BACKUPS = """
SELECT channel_id, url, password FROM backup_credential WHERE url LIKE 'srt:%' AND username = ''
"""


def upgrade() -> None:
    for id_, url in _rows(CHANNELS):
        shown, secret = _apart(url)
        _do("UPDATE channel SET url = :url WHERE id = :id", id=id_, url=shown)
        if secret:
            _do(f"{KEEP} ON CONFLICT DO NOTHING", id=id_, secret=secret)
    for id_, urls in _rows(BACKUPS):
        apart = [_apart(url) for url in urls]
        _do("UPDATE channel SET backup_urls = :urls WHERE id = :id", id=id_, urls=[shown for shown, _ in apart])
        for shown, secret in apart:
            if secret:
                _do(f"{KEEP_BACKUP} ON CONFLICT DO NOTHING", id=id_, url=shown, secret=secret)
    for (url,) in _rows(RUNS):
        _do("UPDATE run SET source_url = :shown WHERE source_url = :url", url=url, shown=_apart(url)[0])


def downgrade() -> None:
    for id_, url, secret in _rows(KEPT):
        _do("UPDATE channel SET url = :url WHERE id = :id", id=id_, url=_whole(url, secret))
        _do("DELETE FROM channel_credential WHERE channel_id = :id", id=id_)
    for id_, url, secret in _rows(KEPT_BACKUPS):
        replaced = "UPDATE channel SET backup_urls = array_replace(backup_urls, :url, :whole) WHERE id = :id"
        _do(replaced, id=id_, url=url, whole=_whole(url, secret))
        _do("DELETE FROM backup_credential WHERE channel_id = :id AND url = :url", id=id_, url=url)


def _rows(statement: str) -> list[sa.Row[tuple[object, ...]]]:
    return list(op.get_bind().execute(sa.text(statement)))


def _do(statement: str, **values: object) -> None:
    op.get_bind().execute(sa.text(statement), values)


def _apart(url: str) -> tuple[str, str]:
    """The address without its passphrase, and the passphrase."""
    base, _, query = url.partition("?")
    fields = query.split("&")
    secrets = [each.partition("=")[2] for each in fields if url.startswith("srt:") and _is_secret(each)]
    if not secrets:
        return url, ""
    others = "&".join(each for each in fields if not _is_secret(each))
    return base + "?" * bool(others) + others, unquote_plus(secrets[0])


def _is_secret(field: str) -> bool:
    return field.startswith("passphrase=")


def _whole(url: str, secret: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}passphrase={quote(secret, safe='')}"
