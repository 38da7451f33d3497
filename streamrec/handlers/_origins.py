"""Players on the pages of other sites may read playlists and media, if a setting names their origins."""

from __future__ import annotations

import re
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from streamrec.settings import Settings

_PLAYED: Final = re.compile(r"/channel/[0-9]+/(?:live\.m3u8|catchup\.m3u8|media/[^/]+)", re.ASCII)


class Origins:
    """ASGI middleware: cross-origin resource sharing for what players ask for, and for nothing else."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._shared: ASGIApp = app
        if settings.cors_origins:
            self._shared = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD"],
                allow_headers=["Authorization", "Range", "X-API-Key"],
                expose_headers=["Accept-Ranges", "Content-Length", "Content-Range"],
                max_age=3600,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_played = scope["type"] == "http" and _PLAYED.fullmatch(scope["path"]) is not None
        await (self._shared if is_played else self.app)(scope, receive, send)
