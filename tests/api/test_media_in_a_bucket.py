"""Recordings that lie in a bucket, as clients get them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from streamrec import db, roots
from streamrec.archive import places
from streamrec.clock import now
from streamrec.handover import moving
from streamrec.models import FileFormat, Recording, Store
from streamrec.settings import Settings
from streamrec.timeshift import access
from streamrec.timeshift.access import Access
from tests import factories as make
from tests import store as server
from tests.goods import World, kept_in
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
        assert there.headers["content-type"] == "audio/mpeg"
        assert there.headers["content-disposition"] == 'attachment; filename="a.mp3"'
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


# --- entries of playlists ---------------------------------------------------------------------------------


def entry() -> str:
    """The address of a piece of a recording that lies there."""
    digest = hashlib.sha256(MEDIA).hexdigest()
    with db.Session.begin() as session:
        channel_id = make.channel(session).id
        where = {"store": Store.S3, "object_key": "a.mp3", "size_bytes": len(MEDIA), "sha256": digest}
        uuid = make.captured(session, channel_id, 0, 60, **where).uuid
    return f"/channel/{channel_id}/media/{uuid}.16.mp3"


@pytest.mark.parametrize("redirect", [True, False])
def test_players_get_pieces_of_it_and_are_sent_nowhere_else(
    settings: Settings, endpoint: str, redirect: bool
) -> None:
    with serving(kept(settings, endpoint, redirect=redirect)) as api:
        answer = api.get(entry(), headers={"Range": "bytes=16-31"}, follow_redirects=False)

    assert (answer.status_code, answer.content) == (206, MEDIA[16:32])
    assert answer.headers["content-type"] == "audio/mpeg"


def test_a_link_opens_pieces_of_it_too(settings: Settings, endpoint: str) -> None:
    changed = kept(settings, endpoint, redirect=True).model_copy(update={"auth": "required"})
    with serving(changed) as api:
        path = entry()
        opened = Access(int(path.split("/")[2]), make.at(0), make.at(60), now() + timedelta(hours=1))
        told = {"access": access.signed(opened, access.key_of(changed))}
        answer = api.get(path, params=told, headers={"Range": "bytes=16-31"}, follow_redirects=False)
        without = api.get(path, follow_redirects=False)

    assert (answer.status_code, answer.content) == (206, MEDIA[16:32])
    assert without.status_code == 401


# --- clips and stored files -------------------------------------------------------------------------------


def placed(settings: Settings, kind: str) -> str:
    """The path of something's bytes, which were handed over."""
    world = World(settings, kind)
    if kind != "content":
        thing = world.put(MEDIA)
        path = f"/{kind}/{thing}/media"
    else:
        thing = world.store_file(MEDIA, owner=None, name='jingle "ü".mp3\r\nX-Evil: 1')
        path = f"/service/fileupload/{thing}/content"
    assert world.hand_over() == 1
    return path


@pytest.mark.parametrize("kind", ["clip", "content"])
def test_clips_and_files_are_sent_from_the_bucket(settings: Settings, endpoint: str, kind: str) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open", media_redirect=True)
    with serving(changed) as api:
        path = placed(changed, kind)
        answer = api.get(path, follow_redirects=False)

        assert (answer.status_code, httpx.get(answer.headers["location"]).content) == (307, MEDIA)
        assert server.SECRET_KEY not in answer.headers["location"]
        assert api.head(path).headers["content-length"] == str(len(MEDIA))


@pytest.mark.parametrize("kind", ["clip", "content"])
def test_or_passed_on_with_ranges_and_under_any_name(settings: Settings, endpoint: str, kind: str) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open", media_redirect=False)
    with serving(changed) as api:
        path = placed(changed, kind)
        whole, part = api.get(path), api.get(path, headers={"Range": "bytes=10-19"})
        same = api.get(path, headers={"If-None-Match": whole.headers["etag"]})

    assert (whole.status_code, whole.content, part.status_code, part.content) == (200, MEDIA, 206, MEDIA[10:20])
    assert same.status_code == 304
    assert "x-evil" not in whole.headers
    assert whole.headers["content-disposition"].isascii()


KINDS = pytest.mark.parametrize("kind", ["recording", "clip", "content"])


@KINDS
def test_what_is_missing_in_our_bucket_is_gone(settings: Settings, endpoint: str, kind: str) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open", media_redirect=False)
    with serving(changed) as api:
        path = placed(changed, kind)
        for name in set(objects(changed)) - {roots.bucket_mark(changed)}:
            places.bucket(changed).delete(name)

        assert api.get(path).status_code == 410


@KINDS
@pytest.mark.parametrize("fault", ["away", "another", "emptied"])
def test_in_a_bucket_that_is_not_proved_ours_nothing_is_gone(
    settings: Settings, endpoint: str, kind: str, fault: str
) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open", media_redirect=False)
    with serving(changed):
        path = placed(changed, kind)
    with serving(not_ours(changed, endpoint, fault)) as api:
        answer = api.get(path)

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:streamrec:problem:storage-away")


@KINDS
@pytest.mark.parametrize("fault", ["away", "another", "emptied"])
def test_nobody_is_sent_to_a_bucket_that_is_known_not_to_be_of_use(
    settings: Settings, endpoint: str, kind: str, fault: str
) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open", media_redirect=True)
    with serving(changed):
        path = placed(changed, kind)
    with serving(not_ours(changed, endpoint, fault)) as api:
        reason = looked_at(api)["bucket"]["detail"]
        answer = api.get(path, follow_redirects=False)

    assert (answer.status_code, answer.json()["detail"]) == (503, reason)
    assert "retry-after" in answer.headers


def test_neither_is_a_picture_of_what_lies_there(settings: Settings, endpoint: str) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open")
    with serving(changed) as api:
        placed(changed, "recording")
        with db.Session.begin() as session:
            row = session.scalars(sa.select(Recording)).one()
            row.format, row.codecs = FileFormat.TS, "h264"
            channel_id, at = row.channel_id, row.start_time.isoformat()
        not_ours(changed, endpoint, "emptied")
        answer = api.get(f"/channel/{channel_id}/thumbnail", params={"at": at})
        strip = api.get(f"/channel/{channel_id}/thumbnails", params={"from": at, "to": make.at(1).isoformat()})

    assert [each.status_code for each in (answer, strip)] == [503, 503]


@pytest.mark.parametrize("fault", ["away", "another", "emptied"])
def test_health_is_degraded_while_the_bucket_is_not_proved_ours(
    settings: Settings, endpoint: str, fault: str
) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open")
    with serving(changed):
        placed(changed, "recording")
        recording_is_on()
    with serving(not_ours(changed, endpoint, fault)) as api:
        found = looked_at(api)

    assert (found["status"], found["bucket"]["ok"], found["ready"]) == ("degraded", False, True)


def test_health_is_ok_with_a_bucket_that_nothing_was_handed_over_to_yet(settings: Settings, endpoint: str) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open")
    with serving(changed):
        recording_is_on()
    with serving(changed) as api:
        found = looked_at(api)

    assert (found["status"], found["bucket"]["ok"], objects(changed)) == ("ok", True, [])


@KINDS
def test_health_is_degraded_if_things_lie_in_a_bucket_that_the_settings_no_longer_name(
    settings: Settings, endpoint: str, kind: str
) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open")
    with serving(changed):
        path = placed(changed, kind)
        recording_is_on()
    with serving(settings.model_copy(update={"auth": "open"})) as api:
        found = looked_at(api)
        answer = api.get(path, follow_redirects=False)

    names = {"recording": "recordings", "clip": "clips", "content": "stored files"}
    detail = f"The settings name none (s3_bucket), and there are things in it: {names[kind]}."
    assert (found["status"], found["bucket"]["ok"], found["bucket"]["detail"]) == ("degraded", False, detail)
    assert (answer.status_code, "the settings name none (s3_bucket)" in answer.json()["detail"]) == (503, True)


def recording_is_on() -> None:
    """Without a recorder at work health is degraded anyway."""
    with db.Session.begin() as session:
        make.capturing(session, make.channel(session, keyname="gr-rstpk-2", url="http://example.org/2").id)


def looked_at(api: httpx.Client) -> dict[str, Any]:
    """Health once the bucket was looked at."""
    deadline = time.monotonic() + 60
    while (found := api.get("/health").json())["bucket"] is None:
        assert time.monotonic() < deadline, "nobody looks at the bucket"
    return dict(found)


def objects(settings: Settings) -> list[str]:
    return [name for name, _ in places.bucket(settings).names()]


def not_ours(settings: Settings, endpoint: str, fault: str) -> Settings:
    """Settings with which the bucket is away, another one, or has lost what was in it."""
    if fault == "away":
        return settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
    if fault == "another":
        return settings.model_copy(update={"s3_bucket": server.new_bucket(endpoint).name})
    for name in objects(settings):
        places.bucket(settings).delete(name)
    return settings


@pytest.mark.parametrize("kind", ["clip", "content"])
def test_who_deletes_one_has_the_object_removed(settings: Settings, endpoint: str, kind: str) -> None:
    changed = kept_in(settings, server.new_bucket(endpoint), auth="open")
    with serving(changed) as api:
        path = placed(changed, kind)
        assert api.get(path.rpartition("/")[0]).status_code == 200
        assert api.delete(path.rpartition("/")[0]).status_code in {201, 204}
        assert moving.sweep(changed) == 1

        assert [name for name, _ in places.bucket(changed).names()] == [roots.bucket_mark(changed)]
