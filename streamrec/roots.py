"""Which folder is the archive of which host: what the database knows, held against the mark in the folder."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamrec.archive import root
from streamrec.archive.files import Tree
from streamrec.archive.root import Identity
from streamrec.clock import now
from streamrec.models import ArchiveRoot, DatabaseIdentity


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
