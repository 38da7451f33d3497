"""Jobs as clients see them."""

from __future__ import annotations

from uuid import uuid4

import httpx

from streamrec import db, jobs
from streamrec.models import JobKind
from streamrec.settings import Settings
from tests.serving import serving


def queued(kind: JobKind = JobKind.CLIP) -> str:
    with db.Session.begin() as session:
        return str(jobs.create(session, kind))


def test_a_job_is_shown_without_what_the_queue_keeps(api: httpx.Client) -> None:
    job_id = queued()

    shown = api.get(f"/job/{job_id}").json()

    assert shown["state"] == "queued"
    assert shown["progress"] == 0
    assert set(shown) == {
        *("id", "kind", "channel_id", "state", "progress", "result", "error"),
        *("created_at", "started_at", "ended_at"),
    }


def test_a_job_that_has_not_changed_is_not_sent_again(api: httpx.Client) -> None:
    path = f"/job/{queued()}"
    tag = api.get(path).headers["ETag"]

    assert api.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_an_unknown_job_is_not_found(api: httpx.Client) -> None:
    assert api.get(f"/job/{uuid4()}").status_code == 404


def test_an_id_that_is_none_is_refused(api: httpx.Client) -> None:
    answer = api.get("/job/17")

    assert answer.status_code == 400
    assert answer.json()["field"] == "job_id"


def test_the_newest_jobs_come_first_and_in_pages(api: httpx.Client) -> None:
    made = [queued() for _ in range(3)]

    first = api.get("/job", params={"limit": 2})
    second = api.get(first.links["next"]["url"])

    assert [job["id"] for job in [*first.json(), *second.json()]] == made[::-1]


def test_jobs_are_filtered(api: httpx.Client) -> None:
    queued(JobKind.CLIP)
    export = queued(JobKind.EXPORT)

    assert [job["id"] for job in api.get("/job", params={"kind": "export"}).json()] == [export]
    assert api.get("/job", params={"state": "done"}).json() == []


def test_jobs_ask_for_a_key_where_one_is_asked_for(settings: Settings) -> None:
    with serving(settings.model_copy(update={"auth": "required"})) as client:
        assert client.get("/job").status_code == 401
        assert client.get("/events").status_code == 401
