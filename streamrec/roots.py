"""Whose folder and whose bucket it is: what the database knows, held against the marks in them.

A folder or bucket that is not proved to be ours proves nothing about what is missing in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.archive import places, root
from streamrec.archive.files import Tree
from streamrec.archive.places import Reading
from streamrec.archive.root import Identity
from streamrec.archive.storage import Storage, StorageAway
from streamrec.clock import now
from streamrec.errors import Unavailable
from streamrec.models import ArchiveRoot, Clip, DatabaseIdentity, FileContent, Recording, Store
from streamrec.settings import Settings

_MOST: Final = 4096  # bytes of a bucket's mark


def expected(session: Session, tree: Tree, *, host: str) -> Identity:
    """What the mark of this host's archive must say; a folder that the database does not know yet is marked.

    A mark that is there and names another database is not replaced: what comes back is then not what it says.
    """
    database = session.scalars(sa.select(DatabaseIdentity.id)).one()
    known = _known(session, tree, host)
    if known is not None:
        return Identity(known, database)
    here = root.identity(tree) or root.mark(tree, database)
    if here.database == database:
        _note(session, here.root, tree, host)
    return Identity(here.root, database)


def found(tree: Tree) -> Identity | None:
    """What the folder says that it is."""
    return root.identity(tree)


def proved(session: Session, tree: Tree) -> UUID:
    """Which archive of this database the folder is, wherever it is mounted.

    Raises:
        Unavailable: it is none; a disk may not be mounted, or it is another one.
    """
    here = root.identity(tree)
    database = session.scalars(sa.select(DatabaseIdentity.id)).one()
    if here is None or here.database != database or session.get(ArchiveRoot, here.root) is None:
        raise Unavailable(f"The folder {tree.path} is not an archive of this database.")
    return here.root


def is_only(session: Session, root_id: UUID) -> bool:
    """Whether the database knows of no other archive."""
    return session.scalar(sa.select(ArchiveRoot.id).where(ArchiveRoot.id != root_id).limit(1)) is None


def adopt(session: Session, tree: Tree, *, host: str) -> Identity:
    """Take the folder as it is for this host's archive, and mark it so that recorders at work go on there."""
    database = session.scalars(sa.select(DatabaseIdentity.id)).one()
    here = root.identity(tree)
    if here is None or here.database != database:
        here = root.mark(tree, database, _known(session, tree, host))
    session.execute(
        sa.delete(ArchiveRoot).where(ArchiveRoot.host == host, ArchiveRoot.path == str(tree.path.resolve()))
    )
    _note(session, here.root, tree, host)
    return here


def _known(session: Session, tree: Tree, host: str) -> UUID | None:
    statement = sa.select(ArchiveRoot.id).where(
        ArchiveRoot.host == host, ArchiveRoot.path == str(tree.path.resolve())
    )
    return session.scalar(statement)


def _note(session: Session, root_id: UUID, tree: Tree, host: str) -> None:
    """Remember where the archive is; one that has moved, or whose host has another name, is there now."""
    place = {"host": host, "path": str(tree.path.resolve())}
    row = insert(ArchiveRoot).values(id=root_id, created_at=now(), **place)
    session.execute(row.on_conflict_do_update(index_elements=[ArchiveRoot.id], set_=place))


# --- the bucket -------------------------------------------------------------------------------------------


def bucket(settings: Settings) -> Storage:
    """The bucket, proved to be this database's; one that nothing was handed over to yet is marked.

    Opens transactions of its own, because none may be held while the bucket is asked.

    Raises:
        StorageAway: it does not answer, is another database's, or not the one that things were handed over to.
    """
    database, is_marked = _expected()
    store, name = places.bucket(settings), bucket_mark(settings)
    said = _said(store, name)
    if said is None and not is_marked:
        store.put(name, json.dumps({"database": database}).encode())
        said = _said(store, name)
    if said != database:
        raise _not_ours(settings)
    if not is_marked:
        _note_bucket()
    return store


def require_bucket(reading: Reading) -> None:
    """Raises StorageAway if the bucket does not answer or is not this database's; it leaves no mark."""
    database, is_marked = _expected()
    said = _said(reading.bucket(), bucket_mark(reading.settings))
    if said != database and (is_marked or said is not None):
        raise _not_ours(reading.settings)


def missed_in_bucket() -> list[str]:
    """What of which kinds lies in a bucket, as the rows say. Cheap where nothing was ever handed over."""
    stores = {"recordings": Recording.store, "clips": Clip.store, "stored files": FileContent.store}
    with db.Session.begin() as session:
        if session.scalar(sa.select(DatabaseIdentity.bucket_marked_at)) is None:
            return []
        return [
            name
            for name, store in stores.items()
            if session.scalar(sa.select(sa.exists().where(store == Store.S3)))
        ]


@contextmanager
def proving_bucket(reading: Reading) -> Iterator[None]:
    """FileNotFoundError of an object becomes StorageAway if the bucket is not proved to be this database's."""
    try:
        yield
    except FileNotFoundError:
        require_bucket(reading)
        raise


def _expected() -> tuple[str, bool]:
    """Which database the mark must name, and whether there must be one."""
    with db.Session.begin() as session:
        identity = session.scalars(sa.select(DatabaseIdentity)).one()
        return str(identity.id), identity.bucket_marked_at is not None


def _not_ours(settings: Settings) -> StorageAway:
    return StorageAway(
        f"The bucket {settings.s3_bucket} is not this database's: its {root.MARK} is missing or another's."
        " Name the right one, or take it as it is with: ./run.sh root --adopt"
    )


def adopt_bucket(settings: Settings) -> None:
    """Take the bucket as it is for this database's. Raises StorageAway."""
    with db.Session.begin() as session:
        database = session.scalars(sa.select(DatabaseIdentity.id)).one()
    places.bucket(settings).put(bucket_mark(settings), json.dumps({"database": str(database)}).encode())
    _note_bucket()


def bucket_mark(settings: Settings) -> str:
    """The name of the bucket's mark."""
    return settings.s3_prefix + root.MARK


def _said(store: Storage, name: str) -> str | None:
    """Which database the mark names; None if there is no mark, or none that can be read."""
    try:
        return str(json.loads(store.read(name, 0, _MOST))["database"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _note_bucket() -> None:
    with db.Session.begin() as session:
        row = sa.update(DatabaseIdentity).where(DatabaseIdentity.bucket_marked_at.is_(None))
        session.execute(row.values(bucket_marked_at=now()))
