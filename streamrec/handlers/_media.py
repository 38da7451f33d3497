"""Files of the archive on their way to a client: by ranges, from the event loop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from connexion.context import request
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamrec import roots
from streamrec.archive import files, root
from streamrec.archive.places import Reading
from streamrec.archive.storage import StorageAway
from streamrec.errors import Gone, Lost
from streamrec.handlers import _current, _query
from streamrec.handlers._problems import Refused
from streamrec.keyset import Row
from streamrec.models import Loss, Store

_MOST_RANGES: Final = 8
_RANGES = re.compile(r"\s*bytes\s*=\s*(.*?)\s*", re.ASCII | re.IGNORECASE)
_RANGE = re.compile(r"(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)


def usable(header: str, size: int) -> bool:
    """Whether a `Range` header is to be followed (RFC 9110, 14.2): otherwise the whole file answers it.

    Raises:
        Refused: it is well-formed, but no byte of it exists (416).
    """
    match = _RANGES.fullmatch(header)
    parts = [_RANGE.fullmatch(part.strip()) for part in match[1].split(",")] if match else []
    if not parts or len(parts) > _MOST_RANGES:
        return False
    exists = False
    for part in parts:
        if part is None or (part[1] and part[2] and int(part[2]) < int(part[1])):
            return False
        exists = exists or (int(part[1]) < size if part[1] else int(part[3]) > 0)
    if not exists:
        raise Refused(
            416,
            "range-not-satisfiable",
            f"The file has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
        )
    return True


class ArchiveFile(FileResponse):
    """Starlette's file response, given only such `Range` headers as it understands.

    Its own answers to the others are plain text and refuse what RFC 9110 wants ignored.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = MutableHeaders(scope=scope)
        given = headers.get("range")
        is_current = headers.get("if-range", self.headers["etag"]) == self.headers["etag"]
        assert self.stat_result is not None
        if given is not None and not (is_current and usable(given, self.stat_result.st_size)):
            kept = [
                (name, value) for name, value in scope["headers"] if name.lower() not in {b"range", b"if-range"}
            ]
            scope = {**scope, "headers": kept}
        await super().__call__(scope, receive, send)


PLAYER_POLICY = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""A browser that opens the file shows its own player, a page that asks for the file again and styles itself."""


def located(archive_dir: Path, key: str) -> Path | None:
    """The path of a file of the archive, or None if it is gone or a link stands in the way."""
    try:
        with files.Tree(archive_dir) as tree:
            return archive_dir / key if tree.exists(key) else None
    except OSError:
        return None


def archived(path: Path, *, media_type: str | None, filename: str, version: str) -> Response:
    """A file with `Range`, `If-Range`, `ETag` and HEAD; `version` is its SHA-256."""
    tag = _query.etag(version)
    if _query.is_unchanged(tag):
        return Response(status_code=304, headers={"ETag": tag})
    return ArchiveFile(
        path,
        stat_result=path.stat(),
        media_type=media_type,
        filename=filename,
        content_disposition_type="inline",  # players open it; saving it gives the name
        headers={
            "ETag": tag,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, max-age=0",
            "Content-Security-Policy": PLAYER_POLICY,
        },
    )


_LOST: Final = {
    Loss.MISSING: "The file of this recording is missing in the archive.",
    Loss.ALTERED: "The file of this recording is not what was recorded.",
}


def lost(loss: Loss, *, recording_id: int | None) -> Lost:
    """What a client is told who asks for bytes that cannot be had."""
    return Lost(_LOST[loss], recording_id=recording_id, lost=loss.value)


def require_disk(archive_dir: Path) -> None:
    """Raises StorageAway if the archive's disk is not there: then nothing can be said of what is missing."""
    try:
        with files.Tree(archive_dir, make=False) as tree:
            is_there = root.is_marked(tree)
    except OSError:
        is_there = False
    if not is_there:
        raise StorageAway("The archive's disk is not there.")


def stored(reading: Reading, row: Row, *, media_type: str | None, filename: str, gone: Gone) -> Response:
    """What lies in a bucket: an address there, if the settings allow it, or what `passed_on` gives.

    Raises:
        Gone: the one given, if there is no such object.
        StorageAway.
    """
    tag = _query.etag(row.sha256)
    if _query.is_unchanged(tag):
        return Response(status_code=304, headers={"ETag": tag})
    if reading.settings.media_redirect and request.method != "HEAD" and (address := reading.presigned(row)):
        return RedirectResponse(address, status_code=307, headers={"Cache-Control": "private, max-age=0"})
    return passed_on(reading, row, media_type=media_type, filename=filename, gone=gone)


def passed_on(reading: Reading, row: Row, *, media_type: str | None, filename: str, gone: Gone) -> Response:
    """The bytes of what lies in a bucket, with one `Range`, `If-Range` and HEAD.

    Raises:
        Gone: the one given, if there is no such object in what is our bucket.
        StorageAway.
    """
    tag, is_head = _query.etag(row.sha256), request.method == "HEAD"
    if reading.size(row) is None:
        roots.require_bucket(reading)
        raise gone
    start, end = _span(row.size_bytes, tag)
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "Content-Disposition": _disposition(filename),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=0",
        "Content-Security-Policy": PLAYER_POLICY,
    }
    is_part = end - start < row.size_bytes
    if is_part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size_bytes}"
    content = iter(()) if is_head else reading.chunks(row, start, end)
    return StreamingResponse(content, 206 if is_part else 200, headers=headers, media_type=media_type)


def kept(row: Row, folder: Path, key: str, media_type: str, filename: str, gone: Gone) -> Response | None:
    """What lies in `folder` under `key`, or in the bucket, as `row` says; None if the folder has no such file."""
    if row.store is Store.S3:
        return stored(_current.reading(), row, media_type=media_type, filename=filename, gone=gone)
    path = located(folder, key)
    if path is None:
        return None
    return archived(path, media_type=media_type, filename=filename, version=row.sha256)


def _disposition(filename: str) -> str:
    """As Starlette's file response writes it: any name, and no way out of the header (RFC 6266)."""
    quoted = quote(filename)
    return f'inline; filename="{filename}"' if quoted == filename else f"inline; filename*=utf-8''{quoted}"


def _span(size: int, tag: str) -> tuple[int, int]:
    """The bytes that are asked for; several ranges at once are answered with all of it, as RFC 9110 allows."""
    given = request.headers.get("range")
    if given is None or request.headers.get("if-range", tag) != tag or not usable(given, size):
        return 0, size
    match = _RANGE.fullmatch(given.partition("=")[2].strip())
    if match is None:
        return 0, size
    if match[3]:
        return max(0, size - int(match[3])), size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
