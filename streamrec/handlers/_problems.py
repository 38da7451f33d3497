"""The one place that knows HTTP statuses of failures: every exception becomes an RFC 9457 problem here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from connexion.exceptions import Unauthorized
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamrec import db, errors
from streamrec.handlers import _current

log = structlog.get_logger("streamrec.problems")

STATUS: dict[type[errors.StreamrecError], int] = {
    errors.Invalid: 400,
    errors.ContentTooLarge: 413,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.NotReady: 503,
}
RETRY_AFTER_SECONDS = 5
_OWN_MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}


class Refused(errors.StreamrecError):
    """The request was refused before any handler saw it; `name` is the problem's, `status` its status."""

    def __init__(
        self, status: int, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **context: object
    ) -> None:
        super().__init__(detail, **context)
        self.status = status
        self.name = name
        self.headers = dict(headers or {})


class WrongAnswer(Exception):
    """An answer of ours does not keep the contract; a bug, logged and answered with a bare 500."""


@dataclass(frozen=True)
class Problem:
    """What a client is told."""

    status: int
    name: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, object] = field(default_factory=dict)

    def document(self, scope: Scope) -> dict[str, Any]:
        """The JSON object, with extension members for what machines need."""
        return {
            "type": f"urn:streamrec:problem:{self.name}",
            "title": self.name.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "instance": scope["path"].encode("utf-8", "replace").decode()[:2048],
            "request_id": _current.request_id(scope),
            **{name: value for name, value in self.context.items() if name not in _OWN_MEMBERS},
        }

    def response(self, scope: Scope) -> Response:
        """The answer to the request of `scope`."""
        body = orjson.dumps(self.document(scope), default=str)
        return Response(body, self.status, media_type="application/problem+json", headers=dict(self.headers))


def kebab(name: str) -> str:
    """`PreconditionFailed` -> `precondition-failed`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def of(exc: Exception) -> Problem | None:
    """The problem for an exception that is expected; None for one that is a bug."""
    if isinstance(exc, Refused):
        return Problem(exc.status, exc.name, exc.detail, exc.headers, exc.context)
    if isinstance(exc, errors.StreamrecError):
        return _of_ours(exc)
    if isinstance(exc, DBAPIError | PoolTimeout) and db.is_away(exc):
        return _of_ours(errors.DatabaseAway("The database does not answer."))
    if isinstance(exc, StaleDataError) or db.has_collided(exc):
        return Problem(409, "conflict", "It has been changed by somebody else meanwhile; read it again.")
    if isinstance(exc, HTTPException) and exc.status_code < 500:
        return _of_http(exc)
    return None


def _of_ours(exc: errors.StreamrecError) -> Problem | None:
    status = next((STATUS[kind] for kind in type(exc).__mro__ if kind in STATUS), None)
    if status is None:
        return None
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Problem(status, kebab(type(exc).__name__), exc.detail, headers, exc.context)


def _of_http(exc: HTTPException) -> Problem:
    """Starlette's and Connexion's own: routing, security, form parsing."""
    phrase = HTTPStatus(exc.status_code).phrase
    headers = dict(exc.headers or {})
    detail = str(exc.detail or phrase).split("\n", 1)[0][:500]
    if isinstance(exc, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="streamrec"'
        detail = "An API key is needed: Authorization: Bearer <key>, or X-API-Key." if not exc.detail else detail
    if exc.status_code == HTTPStatus.NOT_FOUND:
        detail = "There is nothing at this path."
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = "This path does not know this method; Allow lists those it knows."
    return Problem(exc.status_code, kebab(phrase.title().replace(" ", "").replace("-", "")), detail, headers)


class Answers:
    """ASGI middleware that answers every exception; an unexpected one is logged and becomes a bare 500.

    `allowed` tells all methods of a path, because Starlette's own 405 names those of the first route only.
    """

    def __init__(self, app: ASGIApp, *, allowed: Callable[[str], list[str]]) -> None:
        self.app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            return
        except Exception as exc:
            problem = of(exc) or self._unexpected(exc)
            if started:
                raise
            await self._complete(problem, scope).response(scope)(scope, receive, send)

    @staticmethod
    def _unexpected(exc: Exception) -> Problem:
        log.error("request failed unexpectedly", exc_info=exc)
        return Problem(500, "internal-server-error", "Something went wrong here; the log has the details.")

    def _complete(self, problem: Problem, scope: Scope) -> Problem:
        if problem.status != HTTPStatus.METHOD_NOT_ALLOWED:
            return problem
        allow = ", ".join(self._allowed(scope["path"]))
        return Problem(problem.status, problem.name, problem.detail, {"Allow": allow}, problem.context)
