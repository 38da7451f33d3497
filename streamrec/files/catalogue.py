"""The rows of stored files: who owns which content under which name. A hash finds only what its asker may see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec import keyset, recordings
from streamrec.clock import now
from streamrec.errors import AlreadyStored, NotFound
from streamrec.files.content import Content
from streamrec.models import FileContent, Store, StoredFile

Guard = Callable[[int], None]

LONGEST_NAME: Final = 255
_LOCK_SPACE: Final = 0x66696C65  # "file": the first half of an advisory lock's key
_HASHES: Final = {32: FileContent.md5, 40: FileContent.sha1, 64: FileContent.sha256}

_COLUMNS: Final = (
    StoredFile.id,
    StoredFile.file_name,
    StoredFile.type,
    StoredFile.created_at,
    StoredFile.updated_at,
    StoredFile.version,
    FileContent.size_bytes,
    FileContent.md5,
    FileContent.sha1,
    FileContent.sha256,
    FileContent.store,
    FileContent.object_key,
    FileContent.fault,
)
_SORTS: Final[Mapping[str, Any]] = {
    "id": StoredFile.id,
    "file_name": StoredFile.file_name,
    "size": FileContent.size_bytes,
    "created_at": StoredFile.created_at,
}


def plain_name(given: str | None, *, otherwise: str) -> str:
    """A client's file name as a label: without folders of any system, control characters or more than 255 letters.

    It is never used as a path.
    """
    base = PureWindowsPath(PurePosixPath(given or "").name).name
    kept = "".join(letter for letter in base if letter.isprintable()).strip()
    return kept[:LONGEST_NAME] if kept not in {"", ".", ".."} else otherwise


def _visible(statement: keyset.Select, asker: str | None) -> keyset.Select:
    """Only what `asker` (an API key's name) owns or nobody does; the operator of an open API sees all."""
    if asker is None:
        return statement
    return statement.where(sa.or_(StoredFile.owner == asker, StoredFile.owner.is_(None)))


def _select() -> keyset.Select:
    return sa.select(*_COLUMNS).join_from(StoredFile, FileContent)


def page(
    session: Session, *, asker: str | None, sort: str, after: keyset.Position | None, limit: int
) -> keyset.Page:
    """One page of the files that `asker` may see. Raises Invalid."""
    return keyset.page(session, _visible(_select(), asker), columns=_SORTS, sort=sort, after=after, limit=limit)


def find(session: Session, file_hash: str, asker: str | None) -> keyset.Row:
    """The file whose content has this MD5, SHA-1 or SHA-256, in lower-case hexadecimal digits.

    Raises:
        NotFound: there is none, or it is somebody else's: which of the two is not told.
    """
    wanted = _visible(_select().where(_HASHES[len(file_hash)] == file_hash), asker).order_by(StoredFile.id)
    row = session.execute(wanted.limit(1)).first()
    if row is None:
        raise NotFound("There is no file with this hash.", file_hash=file_hash)
    return row


def lock(session: Session, sha256: str) -> None:
    """Until the transaction ends, nobody else places, refers to or removes this content."""
    half = int(sha256[:8], 16) - 2**31
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_SPACE, half)))


def require_new(session: Session, content: Content, asker: str | None) -> None:
    """Let the content pass if `asker` sees no file with any of its hashes.

    Raises:
        AlreadyStored: there is one.
    """
    same = sa.or_(
        FileContent.sha256 == content.sha256, FileContent.sha1 == content.sha1, FileContent.md5 == content.md5
    )
    if session.execute(_visible(_select().where(same), asker).limit(1)).first() is not None:
        raise AlreadyStored("File already exist!", sha256=content.sha256)


def announce(session: Session, content: Content) -> None:
    """Note content that is about to be placed as unwanted, so that a crash before its `add` leaves no orphan."""
    values = {
        "sha256": content.sha256,
        "sha1": content.sha1,
        "md5": content.md5,
        "size_bytes": content.size_bytes,
        "created_at": now(),
        "unwanted_at": now(),
    }
    session.execute(insert(FileContent).values(values).on_conflict_do_nothing())


def add(session: Session, content: Content, *, file_name: str, owner: str | None) -> keyset.Row:
    """A new file over durable content, whose `lock` is held."""
    announce(session, content)  # a sweep may have come in between
    wanted = sa.update(FileContent).where(FileContent.sha256 == content.sha256)
    session.execute(wanted.values(unwanted_at=None))
    made = StoredFile(sha256=content.sha256, file_name=file_name, type=content.media_type, owner=owner)
    session.add(made)
    session.flush()
    return session.execute(_select().where(StoredFile.id == made.id)).one()


def change(
    session: Session, file_hash: str, fields: dict[str, str], *, asker: str | None, guard: Guard | None = None
) -> keyset.Row:
    """Give a file another name or type. Raises NotFound, PreconditionFailed."""
    row = _owned(session, file_hash, asker, guard)
    for name, value in fields.items():
        setattr(row, name, value)
    session.flush()
    return session.execute(_select().where(StoredFile.id == row.id)).one()


def remove(session: Session, file_hash: str, *, asker: str | None, guard: Guard | None = None) -> str:
    """Forget a file; content that no other one refers to becomes unwanted. Its name.

    Raises:
        NotFound, PreconditionFailed.
    """
    row = _owned(session, file_hash, asker, guard)
    lock(session, row.sha256)
    session.delete(row)
    session.flush()
    others = sa.select(StoredFile.id).where(StoredFile.sha256 == row.sha256).limit(1)
    if session.scalar(others) is None:
        unwanted = sa.update(FileContent).where(FileContent.sha256 == row.sha256)
        session.execute(unwanted.values(unwanted_at=now()))
    return row.file_name


def _owned(session: Session, file_hash: str, asker: str | None, guard: Guard | None) -> StoredFile:
    found = find(session, file_hash, asker)
    row = session.get(StoredFile, found.id, with_for_update=True)
    if row is None:
        raise NotFound("There is no file with this hash.", file_hash=file_hash)
    if guard is not None:
        guard(row.version)
    return row


def unwanted(session: Session, *, limit: int) -> list[str]:
    """The SHA-256 of content that nothing refers to any more."""
    marked = sa.select(FileContent.sha256).where(FileContent.unwanted_at.is_not(None))
    return list(session.scalars(marked.order_by(FileContent.unwanted_at).limit(limit)))


def is_unwanted(session: Session, sha256: str) -> bool:
    """Whether it still is, now that its `lock` is held."""
    return session.scalar(sa.select(FileContent.unwanted_at).where(FileContent.sha256 == sha256)) is not None


def is_in_bucket(session: Session, sha256: str) -> bool:
    """Whether the content's bytes are an object, now that its `lock` is held."""
    return session.scalar(sa.select(FileContent.store).where(FileContent.sha256 == sha256)) is Store.S3


def in_bucket(session: Session, names: Sequence[str]) -> list[str]:
    """Those of some SHA-256 whose content is an object."""
    known = sa.select(FileContent.sha256).where(FileContent.sha256.in_(names), FileContent.store == Store.S3)
    return list(session.scalars(known))


def forget(session: Session, sha256: str) -> None:
    """Drop the row of content whose file is gone; an object that there is or may be is garbage from now on."""
    gone = sa.delete(FileContent).where(FileContent.sha256 == sha256)
    for store, name in session.execute(gone.returning(FileContent.store, FileContent.object_key)).all():
        if name is not None:
            after = timedelta() if store is Store.S3 else recordings.LONGEST_UPLOAD
            recordings.discard(session, [name], store=Store.S3, after=after)
