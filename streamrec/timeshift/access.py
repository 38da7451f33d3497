"""Signed, expiring access to a stretch of a channel, for players that send no headers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from streamrec.errors import Unavailable
from streamrec.settings import SAMPLE_SECRET, Settings
from streamrec.timeline import Span

_TEXT: Final = re.compile(r"([0-9]{1,13})\.([0-9]{1,16})\.([0-9]{1,16})?\.([A-Za-z0-9_-]{32})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_BYTES: Final = 24  # of the HMAC-SHA-256; RFC 2104, section 5 asks for at least half of it
_KEY_BYTES: Final = 32
LONGEST: Final = 80
"""Characters of the text."""


@dataclass(frozen=True, slots=True)
class Access:
    """To a channel's media from `start` on: up to `end`, or live as long as it holds."""

    channel_id: int
    start: datetime
    end: datetime | None
    expires_at: datetime

    def covers(self, span: Span) -> bool:
        """Whether all of `span` is in it, to the millisecond."""
        return self.start <= span.start and (self.end is None or span.end <= self.end)

    def overlaps(self, start: datetime, end: datetime | None) -> bool:
        """Whether a file of this time holds something of it."""
        return (end is None or self.start < end) and (self.end is None or start < self.end)


def signed(access: Access, key: bytes) -> str:
    """The access as text: when it expires, from and to, in seconds and milliseconds since 1970, and their MAC."""
    body = _body(access)
    return f"{body}.{_mac(access.channel_id, body, key)}"


def granted(text: str, channel_id: int, key: bytes, at: datetime) -> Access | None:
    """What `signed` gave for this channel, if nobody changed it and it has not expired; else None."""
    match = _TEXT.fullmatch(text)
    if match is None or not hmac.compare_digest(match[4], _mac(channel_id, text.rpartition(".")[0], key)):
        return None
    try:
        end = None if match[3] is None else _EPOCH + int(match[3]) * _MILLISECOND
        start, expires = _EPOCH + int(match[2]) * _MILLISECOND, _EPOCH + timedelta(seconds=int(match[1]))
    except OverflowError:
        return None
    return Access(channel_id, start, end, expires) if at < expires else None


def _body(access: Access) -> str:
    start = (access.start - _EPOCH) // _MILLISECOND
    end = "" if access.end is None else -((_EPOCH - access.end) // _MILLISECOND)
    return f"{(access.expires_at - _EPOCH) // timedelta(seconds=1)}.{start}.{end}"


def _mac(channel_id: int, body: str, key: bytes) -> str:
    digest = hmac.digest(key, f"streamrec access 1\n{channel_id}\n{body}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:_BYTES]).decode()


# --- the key ----------------------------------------------------------------------------------------------


def key_of(settings: Settings) -> bytes:
    """The key of this instance: the setting's, or one that is made and kept in the data folder.

    Several machines agree on a key by the setting only.

    Raises:
        Unavailable: the disk does not take or give the file.
    """
    secret = settings.secret_key.get_secret_value()
    if secret != SAMPLE_SECRET:
        return secret.encode()
    try:
        return _kept(settings.data_dir / "access.key")
    except OSError as exc:
        raise Unavailable(
            f"The key that signs addresses cannot be kept ({exc.strerror}); set secret_key, or mend the disk."
        ) from exc


@cache
def _kept(path: Path) -> bytes:
    """The file's content, made first if it is missing; whoever else makes it at the same time makes the same."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        _write(fresh, secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
