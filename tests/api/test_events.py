"""Events as clients hear them: a real server, a real database, real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from streamrec import db, events, jobs, losses
from streamrec.archive.looking import Fault
from streamrec.models import CaptureState, CoverageKind, GapReason, JobKind, Loss
from streamrec.settings import Settings
from tests import factories
from tests.factories import channel
from tests.serving import serving

Heard = dict[str, Any]


@contextmanager
def listening(client: httpx.Client, **options: Any) -> Iterator[Iterator[Heard]]:
    """The events of a stream, once it has begun."""
    with client.stream("GET", "/events", **options) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        yield heard(lines)


def heard(lines: Iterator[str]) -> Iterator[Heard]:
    event: Heard = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and event:
            yield event
            event = {}
        elif name in {"id", "event"}:
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)


def queued(channel_id: int | None = None) -> str:
    with db.Session.begin() as session:
        return str(jobs.create(session, JobKind.CLIP, channel_id=channel_id))


def made_channel(**changes: Any) -> int:
    with db.Session.begin() as session:
        return channel(session, **changes).id


def until_heard(client: httpx.Client) -> None:
    """The process listens to the database a moment after it has begun to serve."""
    with listening(client, params={"type": "job"}) as stream:
        deadline = time.monotonic() + 20
        while True:
            queued()
            with db.Session.begin() as session:
                found = session.scalar(
                    sa.text(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'streamrec-events' "
                        "AND query LIKE 'LISTEN%' AND datname = current_database()"
                    )
                )
            if found:
                queued()
                next(stream)
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_job_is_heard_of_when_its_transaction_commits(api: httpx.Client) -> None:
    until_heard(api)
    with listening(api, params={"type": "job"}) as stream:
        job_id = queued()
        first = next(stream)
        with db.Session.begin() as session:
            jobs.begin(session, first["data"]["id"])
        second = next(stream)

    assert first["event"] == "job"
    assert first["data"].items() >= {"type": "job", "id": job_id, "kind": "clip", "state": "queued"}.items()
    assert second["data"]["state"] == "running"
    assert int(second["id"]) > int(first["id"])


def test_captures_titles_gaps_and_recordings_are_heard_of(api: httpx.Client) -> None:
    until_heard(api)
    channel_id = made_channel()
    with listening(api, params={"channel_id": channel_id}) as stream:
        with db.Session.begin() as session:
            factories.capturing(session, channel_id, CaptureState.RUNNING)
            factories.captured(session, channel_id, 0, 60)
            factories.covered(session, channel_id, 60, 70, CoverageKind.GAP, GapReason.STALLED)
        found = {event["event"]: event["data"] for event in [next(stream) for _ in range(4)]}

    assert found["capture"]["state"] == "running"
    assert found["title"]["title"] == "Artist - <b>Song</b>"
    assert found["recording"]["end_time"] == "2026-11-01T12:01:00.000Z"
    assert found["gap"]["reason"] == "stalled"


def test_a_recording_that_is_lost_and_found_is_heard_of(api: httpx.Client) -> None:
    until_heard(api)
    channel_id = made_channel()
    with listening(api, params={"channel_id": channel_id, "type": "recording"}) as stream:
        with db.Session.begin() as session:
            row = factories.captured(session, channel_id, 0, 60)
        with db.Session.begin() as session:
            losses.note(session, row, Fault(Loss.MISSING, "missing"))
        with db.Session.begin() as session:
            losses.found_right(session, row)
        found = [next(stream)["data"] for _ in range(3)]

    assert [(each["id"], each["lost"]) for each in found] == [(row.id, None), (row.id, "missing"), (row.id, None)]


def test_only_the_types_and_the_channel_asked_for_are_heard(api: httpx.Client) -> None:
    until_heard(api)
    one, other = made_channel(keyname="aaaaaaaaaa"), made_channel(keyname="bbbbbbbbbb")
    with listening(api, params={"type": "job,gap", "channel_id": one}) as stream:
        with db.Session.begin() as session:
            factories.capturing(session, one)
        queued(other)
        wanted = queued(one)

        assert next(stream)["data"]["id"] == wanted


def test_who_comes_back_gets_what_was_missed(api: httpx.Client) -> None:
    until_heard(api)
    with listening(api, params={"type": "job"}) as stream:
        queued()
        seen = next(stream)["id"]
    missed = [queued(), queued()]
    with listening(api, headers={"Last-Event-ID": seen}) as stream:
        assert [next(stream)["data"]["id"] for _ in range(2)] == missed


def test_who_comes_back_too_late_is_told_to_read_again(api: httpx.Client) -> None:
    with listening(api, headers={"Last-Event-ID": "1"}) as stream:
        assert next(stream)["event"] == "reset"


def test_a_stream_outlives_the_databases_connection(api: httpx.Client) -> None:
    until_heard(api)
    with listening(api, params={"type": "job"}) as stream:
        with db.Session.begin() as session:
            session.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'streamrec-events' AND datname = current_database()"
                )
            )
        assert next(stream)["event"] == "reset"
        job_id = queued()

        assert next(stream)["data"]["id"] == job_id


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"params": {"type": "jobs"}}, "type[0]"),
        ({"params": {"channel_id": "x"}}, "channel_id"),
        ({"headers": {"Last-Event-ID": "x"}}, "Last-Event-ID"),
    ],
)
def test_a_wrong_question_is_refused_by_name(api: httpx.Client, options: Any, field: str) -> None:
    answer = api.get("/events", **options)

    assert answer.status_code == 400
    assert answer.json()["field"] == field


def test_one_client_too_many_is_turned_away_and_room_is_made_by_those_who_go(settings: Settings) -> None:
    with serving(settings.model_copy(update={"auth": "open", "event_clients": 1})) as client:
        with listening(client):
            refused = client.get("/events")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]

        deadline = time.monotonic() + 10
        while True:
            with client.stream("GET", "/events") as again:
                if again.status_code == 200:
                    return
            assert time.monotonic() < deadline


def test_the_service_stops_at_once_although_somebody_listens(settings: Settings) -> None:
    with socket.socket() as peer:
        with serving(settings.model_copy(update={"auth": "open"})) as client:
            peer.connect((client.base_url.host, client.base_url.port))
            peer.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            peer.recv(1000)
            before = time.monotonic()

        assert time.monotonic() - before < 1.5  # two seconds are what others get to end their answers


def test_a_client_that_does_not_read_is_let_go() -> None:
    """Its queue is bounded; what it missed, it has to ask for."""
    listener = events.Listener(["job"], None)
    for number in range(events.QUEUED + 1):
        listener.put(events.Event("job", number + 1, None, {}))

    assert listener.is_over


@pytest.mark.parametrize("payload", ["", "{}", "[]", "null", '{"type": "other", "number": 1}', "\x00"])
def test_a_notification_of_somebody_elses_is_no_event(payload: str) -> None:
    assert events.parsed(payload) is None
