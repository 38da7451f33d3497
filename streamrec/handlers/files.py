"""Stored files: the document's file service, with streamed uploads and downloads by range."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from streamrec import keyset
from streamrec.db import Session
from streamrec.errors import AlreadyStored, Gone
from streamrec.files import catalogue, content, keeping
from streamrec.files.content import Content, Incoming
from streamrec.handlers import _current, _media, _present, _query, _reply, _upload
from streamrec.handlers._listing import Listing
from streamrec.handlers._problems import Refused
from streamrec.handlers._reply import Reply

_SORT_KINDS: dict[str, type] = {"id": int, "size": int, "created_at": datetime}
_HARMLESS: Final = frozenset(
    {
        *(f"audio/{kind}" for kind in ("aac", "flac", "mp4", "mpeg", "ogg", "wav")),
        *(f"image/{kind}" for kind in ("gif", "jpeg", "png", "webp")),
        *(f"video/{kind}" for kind in ("mp2t", "mp4", "webm", "x-matroska")),
    }
)


def _place(row: keyset.Row) -> str:
    return f"/service/fileupload/{row.sha256}"


def list_files(sort: str = "id", limit: int = 100, cursor: str | None = None) -> Reply:
    listing = Listing("files", sort, _SORT_KINDS)
    after = listing.after(cursor)
    with Session.begin() as session:
        page = catalogue.page(session, asker=_current.principal(), sort=sort, after=after, limit=limit)
    return listing.reply(page, _present.stored_file)


async def create_file(body: _upload.Body, file_name: str | None = None) -> Reply:
    owner = _current.principal()
    async with _receiving() as incoming:
        received = await _received(body, incoming)
        label = catalogue.plain_name(body.file_name or file_name, otherwise=received.sha256)
        row = await run_in_threadpool(keeping.keep, incoming, received, file_name=label, owner=owner)
    return _reply.created(_present.stored_file(row), location=_place(row), version=row.version)


async def replace_file_content(file_hash: str, body: _upload.Body, file_name: str | None = None) -> Reply:
    owner = _current.principal()
    async with _receiving() as incoming:
        received = await _received(body, incoming)
        keeping.require_hash(received, file_hash)
        label = catalogue.plain_name(file_name, otherwise=received.sha256)
        try:
            row = await run_in_threadpool(keeping.keep, incoming, received, file_name=label, owner=owner)
        except AlreadyStored:
            row = await run_in_threadpool(_found, received.sha256, owner)
            return _reply.ok(_present.stored_file(row), version=row.version)
    return _reply.created(_present.stored_file(row), location=_place(row), version=row.version)


@asynccontextmanager
async def _receiving() -> AsyncIterator[Incoming]:
    """What touches the disk does so in threads."""
    settings = _current.settings()
    most, spare = settings.max_upload_bytes, settings.disk_low_percent
    opened = partial(Incoming, settings.files_dir, most_bytes=most, spare_percent=spare)
    incoming = await run_in_threadpool(opened)
    try:
        yield incoming
    finally:
        await run_in_threadpool(incoming.close)


async def _received(body: _upload.Body, incoming: Incoming) -> Content:
    async for piece in body.pieces():
        await run_in_threadpool(incoming.write, piece)
    return await run_in_threadpool(incoming.finish)


def _found(file_hash: str, asker: str | None) -> keyset.Row:
    with Session.begin() as session:
        return catalogue.find(session, file_hash, asker)


def get_file(file_hash: str) -> Reply:
    row = _found(file_hash, _current.principal())
    return _reply.ok(_present.stored_file(row), version=row.version)


def replace_file(file_hash: str, body: dict[str, Any]) -> Reply:
    fields = _one_type(body)
    with Session.begin() as session:
        row = catalogue.change(session, file_hash, fields, asker=_current.principal(), guard=_query.require_match)
    return _reply.created(_present.stored_file(row), location=_place(row), version=row.version)


def _one_type(body: dict[str, Any]) -> dict[str, Any]:
    """The body with `type` under that name alone. Raises Refused if its two names say different things."""
    if "type" in body and body.get("file_type", body["type"]) != body["type"]:
        detail = "file_type: is another name of type and must say the same"
        raise Refused(403, "invalid-properties", detail, field="file_type")
    return {"type" if name == "file_type" else name: value for name, value in body.items()}


def delete_file(file_hash: str) -> Reply:
    folder = _current.settings().files_dir
    name = keeping.delete(folder, file_hash, asker=_current.principal(), guard=_query.require_match)
    return _reply.created(f"{name} was deleted.", location="/service/fileupload")


def get_file_content(file_hash: str) -> Reply:
    gone = Gone("The bytes of this file are no longer there.", file_hash=file_hash)
    for _ in range(2):  # between the look at its row and at the file it may have gone to the bucket
        row = _found(file_hash, _current.principal())
        media_type = row.type if row.type in _HARMLESS else "application/octet-stream"
        folder, key = _current.settings().files_dir, content.key(row.sha256)
        if row.fault is None and (reply := _media.kept(row, folder, key, media_type, row.file_name, gone)):
            return reply
    raise gone
