"""Clips as clients ask for them, make them wait for, and get them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from streamrec import db
from streamrec.archive.pieces import Builder
from streamrec.clips import keeping, making
from streamrec.clock import now
from streamrec.jobworker.work import Attempts
from streamrec.models import Clip, FileFormat, JobKind, OpenFile
from streamrec.settings import Settings
from streamrec.timeline import written
from tests import factories
from tests.clips.archive import Air, on_air
from tests.factories import T0, at
from tests.serving import serving

AIR: dict[str, Air] = {}


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """An API over a channel 1 with six seconds of MP3."""
    with serving(settings.model_copy(update={"auth": "open"})) as client:
        with db.Session.begin() as session:
            channel_id = factories.channel(session, expected_from=T0).id
            factories.capturing(session, channel_id)
            AIR["mp3"] = on_air(session, settings, channel_id, "mp3.mp3")
        yield client


def body(start: float = 1, end: float = 4, **options: Any) -> dict[str, Any]:
    return {"channel_id": 1, "from": written(at(start)), "to": written(at(end)), **options}


def made(client: httpx.Client, settings: Settings, **options: Any) -> dict[str, Any]:
    """A clip that a worker has seen to."""
    asked = client.post("/clip", json=body(**options))
    assert asked.status_code == 202, asked.text
    attempts = Attempts({JobKind.CLIP: lambda work: making.make(settings, work)})
    attempts.perform(UUID(asked.json()["job_id"]), lambda: False)
    found: dict[str, Any] = client.get(asked.headers["Location"]).json()
    return found


def test_a_clip_is_asked_for_and_queued(client: httpx.Client) -> None:
    answer = client.post("/clip", json=body())

    assert answer.status_code == 202
    clip = answer.json()
    assert answer.headers["Location"] == f"/clip/{clip['id']}"
    assert (clip["state"], clip["progress"], clip["result"]) == ("queued", 0, None)
    assert client.get(f"/job/{clip['job_id']}").json()["kind"] == "clip"
    assert client.get(f"/clip/{clip['id']}/media").status_code == 404
    assert client.get(f"/clip/{clip['id']}/manifest").status_code == 404


@pytest.mark.parametrize("what", ["media", "manifest"])
def test_a_clip_that_failed_says_why_it_has_no_file(client: httpx.Client, settings: Settings, what: str) -> None:
    for path in settings.archive_dir.rglob("*.mp3"):
        path.unlink()
    clip = made(client, settings)

    told = client.get(f"/clip/{clip['id']}/{what}")

    assert (told.status_code, clip["state"]) == (404, "failed")
    assert told.json()["detail"] == f"This clip could not be made: {clip['error']}"


def test_a_clip_that_is_done_is_downloaded_by_ranges(client: httpx.Client, settings: Settings) -> None:
    clip = made(client, settings)
    result = clip["result"]

    whole = client.get(result["media"])
    part = client.get(result["media"], headers={"Range": "bytes=10-19", "If-Range": whole.headers["ETag"]})

    assert clip["state"] == "done"
    assert whole.content == AIR["mp3"].between(at(1), at(4))
    assert hashlib.sha256(whole.content).hexdigest() == result["sha256"]
    assert whole.headers["Content-Type"] == "audio/mpeg"
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert client.get(result["media"], headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert client.get(f"/job/{clip['job_id']}").json()["result"] == f"/clip/{clip['id']}"


def test_the_manifest_says_where_a_clip_comes_from(client: httpx.Client, settings: Settings) -> None:
    result = made(client, settings)["result"]

    told = client.get(result["manifest"]).json()

    assert told["sha256"] == result["sha256"]
    listed = {row["id"]: row["sha256"] for row in client.get("/recording").json()}
    assert all(listed[source["id"]] == source["sha256"] for source in told["recordings"])


def test_a_deleted_clip_takes_its_file_along(client: httpx.Client, settings: Settings) -> None:
    clip = made(client, settings)

    assert client.delete(f"/clip/{clip['id']}").status_code == 204

    assert client.get(f"/clip/{clip['id']}").status_code == 404
    assert client.delete(f"/clip/{clip['id']}").status_code == 404
    assert [path for path in settings.clips_dir.rglob("*") if path.is_file()] == []


def test_a_clip_deleted_before_it_was_made_is_not_made(client: httpx.Client, settings: Settings) -> None:
    clip = client.post("/clip", json=body()).json()
    client.delete(f"/clip/{clip['id']}")

    Attempts({JobKind.CLIP: lambda work: making.make(settings, work)}).perform(UUID(clip["job_id"]), lambda: False)

    assert client.get(f"/job/{clip['job_id']}").json()["state"] == "done"
    assert not settings.clips_dir.exists() or not any(settings.clips_dir.iterdir())


def test_clips_whose_time_is_over_go_and_so_do_files_of_nobody(client: httpx.Client, settings: Settings) -> None:
    made(client, settings)
    stray = settings.clips_dir / "2026" / "11" / "stray.mp3.part"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"x")
    os.utime(stray, (1, 1))
    with db.Session.begin() as session:
        session.execute(sa.update(Clip).values(expires_at=T0))

    assert keeping.tidy(settings.clips_dir) == 2

    assert client.get("/clip").json() == []
    assert [path for path in settings.clips_dir.rglob("*") if path.is_file()] == []


def test_clips_are_listed_by_channel_and_state(client: httpx.Client, settings: Settings) -> None:
    done = made(client, settings)
    waiting = client.post("/clip", json=body()).json()

    assert [clip["id"] for clip in client.get("/clip").json()] == [waiting["id"], done["id"]]
    assert [clip["id"] for clip in client.get("/clip", params={"state": "done"}).json()] == [done["id"]]
    assert client.get("/clip", params={"channel_id": 2}).json() == []


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"channel_id": 99}, 404, None),
        ({"start": 4, "end": 1}, 400, "to"),
        ({"start": 100, "end": 200}, 400, "from"),
        ({"end": 100_000}, 400, "from"),
        ({"to": "2100-01-01T00:00:00Z"}, 400, "to"),
        ({"format": "exe"}, 400, "format"),
        ({"gaps": "guess"}, 400, "gaps"),
        ({"exact": "yes"}, 400, "exact"),
        ({"format": "../../etc/passwd"}, 400, "format"),
        ({"start": 1, "end": 9, "gaps": "refuse"}, 409, "gaps"),
    ],
)
def test_a_clip_that_cannot_be_is_refused_by_name(
    client: httpx.Client, changes: dict[str, Any], status: int, field: str | None
) -> None:
    given = body(changes.pop("start", 1), changes.pop("end", 4)) | changes

    answer = client.post("/clip", json=given)

    assert answer.status_code == status, answer.text
    assert answer.json().get("field") == field
    assert client.get("/clip").json() == []
    assert client.get("/job").json() == []


def test_what_is_still_being_written_is_refused_and_not_taken_for_a_gap(client: httpx.Client) -> None:
    with db.Session.begin() as session:
        row = {"channel_id": 1, "run_id": uuid4(), "path": "a.mp3", "format": FileFormat.MP3, "codecs": "mp3"}
        session.add(OpenFile(uuid=uuid4(), start_time=at(5), data=Builder(at(5)).index().encoded(), **row))

    late, early = client.post("/clip", json=body(1, 5.5)), client.post("/clip", json=body(1, 4))

    assert (late.status_code, late.json()["field"], late.json()["rule"]) == (409, "to", "closed")
    assert early.status_code == 202


@pytest.mark.parametrize("gaps", ["skip", "fill", "refuse"])
def test_what_a_file_too_young_for_a_row_will_hold_is_refused_and_not_taken_for_a_gap(
    client: httpx.Client, gaps: str
) -> None:
    latest = (now() - T0).total_seconds()
    with db.Session.begin() as session:
        factories.captured(session, 1, latest - 20, latest - 2)

    answer = client.post("/clip", json=body(latest - 10, latest, gaps=gaps))

    told = answer.json()
    assert (answer.status_code, told["field"], told["rule"]) == (409, "to", "closed")
    assert told["start_time"] == written(at(latest - 2))
    assert client.get("/job").json() == []


def test_an_unknown_clip_is_not_found(client: httpx.Client) -> None:
    for path in (f"/clip/{uuid4()}", f"/clip/{uuid4()}/media", f"/clip/{uuid4()}/manifest"):
        assert client.get(path).status_code == 404
