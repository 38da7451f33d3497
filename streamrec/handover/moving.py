"""How anything moves from its folder to the bucket; docs/design/storage.md has the steps H1 to H6.

Every step may be repeated: a hand-over that dies is gone on with by the next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any, Final, NamedTuple, Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session as OrmSession

from streamrec import recordings, roots
from streamrec.archive.files import Tree
from streamrec.archive.storage import Storage, StorageAway
from streamrec.db import Session
from streamrec.models import Store
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.handover")

BATCH: Final = 64
SPOILED: Final = "has another SHA-256, and was not handed over"
MOST_ERRORS: Final = 2 * BATCH  # a disk that reads nothing is not asked for everything
_CHUNK: Final = 1 << 20  # bytes
_UNSYNCHRONIZED: Final = {"synchronize_session": False}


class Parcel(NamedTuple):
    """One file that is to move, as its row says."""

    id: Any
    path: str  # below its folder
    object_key: str | None  # where it may lie in the bucket already
    size_bytes: int
    sha256: str


class Goods(Protocol):
    """One kind of what moves. Its methods open their own transactions, and none of them touches the bucket."""

    @property
    def name(self) -> str:
        """In the singular, for logs."""
        ...

    def batch(self, settings: Settings, after: Any) -> Sequence[Parcel]:
        """Up to BATCH of what waits, in order of their ids, from behind `after` on; None: from the beginning."""
        ...

    def object_name(self, settings: Settings, parcel: Parcel) -> str:
        """What it is to be called in the bucket; never what anything else was or will be called there."""
        ...

    def announce(self, parcel: Parcel, name: str) -> bool:
        """H1: whoever deletes it from now on has the object removed too. False if it is gone already."""
        ...

    def settle(self, parcel: Parcel, name: str) -> bool:
        """H5: the row says that the object is it; or, if the row is gone, the object is garbage."""
        ...

    def clear(self, settings: Settings, tree: Tree, parcel: Parcel) -> None:
        """H6: the file goes. What a crash leaves of it is swept."""
        ...

    def tell_spoiled(self, parcel: Parcel) -> None:
        """H2: the file is not what its row says, and stays."""
        ...


def run(settings: Settings, goods: Goods, tree: Tree) -> int:
    """Move everything that waits and lies in this folder; how many files moved.

    Raises:
        StorageAway: the bucket does not answer, or is another's; what had not moved waits.
        OSError: some files could not be read, and wait; all others have moved, unless they were many.
    """
    moved, after, round_ = 0, None, _Round(settings, goods, tree)
    with _threads(settings.handover_files) as uploads:
        while len(round_.errors) < MOST_ERRORS and (parcels := goods.batch(settings, after)):
            after = parcels[-1].id
            here = [parcel for parcel in parcels if round_.is_here(parcel)]
            if here:
                moved += sum(uploads.imap(partial(round_.move, roots.bucket(settings)), here))
    if round_.errors:
        raise round_.errors[0]
    return moved


@dataclass(frozen=True, slots=True)
class _Round:
    """One walk over what waits: a file that cannot be read keeps nothing from the others."""

    settings: Settings
    goods: Goods
    tree: Tree
    errors: list[OSError] = field(default_factory=list)

    def is_here(self, parcel: Parcel) -> bool:
        """Whether it lies in this folder, and can be had."""
        with self._skipping(parcel):
            return self.tree.exists(parcel.path)
        return False

    def move(self, bucket: Storage, parcel: Parcel) -> bool:
        """All the steps for one file; whether it lies in the bucket now."""
        with self._skipping(parcel):
            return move(self.settings, self.goods, self.tree, bucket, parcel)
        return False

    @contextmanager
    def _skipping(self, parcel: Parcel) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = {"goods": self.goods.name, "id": str(parcel.id), "path": parcel.path}
            log.warning("a file could not be handed over; it waits", **what, error=error.strerror or str(error))
            self.errors.append(error)


@contextmanager
def _threads(count: int) -> Iterator[ThreadPool]:
    """Threads that are waited for here, but not by a process that ends: an upload may hang for minutes."""
    pool = ThreadPool(count)
    try:
        yield pool
    finally:
        pool.close()
        pool.join()


def move(settings: Settings, goods: Goods, tree: Tree, bucket: Storage, parcel: Parcel) -> bool:
    """All the steps for one file; whether it lies in the bucket now."""
    name = parcel.object_key or goods.object_name(settings, parcel)
    if parcel.object_key is None and not goods.announce(parcel, name):
        return False
    if not upload(goods, tree, bucket, parcel, name):
        return False
    is_there = goods.settle(parcel, name)
    goods.clear(settings, tree, parcel)
    log.debug("handed over", goods=goods.name, id=str(parcel.id), size_bytes=parcel.size_bytes)
    return is_there


def upload(goods: Goods, tree: Tree, bucket: Storage, parcel: Parcel, name: str) -> bool:
    """H2 to H4: only bytes that are the row's go up, and only an object of their size counts."""
    try:
        descriptor = tree.open(parcel.path)
    except FileNotFoundError:
        return False  # another process has moved it, or it was deleted
    with os.fdopen(descriptor, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != parcel.sha256:
            goods.tell_spoiled(parcel)
            return False
        file.seek(0)
        bucket.put(name, file)
    if bucket.size(name) != parcel.size_bytes:
        raise StorageAway("The bucket holds another number of bytes than it was sent.")
    return True


def was_changed(session: OrmSession, statement: sa.Update) -> bool:
    """Whether there was a row to change."""
    result: Any = session.execute(statement, execution_options=_UNSYNCHRONIZED)
    return bool(result.rowcount)


# --- objects that nothing names any more ------------------------------------------------------------------


def sweep(settings: Settings) -> int:
    """Remove the objects whose rows are gone; how many. Raises StorageAway."""
    if settings.s3_bucket is None:
        return 0
    removed = 0
    while names := _noted():
        bucket = roots.bucket(settings)
        for name in names:
            bucket.delete(name)
        with Session.begin() as session:
            recordings.forget(session, names, store=Store.S3)
        removed += len(names)
    return removed


def _noted() -> list[str]:
    with Session.begin() as session:
        return recordings.garbage(session, store=Store.S3)
