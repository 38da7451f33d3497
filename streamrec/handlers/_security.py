"""Who may ask: API keys, in either of two header fields."""

from __future__ import annotations

from typing import Any

import structlog
from connexion.exceptions import Unauthorized
from starlette.concurrency import run_in_threadpool

from streamrec import apikeys
from streamrec.db import Session

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
    return document


async def bearer(token: str) -> dict[str, Any]:
    """`Authorization: Bearer <key>`."""
    return await _principal(token)


async def api_key(apikey: str) -> dict[str, Any]:
    """`X-API-Key: <key>`."""
    return await _principal(apikey)


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
