"""Status, gaps, coverage and probing over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from streamrec import channels, db
from streamrec.clock import now
from streamrec.models import CaptureState, CoverageKind, GapReason
from streamrec.settings import Settings
from tests import factories as make
from tests.serving import serving

WINDOW = "from=2026-11-01T12:00:00Z&to=2026-11-01T12:02:00Z"


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def channel_id(api: httpx.Client) -> int:
    """A channel with a minute of recording, and a minute of gap after it."""
    with db.Session.begin() as session:
        made = make.channel(session, expected_from=make.T0)
        make.captured(session, made.id, 0, 60)
        make.covered(session, made.id, 60, 120, CoverageKind.GAP, GapReason.STALLED)
    return made.id


# --- status -----------------------------------------------------------------------------------------------


def test_a_running_capture_tells_all(api: httpx.Client, channel_id: int) -> None:
    with db.Session.begin() as session:
        recorder = make.capturing(session, channel_id)

    status = api.get(f"/channel/{channel_id}/status").json()

    assert status["state"] == "running"
    assert status["recorder_id"] == str(recorder.id)
    assert (status["file_seconds"], status["file_bytes"], status["bit_rate"]) == (12.5, 1000, 64000)
    assert (status["title"], status["last_error"], status["restarts"]) == ("Artist - <b>Song</b>", None, 0)
    assert api.get(f"/channel/{channel_id}").json()["capture_state"] == "running"


def test_without_a_living_recorder_a_capture_is_stopped_and_says_why(api: httpx.Client, channel_id: int) -> None:
    with db.Session.begin() as session:
        make.capturing(session, channel_id, CaptureState.RUNNING, is_alive=False)

    status = api.get(f"/channel/{channel_id}/status").json()

    assert (status["state"], status["recorder_alive"], status["path"]) == ("stopped", False, None)
    assert status["last_error"] == "No recorder is at work on this channel."


def test_a_channel_that_was_never_captured_has_a_status(api: httpx.Client, channel_id: int) -> None:
    status = api.get(f"/channel/{channel_id}/status").json()

    assert (status["state"], status["since"], status["restarts"]) == ("stopped", None, 0)


def test_an_unknown_channel_has_nothing(shared_api: httpx.Client) -> None:
    for what in ("status", "gaps", "coverage"):
        problem(shared_api.get(f"/channel/987654/{what}"), 404)


# --- gaps -------------------------------------------------------------------------------------------------


def test_gaps_have_bounds_and_reasons(api: httpx.Client, channel_id: int) -> None:
    [gap] = api.get(f"/channel/{channel_id}/gaps").json()

    assert (gap["start_time"], gap["end_time"]) == ("2026-11-01T12:01:00.000Z", "2026-11-01T12:02:00.000Z")
    assert (gap["reason"], gap["duration_seconds"], gap["open"]) == ("stalled", 60.0, True)
    assert api.get(f"/channel/{channel_id}/gaps?to=2026-11-01T12:01:00Z").json() == []


def test_gaps_are_paged(api: httpx.Client, channel_id: int) -> None:
    with db.Session.begin() as session:
        make.covered(session, channel_id, 120, 130, CoverageKind.GAP, GapReason.DNS)

    first = api.get(f"/channel/{channel_id}/gaps?limit=1&sort=-start_time")
    second = api.get(first.links["next"]["url"])

    assert [gap["reason"] for gap in (*first.json(), *second.json())] == ["dns", "stalled"]


# --- coverage ---------------------------------------------------------------------------------------------


def test_the_account_adds_up(api: httpx.Client, channel_id: int) -> None:
    account = api.get(f"/channel/{channel_id}/coverage?{WINDOW}").json()

    assert [(span["kind"], span["duration_seconds"], span["reason"]) for span in account["spans"]] == [
        ("recorded", 60.0, None),
        ("gap", 60.0, "stalled"),
    ]
    assert account["totals"]["recorded"] == {"seconds": 60.0, "percent": 50.0}
    assert sum(share["percent"] for share in account["totals"].values()) == 100
    assert sum(share["seconds"] for share in account["totals"].values()) == account["duration_seconds"] == 120


@pytest.mark.parametrize(
    ("query", "accept"), [("&format=csv", "*/*"), ("", "text/csv"), ("", "text/*, */*;q=0.1")]
)
def test_the_account_comes_as_csv(api: httpx.Client, channel_id: int, query: str, accept: str) -> None:
    answer = api.get(f"/channel/{channel_id}/coverage?{WINDOW}{query}", headers={"Accept": accept})

    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines() == [
        "kind,start_time,end_time,duration_seconds,reason",
        "recorded,2026-11-01T12:00:00.000Z,2026-11-01T12:01:00.000Z,60.0,",
        "gap,2026-11-01T12:01:00.000Z,2026-11-01T12:02:00.000Z,60.0,stalled",
    ]


def test_json_can_be_asked_for_against_accept(api: httpx.Client, channel_id: int) -> None:
    answer = api.get(f"/channel/{channel_id}/coverage?{WINDOW}&format=json", headers={"Accept": "text/csv"})

    assert answer.json()["channel_id"] == channel_id


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", 86400), ("to=2026-11-01T12:00:00Z", 86400), ("from=2026-11-01T12:00:00Z&to=2026-11-01T12:00:01Z", 1)],
)
def test_what_is_not_given_makes_it_a_day(api: httpx.Client, channel_id: int, query: str, seconds: int) -> None:
    account = api.get(f"/channel/{channel_id}/coverage?{query}").json()

    assert account["duration_seconds"] == pytest.approx(seconds, abs=0.1)


def test_a_range_without_an_end_ends_now(api: httpx.Client, channel_id: int) -> None:
    start = now() - timedelta(hours=2)

    account = api.get(f"/channel/{channel_id}/coverage", params={"from": start.isoformat()}).json()

    assert account["duration_seconds"] == pytest.approx(7200, abs=5)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=2026-11-01T12:00:00Z&to=2026-11-01T12:00:00Z", "to"),
        ("from=2100-01-01T00:00:00Z", "from"),
        ("from=2020-01-01T00:00:00Z", "from"),
        ("from=x", "from"),
        ("format=xml", "format"),
    ],
)
def test_a_wrong_range_is_refused(api: httpx.Client, channel_id: int, query: str, field: str) -> None:
    assert problem(api.get(f"/channel/{channel_id}/coverage?{query}"), 400)["field"] == field


def test_a_deleted_channel_keeps_its_account(api: httpx.Client, channel_id: int) -> None:
    with db.Session.begin() as session:
        channels.retire(session, channel_id)

    account = api.get(f"/channel/{channel_id}/coverage?{WINDOW}").json()

    assert account["totals"]["recorded"]["seconds"] == 60
    problem(api.get(f"/channel/{channel_id}/status"), 404)


# --- probing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "ftp://h.example/", "http://169.254.169.254/latest/meta-data"]
)
def test_what_may_not_be_reached_is_not_probed(shared_api: httpx.Client, url: str) -> None:
    assert problem(shared_api.post("/channel/probe", json={"url": url}), 400)["field"] == "url"


def test_a_refused_connection_says_why_it_cannot_be_recorded(settings: Settings) -> None:
    allowed = settings.model_copy(update={"auth": "open", "egress_allow": ["127.0.0.1:9"]})

    with serving(allowed) as api:
        probe = api.post("/channel/probe", json={"url": "http://studio:s3cret@127.0.0.1:9/", "timeout_seconds": 5})

    assert probe.status_code == 200
    assert (probe.json()["recordable"], probe.json()["reason"]) == (False, "source_refused")
    assert "s3cret" not in probe.text
