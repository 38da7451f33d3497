"""Recordings that lie in a bucket, as clients get them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from streamrec import db
from streamrec.archive import places
from streamrec.models import Store
from streamrec.settings import Settings
from tests import factories as make
from tests import store as server
from tests.serving import serving

MEDIA = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server.running() as address:
        yield address


def kept(settings: Settings, endpoint: str, *, redirect: bool) -> Settings:
    """Settings of an instance whose bucket holds `MEDIA` as `a.mp3`."""
    found = server.new_bucket(endpoint)
    changed = settings.model_copy(
        update={
            "auth": "open",
            "s3_bucket": found.name,
            "s3_endpoint": found.endpoint,
            "s3_access_key": found.access_key,
            "s3_secret_key": SecretStr(found.secret_key),
            "media_redirect": redirect,
        }
    )
    places.bucket(changed).put("a.mp3", MEDIA)
    return changed


def media() -> str:
    """The path of a recording that lies there."""
    digest = hashlib.sha256(MEDIA).hexdigest()
    with db.Session.begin() as session:
        channel_id = make.channel(session).id
        where = {"store": Store.S3, "object_key": "a.mp3", "size_bytes": len(MEDIA), "sha256": digest}
        return f"/recording/{make.captured(session, channel_id, 0, 60, **where).id}/media"


@pytest.fixture
def streaming(settings: Settings, endpoint: str) -> Iterator[httpx.Client]:
    with serving(kept(settings, endpoint, redirect=False)) as client:
        yield client


def test_clients_are_sent_to_the_bucket(settings: Settings, endpoint: str) -> None:
    with serving(kept(settings, endpoint, redirect=True)) as api:
        path = media()
        answer = api.get(path, follow_redirects=False)
        there = httpx.get(answer.headers["location"], headers={"Range": "bytes=10-19"})

        assert answer.status_code == 307
        assert there.content == MEDIA[10:20]
        assert server.SECRET_KEY not in answer.headers["location"]
        assert api.head(path).headers["content-length"] == str(len(MEDIA))


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        (None, 200, MEDIA),
        ("bytes=0-9", 206, MEDIA[:10]),
        ("bytes=2000-", 206, MEDIA[2000:]),
        ("bytes=-5", 206, MEDIA[-5:]),
        ("bytes=0-1,5-6", 200, MEDIA),
        ("lines=1-2", 200, MEDIA),
    ],
)
def test_the_api_passes_the_bytes_on(
    streaming: httpx.Client, wanted: str | None, status: int, content: bytes
) -> None:
    answer = streaming.get(media(), headers={"Range": wanted} if wanted else {})

    assert (answer.status_code, answer.content) == (status, content)


def test_conditions_hold_there_too(streaming: httpx.Client) -> None:
    path = media()
    tag = streaming.head(path).headers["etag"]

    assert streaming.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert streaming.get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
    assert streaming.get(path, headers={"Range": "bytes=5000-"}).status_code == 416


def test_an_object_that_is_gone_is_gone(settings: Settings, endpoint: str) -> None:
    changed = kept(settings, endpoint, redirect=False)
    places.bucket(changed).delete("a.mp3")
    with serving(changed) as api:
        assert api.get(media()).status_code == 410


def test_a_bucket_that_is_away_is_unavailable(settings: Settings, endpoint: str) -> None:
    changed = kept(settings, endpoint, redirect=False)
    with serving(changed.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})) as api:
        answer = api.get(media())

    assert answer.status_code == 503
    assert server.SECRET_KEY not in answer.text


def test_players_get_pieces_of_it_too(streaming: httpx.Client) -> None:
    digest = hashlib.sha256(MEDIA).hexdigest()
    with db.Session.begin() as session:
        channel_id = make.channel(session).id
        where = {"store": Store.S3, "object_key": "a.mp3", "size_bytes": len(MEDIA), "sha256": digest}
        uuid = make.captured(session, channel_id, 0, 60, **where).uuid

    answer = streaming.get(f"/channel/{channel_id}/media/{uuid}.16.mp3", headers={"Range": "bytes=16-31"})

    assert (answer.status_code, answer.content) == (206, MEDIA[16:32])
