"""Instants as requests write them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import overload

from streamrec.errors import Invalid

_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):(\d\d))?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RULE = (
    "must be RFC 3339, YYYY-MM-DD HH:MM:SS in UTC, or an integer since 1970 "
    "(up to 11 digits are seconds, 12-14 milliseconds, 15-17 microseconds)"
)
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@overload
def parsed(value: str | int, field: str) -> datetime: ...
@overload
def parsed(value: None, field: str) -> None: ...
@overload
def parsed(value: str | int | None, field: str) -> datetime | None: ...
def parsed(value: str | int | None, field: str) -> datetime | None:
    """The aware UTC instant that a request wrote; None stays None.

    Text is RFC 3339 (a missing offset means UTC, a space may stand for the T) or digits; integers are told apart
    by their count of digits. Parts of a microsecond are cut off.

    Raises:
        Invalid: it is no such text, no such moment, or outside 1970-2200; names `field`.
    """
    if value is None:
        return None
    text = str(value)
    try:
        instant = _from_digits(text) if text.isascii() and text.isdigit() else _from_text(text)
    except (ValueError, OverflowError) as exc:
        raise Invalid(f"{field}: {_RULE}", field=field) from exc
    if not EARLIEST <= instant < LATEST:
        raise Invalid(f"{field}: must lie between 1970 and 2200", field=field)
    return instant


def _from_digits(text: str) -> datetime:
    count = len(text)
    if count > 17:
        raise ValueError("too many digits")
    unit = (
        timedelta(seconds=1) if count <= 11 else timedelta(milliseconds=1) if count <= 14 else timedelta.resolution
    )
    return _EPOCH + int(text) * unit


def _from_text(text: str) -> datetime:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("not an instant")
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if int(minutes or 0) > 59:
        raise ValueError("not an offset")
    leap = second == "60"  # RFC 3339, 5.6 allows it; it is taken for the next second, as POSIX time does
    local = datetime(
        int(year),
        int(month),
        int(day),
        int(hour),
        int(minute),
        59 if leap else int(second or 0),
        int((fraction or "0")[:6].ljust(6, "0")),
        tzinfo=timezone(-offset if sign == "-" else offset),
    )
    return (local + timedelta(seconds=leap)).astimezone(UTC)
