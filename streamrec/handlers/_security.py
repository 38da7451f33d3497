"""Who may ask: API keys, in either of two header fields."""

from __future__ import annotations

from typing import Any

import structlog
from connexion.exceptions import Unauthorized
from connexion.lifecycle import ConnexionRequest
from starlette.concurrency import run_in_threadpool

from streamrec import apikeys
from streamrec.clock import now
from streamrec.db import Session
from streamrec.handlers import _current
from streamrec.timeshift import access as timeshift_access

LONGEST_KEY = 200


def opened(document: dict[str, Any]) -> dict[str, Any]:
    """The document of an API that asks for no key: without security, so that clients are not told to send one."""
    operations = [
        operation
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    for holder in (document, *operations):
        holder.pop("security", None)
    document["components"].pop("securitySchemes", None)
    return document


def wired(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the functions that Connexion calls for each scheme; the file names no module."""
    schemes = document["components"].get("securitySchemes", {})
    if schemes:
        schemes["bearer"]["x-bearerInfoFunc"] = f"{__name__}.bearer"
        schemes["api_key"]["x-apikeyInfoFunc"] = f"{__name__}.api_key"
        schemes["access"]["x-apikeyInfoFunc"] = f"{__name__}.access"
    return document


async def bearer(token: str) -> dict[str, Any]:
    """`Authorization: Bearer <key>`."""
    return await _principal(token)


async def api_key(apikey: str) -> dict[str, Any]:
    """`X-API-Key: <key>`."""
    return await _principal(apikey)


async def access(apikey: str, request: ConnexionRequest) -> dict[str, Any]:
    """`?access=<text>`, which opens a stretch of one channel; the handler asks `_current.access()` how much.

    Raises:
        Unauthorized: it is of another channel, was changed, or has expired.
    """
    channel_id = int(request.scope["path"].split("/")[2])  # the routing took nothing but digits
    key = await run_in_threadpool(timeshift_access.key_of, _current.settings(request.scope))
    granted = timeshift_access.granted(apikey, channel_id, key, now()) if len(apikey) <= LONGEST_KEY else None
    if granted is None:
        raise Unauthorized("The access in this address is not valid here, or has expired.")
    return {"sub": None, "access": granted}


async def _principal(key: str) -> dict[str, Any]:
    """Connexion runs hooks on the event loop, so the look-up goes to a thread.

    Raises:
        Unauthorized: the key is not one of ours, or no longer.
    """
    name = await run_in_threadpool(_holder, key) if len(key) <= LONGEST_KEY else None
    if name is None:
        raise Unauthorized("The API key is not valid.")
    structlog.contextvars.bind_contextvars(asked_by=name)  # "api_key..." would be blacked out
    return {"sub": name}


def _holder(key: str) -> str | None:
    with Session.begin() as session:
        return apikeys.holder(session, key)
