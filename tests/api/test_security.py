"""Who may ask: API keys, and the open profile."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import apikeys, db
from streamrec.errors import Conflict, Invalid, NotFound
from streamrec.models import ApiKey


@pytest.fixture
def key(closed_api: httpx.Client) -> str:
    with db.Session.begin() as session:
        return apikeys.create(session, "tests")


def test_without_a_key_it_is_401_and_says_how(closed_api: httpx.Client) -> None:
    answer = closed_api.get("/channel")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="streamrec"'
    assert answer.json()["type"] == "urn:streamrec:problem:unauthorized"


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "Authorization: bearer {}", "X-API-Key: {}"])
def test_a_key_opens_in_either_field(closed_api: httpx.Client, key: str, form: str) -> None:
    name, value = form.format(key).split(": ", 1)

    assert closed_api.get("/channel", headers={name: value}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer streamrec_wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": ""},
        {"X-API-Key": "x" * 5000},
        {"X-API-Key": "caf\u00e9"},
    ],
)
def test_anything_else_does_not(closed_api: httpx.Client, key: str, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}

    assert closed_api.get("/channel", headers=encoded).status_code == 401


def test_a_revoked_key_opens_nothing_at_once(closed_api: httpx.Client, key: str) -> None:
    headers = {"X-API-Key": key}
    assert closed_api.get("/channel", headers=headers).status_code == 200

    with db.Session.begin() as session:
        apikeys.revoke(session, "tests")

    assert closed_api.get("/channel", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/", "/health", "/ui/", "/openapi.json", "/openapi.yaml"])
def test_these_are_public(closed_api: httpx.Client, path: str) -> None:
    assert closed_api.get(path).status_code == 200


def test_only_the_front_page_and_health_may_be_asked_without_a_key(closed_api: httpx.Client) -> None:
    """Being on the same machine is no key: POST /shutdown asks for one too."""
    paths = closed_api.get("/openapi.json").json()["paths"]

    public = {
        (method, path)
        for path, item in paths.items()
        for method in item.keys() & {"get", "post", "put", "patch", "delete"}
        if closed_api.request(method, re.sub(r"\{[^}]+\}", "1", path)).status_code != 401
    }

    assert public == {("get", "/"), ("get", "/health")}


def test_a_bad_request_without_a_key_is_401_first(closed_api: httpx.Client) -> None:
    """Nobody learns the rules of a door that is closed."""
    assert closed_api.post("/channel", json={"keyname": 1}).status_code == 401


def test_the_open_profile_asks_for_no_key_and_its_contract_says_so(api: httpx.Client) -> None:
    contract = api.get("/openapi.json").json()

    assert api.get("/channel").status_code == 200
    assert "security" not in contract
    assert "securitySchemes" not in contract["components"]


def test_the_closed_profile_serves_the_file_itself(closed_api: httpx.Client) -> None:
    contract = closed_api.get("/openapi.json").json()

    assert contract["security"] == [{"bearer": []}, {"api_key": []}]
    assert "x-bearerInfoFunc" not in contract["components"]["securitySchemes"]["bearer"]


def test_looking_a_key_up_does_not_hold_the_event_loop(closed_api: httpx.Client, key: str) -> None:
    """The table is locked, so that the look-ups wait; public paths must go on."""
    with db.Session.begin() as session, ThreadPoolExecutor(4) as threads:
        session.execute(sa.text("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE"))
        waiting = [threads.submit(closed_api.get, "/channel", headers={"X-API-Key": key}) for _ in range(4)]

        assert closed_api.get("/", timeout=2).status_code == 200
        session.rollback()

    assert {future.result().status_code for future in waiting} == {200}


# --- the feature ------------------------------------------------------------------------------------------


def test_only_the_digest_is_kept(session: Session) -> None:
    key = apikeys.create(session, "one")

    row = session.scalars(sa.select(ApiKey)).one()
    assert key.startswith("streamrec_")
    assert key not in str(vars(row))
    assert apikeys.holder(session, key) == "one"


def test_a_name_is_given_once(session: Session) -> None:
    apikeys.create(session, "one")

    with pytest.raises(Conflict):
        apikeys.create(session, "one")


@pytest.mark.parametrize("name", ["", " one", "a\nb", "x" * 65, "é"])
def test_a_name_is_plain(session: Session, name: str) -> None:
    with pytest.raises(Invalid):
        apikeys.create(session, name)


def test_an_unknown_name_cannot_be_revoked(session: Session) -> None:
    with pytest.raises(NotFound):
        apikeys.revoke(session, "nobody")


def test_keys_are_listed_by_name_with_those_revoked(session: Session) -> None:
    for name in ("b", "a"):
        apikeys.create(session, name)
    apikeys.revoke(session, "b")

    assert [(key.name, key.revoked_at is None) for key in apikeys.listed(session)] == [("a", True), ("b", False)]
