"""The outermost layer: request ids, a log line and a measurement per request, and what every answer carries."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamrec import metrics
from streamrec.handlers import _current
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI styles elements by attribute and draws its icons from data: addresses.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_PAGES = ("/ui", "/console")


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
                _complete(MutableHeaders(raw=message["headers"]), scope["path"], request_id)
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
    return uuid4().hex


def _complete(headers: MutableHeaders, path: str, request_id: str) -> None:
    is_page = path.startswith(_PAGES) or headers.get("content-type", "").startswith("text/html")
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Content-Security-Policy"] = PAGE_POLICY if is_page else API_POLICY
    headers.setdefault("Cache-Control", "no-cache")


def _report(scope: Scope, *, status: int, size: int, seconds: float) -> None:
    operation = _current.operation_of(scope)
    metrics.observe_request(operation or "none", status, seconds)
    log.info(
        "request",
        method=scope["method"],
        path=scope["path"],
        operation=operation,
        status=status,
        bytes=size,
        milliseconds=round(seconds * 1000, 2),
        client=scope["client"][0] if scope.get("client") else None,
    )
