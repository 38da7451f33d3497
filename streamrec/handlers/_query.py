"""What a request asks for beyond its parameters' syntax: ranges, pages, versions."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import orjson
from connexion.context import request

from streamrec.clock import now
from streamrec.errors import Invalid, PreconditionFailed
from streamrec.handlers import _instant
from streamrec.timeline import Span

_ENTITY_TAG = re.compile(r'(?:W/)?"[!#-~]*"')
_SEAL_BYTES = 6

instant = _instant.parsed


def window(start: str | int | None, end: str | int | None, *, default: Span | None = None) -> Span:
    """The half-open range `from`..`to` of a request; a missing end is that of `default`, or else 1970 and now.

    Raises:
        Invalid: an end is no instant, or `to` is not after `from`.
    """
    first = instant(start, "from") or (default.start if default else _instant.EARLIEST)
    last = instant(end, "to") or (default.end if default else now())
    if first >= last:
        raise Invalid("to: must be later than from", field="to")
    return Span(first, last)


def bounds(start: str | int | None, end: str | int | None) -> tuple[datetime | None, datetime | None]:
    """`from` and `to` of a filter, each of which may be open.

    Raises:
        Invalid: one is no instant, or `to` is not after `from`.
    """
    first, last = instant(start, "from"), instant(end, "to")
    if first is not None and last is not None and first >= last:
        raise Invalid("to: must be later than from", field="to")
    return first, last


# --- pages ------------------------------------------------------------------------------------------------


def cursor_for(listing: str, *position: str | int | datetime) -> str:
    """The opaque place after a row of `listing` (the list's name and order, such as `channels:name`).

    `position` holds the row's sort columns, the last of them unique.
    """
    values = [value.isoformat() if isinstance(value, datetime) else value for value in position]
    body = orjson.dumps([listing, *values])
    return base64.urlsafe_b64encode(_seal(body) + body).rstrip(b"=").decode()


def position_in(cursor: str | None, listing: str, *kinds: Any) -> Any:
    """The sort columns that `cursor_for` put into a cursor of the same `listing`, or None without a cursor.

    `kinds` are their types: str, int or datetime. The seal finds damage and mix-ups; it is no secret, because
    a forged cursor says no more than where to go on.

    Raises:
        Invalid: it is damaged or comes from another list.
    """
    if cursor is None:
        return None
    try:
        values = _opened(cursor)
        if values[0] != listing or len(values) != len(kinds) + 1:
            raise ValueError("another list's")
        return tuple(_typed(value, kind) for value, kind in zip(values[1:], kinds, strict=True))
    except (ValueError, TypeError, IndexError, OverflowError) as exc:  # binascii.Error is a ValueError
        raise Invalid("cursor: must be one that this list gave", field="cursor") from exc


def _opened(cursor: str) -> list[Any]:
    blob = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    seal, body = blob[:_SEAL_BYTES], blob[_SEAL_BYTES:]
    if seal != _seal(body):
        raise ValueError("damaged")
    values = orjson.loads(body)
    return values if isinstance(values, list) else []


def _seal(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_SEAL_BYTES, key=b"streamrec cursor").digest()


def _typed(value: Any, kind: Any) -> Any:
    if kind is datetime:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError("no instant")
        return instant.astimezone(UTC)
    if type(value) is not kind or (kind is str and "\0" in value):
        raise ValueError("another type")
    return value


# --- versions ---------------------------------------------------------------------------------------------


def etag(version: int | str) -> str:
    """A strong entity tag (RFC 9110, 8.8.3) for a row's version or a file's hash."""
    return f'"{version}"'


def is_match(header: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags holds `tag`; weak tags count only in a weak comparison (RFC 9110, 8.8.3.2)."""
    if header.strip() == "*":
        return True
    tags = _ENTITY_TAG.findall(header)
    return tag in ([given.removeprefix("W/") for given in tags] if weak else tags)


def require_match(version: int | str) -> None:
    """Let a change pass if the request's `If-Match` is absent or names `version`.

    Raises:
        PreconditionFailed: the client has seen another version.
    """
    header = request.headers.get("if-match")
    if header is not None and not is_match(header, etag(version), weak=False):
        raise PreconditionFailed(
            "If-Match names a version that is no longer the current one.", current=etag(version)
        )


def is_unchanged(tag: str) -> bool:
    """Whether the client's `If-None-Match` says that it holds `tag` already; only GET and HEAD ask that."""
    header = request.headers.get("if-none-match")
    return header is not None and request.method in {"GET", "HEAD"} and is_match(header, tag, weak=True)


# --- representations --------------------------------------------------------------------------------------


def content_type() -> str:
    """The media type of the request's body, without parameters."""
    given: str = request.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()


def prefers(media_type: str, over: str) -> bool:
    """Whether `Accept` names `media_type` with a higher quality than `over` (RFC 9110, 12.5.1)."""
    header = request.headers.get("accept", "*/*")
    return _quality(header, media_type) > _quality(header, over)


def _quality(header: str, media_type: str) -> float:
    """The quality of the most specific range that fits; 0 if none does."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, _, parameters = part.strip().partition(";")
        match = re.search(r"(?:^|;)\s*q=([01](?:\.[0-9]{0,3})?)", parameters, re.ASCII)
        found[name.strip().lower()] = float(match[1]) if match else 1.0
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((found[name] for name in ranges if name in found), 0.0)
