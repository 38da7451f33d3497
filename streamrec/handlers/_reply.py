"""Every answer that a handler may give; the content type is always explicit, so that Connexion never guesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import orjson
from connexion.context import request
from starlette.responses import Response

from streamrec.handlers import _query

Reply = Response


class Json(Response):
    """JSON whose value is still at hand, so that holding it against the contract needs no parsing."""

    media_type = "application/json"

    def __init__(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.value = value
        super().__init__(orjson.dumps(value), status, headers)


def ok(data: Any, *, version: int | str | None = None, status: int = 200) -> Reply:
    """200 with JSON; with a `version` also `ETag`, and 304 if the client holds that version."""
    if version is None:
        return Json(data, status)
    tag = _query.etag(version)
    if _query.is_unchanged(tag):
        return Response(status_code=304, headers={"ETag": tag})
    return Json(data, status, {"ETag": tag})


def created(data: Any, *, location: str, version: int | str | None = None) -> Reply:
    """201 with JSON and `Location`, a path."""
    reply = Json(data, 201, {"Location": location})
    if version is not None:
        reply.headers["ETag"] = _query.etag(version)
    return reply


def accepted(data: Any, *, location: str) -> Reply:
    """202 with JSON and `Location`, the path at which to see how far it is."""
    return Json(data, 202, {"Location": location})


def no_content() -> Reply:
    """204."""
    return Response(status_code=204)


def listed(items: Sequence[Any], *, next_cursor: str | None = None) -> Reply:
    """200 with a JSON array; with `next_cursor` also `Link: rel="next"`, relative, all other parameters kept."""
    reply = Json(items)
    if next_cursor is not None:
        given = parse_qsl(request.url.query, keep_blank_values=True)
        query = urlencode([*((name, value) for name, value in given if name != "cursor"), ("cursor", next_cursor)])
        reply.headers["Link"] = f'<{quote(request.url.path)}?{query}>; rel="next"'
    return reply


def text(content: str | bytes, *, media_type: str, filename: str | None = None, status: int = 200) -> Reply:
    """A document that is not JSON; with a `filename` browsers save it."""
    headers = {} if filename is None else {"Content-Disposition": _attachment(filename)}
    return Response(content, status_code=status, media_type=media_type, headers=headers)


def picture(content: bytes, *, media_type: str, is_lasting: bool = False) -> Reply:
    """A picture; one that `is_lasting` will look the same for ever."""
    kept = "private, max-age=86400" if is_lasting else "no-cache"
    return Response(content, media_type=media_type, headers={"Cache-Control": kept})


def _attachment(filename: str) -> str:
    """RFC 6266 with RFC 8187 for what is not ASCII."""
    plain = filename.encode("ascii", "replace").decode().translate({ord(c): "_" for c in '"\\?\r\n'})
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
