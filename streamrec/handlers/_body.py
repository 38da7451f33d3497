"""Request bodies: JSON read strictly. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from streamrec.errors import Invalid

MOST_LEVELS = 64


class _Twice(ValueError):
    """An object holds a key twice."""


def json_value(body: bytes) -> Any:
    """The value of a JSON text (RFC 8259) that every parser understands alike.

    Refused beyond the grammar: bytes that are no UTF-8, lone surrogates, a key given twice, more than 64 levels,
    and the NUL character, which PostgreSQL cannot keep.

    Raises:
        Invalid: it is no such text; says what is wrong, and where.
    """
    try:
        value = orjson.loads(body)
        if b'"' in body:
            json.loads(body, object_pairs_hook=_unique)
    except _Twice as exc:
        raise Invalid(f"{exc}: is given twice", field=str(exc)) from exc
    except RecursionError as exc:
        raise Invalid(f"body: must not be nested deeper than {MOST_LEVELS} levels", field="body") from exc
    except ValueError as exc:  # orjson's and json's errors are ValueErrors; so is an integer of too many digits
        raise Invalid(f"body: must be JSON in UTF-8 ({_reason(exc)})", field="body") from exc
    _refuse_deep(value)
    if b"\\u0000" in body:
        _refuse_nul(value)
    return value


def _reason(exc: ValueError) -> str:
    """The parser's own words, which never quote the text."""
    return str(exc).split("\n", 1)[0][:150]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1)[:100])
    return found


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return
    raise Invalid(f"body: must not be nested deeper than {MOST_LEVELS} levels", field="body")


def _inside(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value)


def _refuse_nul(value: Any, path: str = "") -> None:
    if isinstance(value, str) and "\0" in value:
        raise Invalid(f"{path or 'body'}: must not contain the NUL character", field=path or "body")
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_nul(name, "body")
            _refuse_nul(inner, f"{path}.{name}" if path else name)
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_nul(inner, f"{path}[{index}]")
