"""Legal holds and sealed days, as clients see them."""

from __future__ import annotations

from datetime import date
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streamrec import db, manifests
from streamrec.archive import proof
from tests import factories as make

HELD = {
    "start_time": "2026-11-01T12:00:30Z",
    "end_time": "2026-11-01T12:00:40Z",
    "reason": "Complaint 2026/117",
}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def recording_id(api: httpx.Client) -> int:
    with db.Session.begin() as session:
        return make.captured(session, make.channel(session).id, 0, 60).id


def test_a_held_recording_cannot_be_deleted_until_the_hold_is_lifted(api: httpx.Client, recording_id: int) -> None:
    made = api.post("/channel/1/hold", json=HELD)
    assert made.status_code == 201
    assert problem(api.delete(f"/recording/{recording_id}"), 409)["rule"] == "held"
    assert problem(api.delete("/channel/1?recordings=delete"), 409)["rule"] == "held"
    assert api.get("/channel/1/hold").json() == [made.json()]

    assert api.delete(made.headers["location"]).status_code == 204
    assert api.delete(f"/recording/{recording_id}").status_code == 204


def test_a_hold_outlasts_its_channel(api: httpx.Client, recording_id: int) -> None:
    api.delete("/channel/1")

    assert api.post("/channel/1/hold", json=HELD).status_code == 201
    problem(api.delete(f"/recording/{recording_id}"), 409)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("end_time", HELD["start_time"]),
        ("reason", " "),
        ("reason", "\u0000"),
        ("reason", ""),
        ("start_time", "yesterday"),
    ],
)
def test_a_hold_that_breaks_a_rule_is_refused_by_name(
    api: httpx.Client, recording_id: int, field: str, value: str
) -> None:
    answer = api.post("/channel/1/hold", json={**HELD, field: value})

    assert answer.status_code in {400, 422}
    assert field in answer.text


def test_holds_of_no_channel(api: httpx.Client) -> None:
    problem(api.post("/channel/7/hold", json=HELD), 404)
    problem(api.get("/channel/7/hold"), 404)
    problem(api.delete("/channel/7/hold/1"), 404)


def test_a_day_that_is_not_sealed_is_not_found(api: httpx.Client, recording_id: int) -> None:
    problem(api.get("/channel/1/manifest"), 404)
    problem(api.get("/channel/1/manifest?date=2026-11-01"), 404)
    problem(api.get("/channel/1/manifest?date=2026-13-01"), 400)


def test_a_sealed_day_is_handed_out(api: httpx.Client, recording_id: int) -> None:
    with db.Session.begin() as session:
        manifests.seal(session, 1, date(2026, 11, 1), Ed25519PrivateKey.generate())
    sealed = api.get("/channel/1/manifest?date=2026-11-01").json()

    assert proof.verify([sealed]) == []
    assert api.get("/channel/1/manifest").json() == sealed
