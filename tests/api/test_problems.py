"""Errors are RFC 9457 problems, everywhere and documented."""

from __future__ import annotations

import re

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

from streamrec import errors
from streamrec.handlers import _problems
from streamrec.settings import PROJECT, Settings
from tests.serving import serving

DOCUMENTED = set(
    re.findall(
        r"^### `urn:streamrec:problem:([a-z0-9-]+)`", (PROJECT / "docs/problems.md").read_text(), re.MULTILINE
    )
)


def kinds(root: type[errors.StreamrecError]) -> set[type[errors.StreamrecError]]:
    return {root, *(kind for child in root.__subclasses__() for kind in kinds(child))}


def names_raised() -> set[str]:
    """Every problem name in the code: of exception classes with a status, and of refusals."""
    ours = {
        _problems.kebab(k.__name__)
        for k in kinds(errors.StreamrecError)
        if any(b in _problems.STATUS for b in k.__mro__)
    }
    source = "\n".join(path.read_text() for path in (PROJECT / "streamrec/handlers").glob("_*.py"))
    refusals = re.findall(r'Refused\(\s*\d{3},\s*"([a-z0-9-]+)"', source)
    problems = re.findall(r'Problem\(\s*\d{3},\s*"([a-z0-9-]+)"', source)
    return ours | set(refusals) | set(problems)


def test_every_problem_is_documented() -> None:
    assert names_raised() <= DOCUMENTED


def test_no_problem_is_documented_that_does_not_exist() -> None:
    of_http = {"unauthorized", "method-not-allowed", "range-not-satisfiable"}

    assert DOCUMENTED - names_raised() <= of_http


@pytest.mark.parametrize(
    ("exc", "status", "name"),
    [
        (errors.Invalid("x", field="f"), 400, "invalid"),
        (errors.EgressDenied("x", field="url"), 400, "egress-denied"),
        (errors.Denied("x"), 403, "denied"),
        (errors.NotFound("x"), 404, "not-found"),
        (errors.Gone("x"), 410, "gone"),
        (errors.Conflict("x"), 409, "conflict"),
        (errors.PreconditionFailed("x"), 412, "precondition-failed"),
        (errors.DatabaseAway("x"), 503, "database-away"),
        (OperationalError("SELECT", {}, Exception("gone")), 503, "database-away"),
        (StaleDataError(), 409, "conflict"),
        (HTTPException(405), 405, "method-not-allowed"),
    ],
)
def test_each_exception_has_its_problem(exc: Exception, status: int, name: str) -> None:
    problem = _problems.of(exc)

    assert problem is not None
    assert (problem.status, problem.name) == (status, name)


def test_a_bug_is_no_problem_of_the_client() -> None:
    assert _problems.of(KeyError("secret")) is None
    assert _problems.of(sa.exc.ProgrammingError("SELECT secret", {}, Exception())) is None


@given(st.text())
def test_kebab_is_kebab(name: str) -> None:
    assert not re.search("[a-z0-9][A-Z]", _problems.kebab(name))


def test_a_missing_path_is_a_problem(api: httpx.Client) -> None:
    answer = api.get("/nothing")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:streamrec:problem:not-found",
        "title": "Not found",
        "status": 404,
        "detail": "There is nothing at this path.",
        "instance": "/nothing",
        "request_id": answer.headers["x-request-id"],
    }


def test_a_wrong_method_gets_all_methods_of_the_path(api: httpx.Client) -> None:
    answer = api.delete("/channel")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert answer.json()["type"] == "urn:streamrec:problem:method-not-allowed"


def test_several_faults_are_listed(api: httpx.Client) -> None:
    answer = api.post("/channel", json={"keyname": "short", "colour": "red"})

    problem = answer.json()
    fields = {error["field"] for error in problem["errors"]}
    assert answer.status_code == 400
    assert {"keyname", "colour", "name", "type", "url"} <= fields


@pytest.mark.parametrize("number", [10**20, -(10**20), 10**16])
def test_a_whole_number_out_of_bounds_breaks_that_rule_alone(api: httpx.Client, number: int) -> None:
    times = {"from": "2026-11-01T12:00:00Z", "to": "2026-11-01T12:01:00Z"}
    problem = api.post("/clip", json={"channel_id": number, **times}).json()

    rule = "must be at least 1" if number < 0 else "must be at most 9007199254740991"
    assert problem["errors"] == [{"field": "channel_id", "detail": rule}]


def test_a_fraction_is_no_whole_number(api: httpx.Client) -> None:
    times = {"from": "2026-11-01T12:00:00Z", "to": "2026-11-01T12:01:00Z"}
    problem = api.post("/clip", json={"channel_id": 1.5, **times}).json()

    assert problem["errors"] == [{"field": "channel_id", "detail": "must be a whole number"}]


def test_a_value_is_never_echoed(api: httpx.Client) -> None:
    """Not even one that would fit: the field and the rule say enough."""
    answer = api.post("/channel", json={"keyname": "sesame" * 10_000})

    assert "sesame" not in answer.text
    assert len(answer.content) < 4000


def test_a_lost_database_is_503_with_retry_after(settings: Settings) -> None:
    away = settings.model_copy(
        update={"database_url": settings.database_url.__class__("postgresql://127.0.0.1:1/x")}
    )

    with serving(away) as api:
        answer = api.get("/channel")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["type"] == "urn:streamrec:problem:database-away"


def test_an_unexpected_failure_is_a_bare_500(api: httpx.Client) -> None:
    """A table that is gone is nothing the client did; it learns the request id and no more."""
    from streamrec.db import Session

    with Session.begin() as session:
        session.execute(sa.text("ALTER TABLE channel RENAME TO elsewhere"))

    answer = api.get("/channel")

    assert answer.status_code == 500
    assert answer.json()["detail"] == "Something went wrong here; the log has the details."
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
