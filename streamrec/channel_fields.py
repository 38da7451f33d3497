"""The fields of a channel and the rule of each, for the API, for imports and for the command line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from streamrec import egress
from streamrec.errors import Invalid
from streamrec.models import CaptureMode, ChannelType

REQUIRED: Final = ("name", "keyname", "type", "url")

Draft = dict[str, Any]  # checked fields; `url` is a StreamUrl

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


def _enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise invalid("enabled", "The field enabled must be true or false.", "type")
    return value


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


def _one_of(field: str, kind: type[ChannelType] | type[CaptureMode]) -> Callable[[object], str]:
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
    "enabled": _enabled,
    "segment_seconds": _segment_seconds,
    "capture": _one_of("capture", CaptureMode),
    "tags": _tags,
    "country": _country,
    "language": _language,
    "pin": _pin,
}


def checked(
    fields: Mapping[str, Any], *, allow: Iterable[str] = (), resolve: egress.Resolver | None = None
) -> Draft:
    """The fields of a channel, each against its rule; a URL's host is looked up, so call it outside transactions.

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
    return draft
