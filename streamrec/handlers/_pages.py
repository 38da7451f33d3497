"""What is served beside the operations: the contract itself, Swagger UI, and the operator console."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from streamrec.handlers._document import Document
from streamrec.settings import PROJECT, Settings

SWAGGER_UI = PROJECT / "streamrec" / "web" / "swagger_ui"


class Pages:
    """ASGI middleware that answers these paths and passes all others on."""

    def __init__(self, app: ASGIApp, *, settings: Settings, document: Document) -> None:
        self.app = app
        self._router = Router(
            routes=[
                Route("/openapi.json", _constant(document.json, "application/json")),
                Route("/openapi.yaml", _constant(document.yaml, "application/yaml")),
                Route("/ui", _redirect("ui/")),
                Mount("/ui", StaticFiles(directory=SWAGGER_UI, html=True)),
                Route("/console", _redirect("console/")),
                Mount("/console", _Console(settings)),
            ],
            redirect_slashes=False,
        )
        self._prefixes = ("/openapi.", "/ui", "/console")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["path"].startswith(self._prefixes)
        await (self._router if is_ours else self.app)(scope, receive, send)


def _constant(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


def _redirect(to: str) -> Callable[[Request], Awaitable[Response]]:
    """Relative, so that neither a Host nor a proxy's prefix matters."""

    async def answer(_request: Request) -> Response:
        return RedirectResponse(to, status_code=308)

    return answer


class _Console:
    """The Flask app in its own few threads, made when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = self._app or self._made()
        await self._app(scope, receive, send)

    def _made(self) -> ASGIApp:
        console = import_module("streamrec.web.console")
        made: Any = WSGIMiddleware(console.create_console(self._settings), workers=4)
        return cast("ASGIApp", made)
