"""One interface to where recordings may lie, over obstore: a folder, or a bucket of any S3-compatible store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, S3Store

from streamrec.archive.attributes import attributes
from streamrec.errors import Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Config  # there for type checkers only

PART_BYTES: Final = 8 << 20
CONCURRENT_PARTS: Final = 4
CHUNK_BYTES: Final = 1 << 20
LIVE_CHUNK_BYTES: Final = 1 << 16  # so small that a slow bucket is not taken for one that hangs
LONGEST_SIGNATURE: Final = timedelta(days=7)  # of AWS Signature Version 4
PATIENT: Final = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=120)}
HASTY: Final = {
    "connect_timeout": timedelta(seconds=2),
    "read_timeout": timedelta(seconds=5),  # up to the first byte, and from one to the next
    "timeout": timedelta(days=1),  # of an answer as a whole: its reader may be slow
}


class StorageAway(Unavailable):
    """The store does not answer, or refuses; the text says which, and no address or credential."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is, and with what it is opened."""

    name: str
    endpoint: str | None = None  # AWS itself if there is none
    region: str = "us-east-1"
    access_key: str | None = None  # the AWS_* variables or the machine's role if there is none
    secret_key: str | None = None
    is_path_style: bool = True

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"


class Storage(Protocol):
    """Named bytes. Every method raises StorageAway if the store cannot be asked."""

    def put(self, name: str, data: IO[bytes] | bytes) -> None:
        """Write, in parts if it is large: it is there whole or not at all, and a bucket says what it is."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Write what is not there yet. Raises FileExistsError."""
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on. Raises FileNotFoundError."""
        ...

    def stream(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes `[start, end)` in chunks. Raises FileNotFoundError with the first."""
        ...

    def chunks(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """As `stream`, on the event loop: whoever waits holds no thread. There must be bytes `[start, end)`."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes; None if it is not there."""
        ...

    def delete(self, name: str) -> None:
        """Remove it; nothing happens if it was not there."""
        ...

    def names(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Names below a prefix, which ends where a part of a name ends, and their sizes."""
        ...

    def presigned(self, name: str, lifetime: timedelta) -> str | None:
        """An address that opens it without credentials for a time; None if the store has no such thing."""
        ...


class _Objects:
    """The interface over a store of obstore."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, name: str, data: IO[bytes] | bytes) -> None:
        told = attributes(name) if isinstance(self._store, S3Store) else None
        with _told():
            obstore.put(
                self._store,
                name,
                data,
                attributes=told,
                chunk_size=PART_BYTES,
                max_concurrency=CONCURRENT_PARTS,
            )

    def create(self, name: str, data: bytes) -> None:
        with _told():
            obstore.put(self._store, name, data, mode="create")

    def read(self, name: str, start: int, length: int) -> bytes:
        if length <= 0 or start >= self._size(name):
            return b""
        with _told():
            return bytes(obstore.get_range(self._store, name, start=start, length=length))

    def stream(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        size = self._size(name)
        until = size if end is None else min(end, size)
        if start >= until:
            return
        with _told():
            for chunk in obstore.get(self._store, name, options={"range": (start, until)}).stream(CHUNK_BYTES):
                yield bytes(chunk)

    async def chunks(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        with _told():
            found = await obstore.get_async(self._store, name, options={"range": (start, end)})
            async for chunk in found.stream(LIVE_CHUNK_BYTES):
                yield bytes(chunk)

    def size(self, name: str) -> int | None:
        try:
            return self._size(name)
        except FileNotFoundError:
            return None

    def _size(self, name: str) -> int:
        with _told():
            return int(obstore.head(self._store, name)["size"])

    def delete(self, name: str) -> None:
        try:
            with _told():
                obstore.delete(self._store, name)
        except FileNotFoundError:
            return

    def names(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        with _told():
            for batch in obstore.list(self._store, prefix=prefix or None):
                for found in batch:
                    yield found["path"], found["size"]

    def presigned(self, name: str, lifetime: timedelta) -> str | None:
        if not isinstance(self._store, S3Store):
            return None
        with _told():
            return obstore.sign(self._store, "GET", name, min(lifetime, LONGEST_SIGNATURE))


def folder(path: Path) -> Storage:
    """A folder, made if it is missing."""
    return _Objects(LocalStore(path, mkdir=True, automatic_cleanup=True))


@lru_cache(maxsize=8)
def bucket(where: Bucket, *, is_hasty: bool = False) -> Storage:
    """A bucket. What is sent has a SHA-256 that the store checks. Connections are kept between calls.

    A hasty one gives up after seconds where nothing comes: it is for what clients wait for.
    """
    store = S3Store(
        where.name,
        region=where.region,
        virtual_hosted_style_request=not where.is_path_style,
        checksum_algorithm="SHA256",
        client_options=_client(where, HASTY if is_hasty else PATIENT),
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=1 if is_hasty else 20)},
        config=_given(where),
    )
    return _Objects(store)


def _client(where: Bucket, patience: dict[str, timedelta]) -> Any:  # obstore's types lack read_timeout
    return {"allow_http": bool(where.endpoint and where.endpoint.startswith("http://")), **patience}


def _given(where: Bucket) -> S3Config:
    """What is not given is left to the environment."""
    config: S3Config = {}
    if where.endpoint is not None:
        config["endpoint"] = where.endpoint
    if where.access_key is not None and where.secret_key is not None:
        config["access_key_id"], config["secret_access_key"] = where.access_key, where.secret_key
    return config


@contextmanager
def _told() -> Iterator[None]:
    """obstore's errors in our words; its texts may hold addresses and are not passed on."""
    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError("There is no such object.") from error
    except AlreadyExistsError as error:
        raise FileExistsError("There is such an object already.") from error
    except BaseError as error:
        raise StorageAway(
            f"The bucket is away: it does not answer, or refuses ({type(error).__name__})."
        ) from error
