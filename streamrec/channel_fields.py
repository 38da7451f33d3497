"""The fields of a channel and the rule of each, for the API, for imports and for the command line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from streamrec import egress
from streamrec.errors import EgressDenied, Invalid
from streamrec.models import CaptureMode, ChannelType, Store

REQUIRED: Final = ("name", "keyname", "type", "url")

Draft = dict[str, Any]  # checked fields; `url` is a StreamUrl, `backup_urls` are several

MOST_BACKUPS: Final = 8
MOST_BANDWIDTH: Final = 10**12  # bit/s
LONGEST_RETENTION: Final = 36_500  # days
MOST_BYTES: Final = 2**53 - 1  # what JSON's numbers hold exactly

_KEYNAME = re.compile(r"[A-Za-z0-9_-]{10}\Z")
_COUNTRY = re.compile(r"[A-Za-z]{2}\Z")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def invalid(field: str, detail: str, rule: str) -> Invalid:
    """The error for a field that breaks a rule."""
    return Invalid(detail, field=field, rule=rule)


def text(field: str, value: object, longest: int) -> str:
    """One line of text that shows as what it is: no control characters, no reversal of writing direction.

    Raises:
        Invalid: naming the field and the rule.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise invalid(field, f"The {field} must have 1 to {longest} characters.", "length")
    if any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in _BIDI for c in value):
        raise invalid(field, f"The {field} must not contain control characters.", "characters")
    return value


def _keyname(value: object) -> str:
    if not isinstance(value, str) or not _KEYNAME.match(value):
        raise invalid("keyname", "The keyname must be exactly 10 letters, digits, '-' or '_'.", "pattern")
    return value


def _tags(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > 32:
        raise invalid("tags", "The tags must be a list of at most 32.", "length")
    return list(dict.fromkeys(text("tags", tag, 64).strip() for tag in value))


def _segment_seconds(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 5 <= value <= 3600:
        raise invalid("segment_seconds", "The segment_seconds must be a whole number from 5 to 3600.", "range")
    return value


def _truth(field: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise invalid(field, f"The field {field} must be true or false.", "type")
        return value

    return check


def _country(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and _COUNTRY.match(value)):
        raise invalid("country", "The country must be two letters, as in ISO 3166-1.", "pattern")
    return value.upper() if isinstance(value, str) else None


def _language(value: object) -> str | None:
    if value is None:
        return None
    if not (isinstance(value, str) and len(value) <= 35 and _LANGUAGE.match(value)):
        raise invalid("language", "The language must be a tag such as en or pt-BR (BCP 47).", "pattern")
    return value


def _pin(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or value.keys() - {"site", "network"}:
        raise invalid("pin", "The pin must be an object with a site, a network, both or neither.", "unknown")
    if not all(isinstance(label, str) and _LABEL.match(label) for label in value.values()):
        raise invalid("pin", "A label must be 1 to 63 letters, digits, '.', '-' or '_'.", "pattern")
    return dict(value)


def _backup_urls(value: object) -> list[egress.StreamUrl]:
    """The backup URLs in order, each under the rules of `url`."""
    if not isinstance(value, list) or len(value) > MOST_BACKUPS:
        raise invalid("backup_urls", f"The backup_urls must be a list of at most {MOST_BACKUPS}.", "length")
    try:
        found = [egress.parse(text("backup_urls", each, egress.MAX_URL_LENGTH)) for each in value]
    except Invalid as exc:
        raise invalid("backup_urls", exc.detail, str(exc.context["rule"])) from None
    if len({each.url for each in found}) < len(found):
        raise invalid("backup_urls", "The backup_urls must differ from each other.", "unique")
    return found


def _number_or_none(field: str, most: int, unit: str) -> Callable[[object], int | None]:
    def check(value: object) -> int | None:
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most):
            raise invalid(field, f"The {field} must be a whole number from 1 to {most} {unit}.", "range")
        return value

    return check


def _store(value: object) -> str | None:
    return None if value is None else _one_of("store", Store)(value)


def _one_of(field: str, kind: type[ChannelType] | type[CaptureMode] | type[Store]) -> Callable[[object], str]:
    def check(value: Any) -> str:
        try:
            return kind(value).value
        except ValueError:
            raise invalid(field, f"The {field} must be one of {', '.join(kind)}.", "enum") from None

    return check


RULES: Final[dict[str, Callable[[Any], Any]]] = {
    "name": lambda value: text("name", value, 200),
    "keyname": _keyname,
    "type": _one_of("type", ChannelType),
    "url": lambda value: egress.parse(text("url", value, egress.MAX_URL_LENGTH)),
    "enabled": _truth("enabled"),
    "segment_seconds": _segment_seconds,
    "capture": _one_of("capture", CaptureMode),
    "tags": _tags,
    "country": _country,
    "language": _language,
    "pin": _pin,
    "backup_urls": _backup_urls,
    "tls_verify": _truth("tls_verify"),
    "max_bandwidth": _number_or_none("max_bandwidth", MOST_BANDWIDTH, "bit/s"),
    "store": _store,
    "retention_days": _number_or_none("retention_days", LONGEST_RETENTION, "days"),
    "retention_bytes": _number_or_none("retention_bytes", MOST_BYTES, "bytes"),
}


def checked(
    fields: Mapping[str, Any], *, allow: Iterable[str] = (), resolve: egress.Resolver | None = None
) -> Draft:
    """The fields of a channel, each against its rule; URLs' hosts are looked up, so call it outside transactions.

    Raises:
        Invalid: naming the field and the rule.
        EgressDenied: the URL leads to an address that is not for recording.
    """
    draft = {}
    for field, value in fields.items():
        if field not in RULES:
            raise invalid(field, f"A channel has no field {field!r} that can be set.", "unknown")
        draft[field] = RULES[field](value)
    if "url" in draft:
        egress.check(fields["url"], allow, resolve)
    _check_backups(draft.get("backup_urls", []), list(allow), resolve)
    return draft


def _check_backups(urls: Sequence[egress.StreamUrl], allow: list[str], resolve: egress.Resolver | None) -> None:
    """All at once: each by itself, dead names would hold the caller for as many time-outs."""
    if resolve is None and urls:
        found = egress.resolve_all({url.host for url in urls}, egress.RESOLVE_SECONDS)
        resolve = found.__getitem__
    for url in urls:
        try:
            egress.check(url.url, allow, resolve)
        except EgressDenied as exc:
            raise EgressDenied(exc.detail, field="backup_urls", rule=exc.context["rule"]) from None
