"""What every store of recordings does, whether it is a folder or a bucket."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from streamrec.archive import storage
from streamrec.archive.storage import Bucket, Storage, StorageAway
from tests import store as server

NAME = "gr-rstpk-1/2026/11/21/20261121T120000.000Z-0123456789ab-1.mp3"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, endpoint: str, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return storage.folder(tmp_path / "archive")
    return storage.bucket(server.new_bucket(endpoint))


def test_what_is_put_is_read(store: Storage) -> None:
    store.put(NAME, b"0123456789")

    assert store.size(NAME) == 10
    assert b"".join(store.stream(NAME)) == b"0123456789"


def test_a_file_of_many_parts_arrives_whole(store: Storage) -> None:
    data = bytes(range(256)) * (storage.PART_BYTES // 100)
    store.put(NAME, io.BytesIO(data))

    assert store.size(NAME) == len(data)
    assert b"".join(store.stream(NAME)) == data


def test_putting_again_replaces(store: Storage) -> None:
    store.put(NAME, b"first")
    store.put(NAME, b"second")

    assert store.read(NAME, 0, 100) == b"second"


def test_creating_never_replaces(store: Storage) -> None:
    store.create(NAME, b"first")
    with pytest.raises(FileExistsError):
        store.create(NAME, b"second")

    assert store.read(NAME, 0, 100) == b"first"


@pytest.mark.parametrize(
    ("start", "length", "expected"), [(0, 3, b"012"), (7, 3, b"789"), (7, 100, b"789"), (10, 1, b""), (3, 0, b"")]
)
def test_a_range_is_read_as_far_as_there_is_one(store: Storage, start: int, length: int, expected: bytes) -> None:
    store.put(NAME, b"0123456789")

    assert store.read(NAME, start, length) == expected
    assert b"".join(store.stream(NAME, start, start + length)) == expected


def test_chunks_for_the_event_loop_are_the_bytes_asked_for(store: Storage) -> None:
    data = bytes(range(256)) * 1000
    store.put(NAME, data)
    got: list[bytes] = []
    asyncio.run(_gathered(store.chunks(NAME, 5, 200_005), got))

    assert b"".join(got) == data[5:200_005]


def test_what_is_not_there_is_not_found(store: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        store.read(NAME, 0, 1)
    with pytest.raises(FileNotFoundError):
        next(store.stream(NAME))
    assert store.size(NAME) is None


def test_deleting_twice_is_deleting_once(store: Storage) -> None:
    store.put(NAME, b"x")
    store.delete(NAME)
    store.delete(NAME)

    assert store.size(NAME) is None


def test_names_are_listed_below_a_prefix(store: Storage) -> None:
    for name in ("a/1.mp3", "a/b/2.mp3", "c/3.mp3"):
        store.put(name, b"xy")

    assert sorted(store.names("a")) == [("a/1.mp3", 2), ("a/b/2.mp3", 2)]
    assert len(list(store.names())) == 3


def test_only_a_bucket_gives_addresses_away(store: Storage) -> None:
    """They open the object, with ranges, to whoever has them; a folder's files are served by the API."""
    store.put(NAME, b"0123456789")
    address = store.presigned(NAME, timedelta(minutes=5))

    if address is not None:
        assert httpx.get(address, headers={"Range": "bytes=2-4"}).content == b"234"
        assert server.SECRET_KEY not in address


@pytest.mark.parametrize(
    ("name", "kind"), [("f/one.ts", "video/mp2t"), ("f/0123abcd", "application/octet-stream")]
)
@pytest.mark.parametrize("size", [10, 3 * storage.PART_BYTES])
def test_a_bucket_says_what_an_object_is_and_what_it_may_be_called(
    store: Storage, name: str, kind: str, size: int
) -> None:
    """Also one of many parts; what somebody uploaded is never a page of the bucket's."""
    store.put(name, bytes(size))
    address = store.presigned(name, timedelta(minutes=5))

    if address is not None:
        told = httpx.get(address).headers
        assert told["content-type"] == kind
        assert told["content-disposition"] == f'attachment; filename="{name[2:]}"'


def test_a_store_that_is_away_says_so_without_its_secrets() -> None:
    away = Bucket("b", "http://127.0.0.1:1", access_key=server.ACCESS_KEY, secret_key=server.SECRET_KEY)
    with pytest.raises(StorageAway) as refused:
        storage.bucket(away).put(NAME, b"x")

    said = f"{refused.value.detail} {away!r}"
    assert server.SECRET_KEY not in said
    assert "127.0.0.1" not in said


def test_a_hasty_bucket_that_hangs_is_soon_away() -> None:
    with server.hanging() as address:
        hasty = storage.bucket(_bucket_at(address), is_hasty=True)
        began = time.monotonic()
        with pytest.raises(StorageAway):
            hasty.size(NAME)

    assert time.monotonic() - began < 15


def test_an_answer_that_stalls_ends_after_what_came() -> None:
    with server.stalling(b"0123") as address:
        chunks = storage.bucket(_bucket_at(address), is_hasty=True).chunks(NAME, 0, 10)
        got: list[bytes] = []
        with pytest.raises(StorageAway):
            asyncio.run(_gathered(chunks, got))

    assert b"".join(got) in {b"", b"0123"}


def _bucket_at(address: str) -> Bucket:
    return Bucket("b", address, access_key=server.ACCESS_KEY, secret_key=server.SECRET_KEY)


async def _gathered(chunks: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in chunks:
        into.append(chunk)
