"""The bucket as clients meet it: few threads wait for it at once, and none while it is known to be of no use."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Final

from streamrec.archive import places
from streamrec.archive.storage import Storage, StorageAway
from streamrec.settings import Settings

MOST_WAITING: Final = 16  # of the 40 threads that an API worker has for all requests


class Admission:
    """Lets some threads at once to the bucket, and none while `trouble` knows why it would be in vain."""

    def __init__(self, trouble: Callable[[], str | None], *, most: int = MOST_WAITING) -> None:
        self._trouble = trouble
        self._free = threading.BoundedSemaphore(most)

    def bucket(self, settings: Settings) -> Storage:
        """The bucket, hasty and behind this. Raises StorageAway if the settings name none."""
        return _Admitted(places.hasty_bucket(settings), self)

    def require(self) -> None:
        """Raises StorageAway, with the reason, while the bucket is known to be of no use."""
        reason = self._trouble()
        if reason is not None:
            raise StorageAway(reason)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """For a thread that may have to wait. Raises StorageAway at once if too many do."""
        self.require()
        if not self._free.acquire(blocking=False):
            raise StorageAway("The bucket is slow, and as many requests as may are waiting for it already.")
        try:
            yield
        finally:
            self._free.release()


class _Admitted:
    """A store every method of which asks for admission first."""

    def __init__(self, store: Storage, admission: Admission) -> None:
        self._store = store
        self._admission = admission

    def put(self, name: str, data: IO[bytes] | bytes) -> None:
        with self._admission.entered():
            self._store.put(name, data)

    def create(self, name: str, data: bytes) -> None:
        with self._admission.entered():
            self._store.create(name, data)

    def read(self, name: str, start: int, length: int) -> bytes:
        with self._admission.entered():
            return self._store.read(name, start, length)

    def stream(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with self._admission.entered():
            yield from self._store.stream(name, start, end)

    def chunks(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        self._admission.require()
        return self._store.chunks(name, start, end)

    def size(self, name: str) -> int | None:
        with self._admission.entered():
            return self._store.size(name)

    def delete(self, name: str) -> None:
        with self._admission.entered():
            self._store.delete(name)

    def names(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        with self._admission.entered():
            yield from self._store.names(prefix)

    def presigned(self, name: str, lifetime: timedelta) -> str | None:
        with self._admission.entered():
            return self._store.presigned(name, lifetime)
