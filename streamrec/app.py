"""The API: the contract's operations under Connexion, with our own checks, and a guard in front."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import connexion
import structlog
from connexion.middleware.context import ContextMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.resolver import RelativeResolver
from starlette.concurrency import run_in_threadpool

from streamrec import db, events, health
from streamrec import settings as configuration
from streamrec.archive.admission import Admission
from streamrec.archive.places import Reading
from streamrec.errors import Unavailable
from streamrec.files import keeping
from streamrec.handlers._calls import CallsMiddleware, Threads
from streamrec.handlers._checks import AnswerChecksMiddleware, RequestChecksMiddleware
from streamrec.handlers._document import Document
from streamrec.handlers._guard import Guard
from streamrec.handlers._observe import Observed
from streamrec.handlers._origins import Origins
from streamrec.handlers._pages import Pages
from streamrec.handlers._problems import Answers
from streamrec.handlers._rules import Rules
from streamrec.pictures.studio import Studio
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.app")

_TIDY_SECONDS: Final = 3600.0


def create_app(settings: Settings | None = None) -> connexion.AsyncApp:
    """The ASGI application; without `settings`, with those of the process.

    The order of the layers is their meaning: what is outer sees the answers of all that is inner.
    """
    settings = settings or configuration.load()
    threads = Threads()
    document = Document(auth_required=settings.auth_required)
    app = connexion.AsyncApp(
        "streamrec",
        lifespan=_lifespan(settings, threads),
        middlewares=[
            partial(Observed, settings=settings),
            partial(Origins, settings=settings),
            partial(Answers, allowed=document.methods()),
            partial(Guard, settings=settings, is_upload=document.uploads()),
            partial(Pages, settings=settings, document=document),
            RoutingMiddleware,
            SecurityMiddleware,
            RequestChecksMiddleware,
            AnswerChecksMiddleware,
            LifespanMiddleware,
            ContextMiddleware,
            CallsMiddleware,
        ],
        resolver=RelativeResolver("streamrec.handlers"),
    )
    app.add_api(document.for_connexion(), rules=Rules(document.contract), threads=threads)
    return app


def _lifespan(settings: Settings, threads: Threads) -> Any:
    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[dict[str, Any]]:
        engine = db.connect(settings, application="streamrec-api")
        watch = health.Watch(settings)
        watch.refresh()
        reading = Reading(settings, opened=Admission(watch.bucket.trouble).bucket)
        studio = Studio(settings, reading)
        tidying = asyncio.create_task(_tidy(settings, studio))
        hub = events.Hub(settings)
        hub.open()
        try:
            yield {"watch": watch, "events": hub, "studio": studio, "reading": reading}
        finally:
            tidying.cancel()
            hub.close()
            studio.close()
            watch.close()
            threads.close()
            engine.dispose()

    return lifespan


async def _tidy(settings: Settings, studio: Studio) -> None:
    """Now and then remove what crashes left of stored files, and pictures beyond the bound."""
    while True:
        try:
            await run_in_threadpool(keeping.tidy, settings.files_dir)
            await run_in_threadpool(studio.cache.shrink, settings.cache_bytes)
        except (Unavailable, OSError) as exc:
            log.warning("could not be tidied", error=str(exc))
        await asyncio.sleep(_TIDY_SECONDS)
