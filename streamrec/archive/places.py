"""Where one recording's bytes are, and how to read them whatever that is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from streamrec.archive import storage
from streamrec.archive.files import Tree
from streamrec.archive.storage import Bucket, Storage, StorageAway
from streamrec.models import Store
from streamrec.settings import Settings

_CHUNK: Final = 1 << 18  # bytes


class Placed(Protocol):
    """A row that says where its bytes are: a Recording, or what was selected of one."""

    @property
    def store(self) -> Store: ...
    @property
    def path(self) -> str: ...
    @property
    def object_key(self) -> str | None: ...


def bucket(settings: Settings, *, is_hasty: bool = False) -> Storage:
    """The bucket of the settings. Raises StorageAway if they name none."""
    if settings.s3_bucket is None:
        raise StorageAway("It lies in a bucket, and the settings name none (s3_bucket).")
    secret = settings.s3_secret_key
    return storage.bucket(
        Bucket(
            settings.s3_bucket,
            settings.s3_endpoint,
            settings.s3_region,
            settings.s3_access_key,
            secret.get_secret_value() if secret else None,
            settings.s3_path_style,
        ),
        is_hasty=is_hasty,
    )


def hasty_bucket(settings: Settings) -> Storage:
    """The bucket of the settings, for who must not wait long. Raises StorageAway if they name none."""
    return bucket(settings, is_hasty=True)


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads an instance's recordings. Its methods raise FileNotFoundError, StorageAway, or OSError as disks do.

    With a `tree`, what lies here is read in that folder, wherever its path may lead meanwhile. `opened` opens
    the bucket; one for what clients wait for gives up sooner.
    """

    settings: Settings
    tree: Tree | None = None
    opened: Callable[[Settings], Storage] = bucket

    def bucket(self) -> Storage:
        """The bucket as this reads it. Raises StorageAway if the settings name none."""
        return self.opened(self.settings)

    def read(self, row: Placed, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on."""
        if row.store is Store.S3:
            return self.bucket().read(_object(row), start, length)
        descriptor = self._opened(row)
        try:
            return os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)

    def stream(self, row: Placed, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes `[start, end)` in chunks."""
        if row.store is Store.S3:
            return self.bucket().stream(_object(row), start, end)
        return _chunks(self._opened(row), start, end)

    def chunks(self, row: Placed, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes `[start, end)` of what lies in the bucket, on the event loop."""
        return self.bucket().chunks(_object(row), start, end)

    def size(self, row: Placed) -> int | None:
        """Bytes; None if it is not there."""
        if row.store is Store.S3:
            return self.bucket().size(_object(row))
        try:
            descriptor = self._opened(row)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _opened(self, row: Placed) -> int:
        if self.tree is not None:
            return self.tree.open(row.path)
        with Tree(self.settings.archive_dir) as tree:
            return tree.open(row.path)

    def presigned(self, row: Placed) -> str | None:
        """An address that opens it for a while; None if it lies here."""
        if row.store is not Store.S3:
            return None
        lifetime = timedelta(seconds=self.settings.media_redirect_seconds)
        return self.bucket().presigned(_object(row), lifetime)


def _object(row: Placed) -> str:
    assert row.object_key is not None, "a row that says s3 names its object"
    return row.object_key


def _chunks(descriptor: int, start: int, end: int | None) -> Iterator[bytes]:
    try:
        while end is None or start < end:
            wanted = _CHUNK if end is None else min(_CHUNK, end - start)
            chunk = os.pread(descriptor, wanted, start)
            if not chunk:
                return
            start += len(chunk)
            yield chunk
    finally:
        os.close(descriptor)
