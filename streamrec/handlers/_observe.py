"""The outermost layer: request ids, a log line and a measurement per request, and what every answer carries."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamrec import metrics
from streamrec.handlers import _current
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.access")

_POLLED = frozenset({"/health", "/metrics"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    b"connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
UI_POLICY = PAGE_POLICY.replace(b"style-src 'self'", b"style-src 'self' 'unsafe-inline'")  # Swagger UI needs it


class Observed:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["extensions"] = dict(scope.get("extensions") or {})  # the router below leaves the operation in it
        _current.remember(scope, settings=self._settings, request_id=request_id)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status, size = 500, 0

        async def observed(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message["headers"], scope["path"], request_id)
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            _report(scope, status=status, size=size, seconds=time.perf_counter() - started)


def _request_id(scope: Scope) -> str:
    """The client's own if it is a sound one; it goes into logs."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return f"{random.getrandbits(128):032x}"


def _completed(headers: Iterable[tuple[bytes, bytes]], path: str, request_id: str) -> list[tuple[bytes, bytes]]:
    """An answer's headers with those that every answer has; what it sets itself stays."""
    own = {name.lower(): value for name, value in headers}
    if path.startswith("/ui"):
        policy = UI_POLICY
    elif path.startswith("/console") or own.get(b"content-type", b"").startswith(b"text/html"):
        policy = PAGE_POLICY
    else:
        policy = API_POLICY
    always = (
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", policy),
        (b"cache-control", b"no-cache"),
    )
    return [*headers, *((name, value) for name, value in always if name not in own)]


def _level(path: str, status: int) -> int:
    """Whoever polls says nothing new, as long as all is well."""
    return logging.DEBUG if path in _POLLED and status < 400 else logging.INFO


def _report(scope: Scope, *, status: int, size: int, seconds: float) -> None:
    operation = _current.operation_of(scope)
    metrics.observe_request(operation or "none", status, seconds)
    log.log(
        _level(scope["path"], status),
        "request",
        method=scope["method"],
        path=scope["path"],
        operation=operation,
        status=status,
        bytes=size,
        milliseconds=round(seconds * 1000, 2),
        client=scope["client"][0] if scope.get("client") else None,
    )
