"""API keys: made, shown once, recognised by their digest, revoked."""

from __future__ import annotations

import hashlib
import re
import secrets

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.clock import now
from streamrec.errors import Conflict, Invalid, NotFound
from streamrec.models import ApiKey

PREFIX = "streamrec_"  # lets secret scanners find a key that went astray
_NAME = re.compile(r"[A-Za-z0-9._ -]{1,64}")


def create(session: Session, name: str) -> str:
    """A new key of 256 random bits under `name`; it cannot be shown again.

    Raises:
        Invalid: the name is not 1-64 letters, digits, spaces, dots, underscores or hyphens.
        Conflict: the name is taken.
    """
    if _NAME.fullmatch(name) is None or name != name.strip():
        raise Invalid("name: must be 1-64 letters, digits, inner spaces, dots, _ or -", field="name")
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        with session.begin_nested():
            session.add(ApiKey(name=name, digest=_digest(key)))
    except IntegrityError as exc:
        if db.violated_constraint(exc) != "api_key_name_key":
            raise
        raise Conflict(f"An API key named {name!r} exists already.") from exc
    return key


def listed(session: Session) -> list[ApiKey]:
    """All keys, revoked ones too, by name."""
    return list(session.scalars(sa.select(ApiKey).order_by(ApiKey.name)))


def revoke(session: Session, name: str) -> None:
    """Let the key of `name` open nothing from now on.

    Raises:
        NotFound: there is no such key.
    """
    key = session.scalar(sa.select(ApiKey).where(ApiKey.name == name))
    if key is None:
        raise NotFound(f"There is no API key named {name!r}.")
    key.revoked_at = key.revoked_at or now()


def holder(session: Session, key: str) -> str | None:
    """The name of a valid key, or None.

    The digest is looked up, not compared, so the time it takes tells nothing about the key; and 256 random bits
    need no slow hash.
    """
    statement = sa.select(ApiKey.name).where(ApiKey.digest == _digest(key), ApiKey.revoked_at.is_(None))
    return session.scalar(statement)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
