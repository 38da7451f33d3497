"""What belongs to the request that is being served."""

from __future__ import annotations

from typing import Any, cast

from connexion.context import context, scope
from starlette.types import Scope

from streamrec.archive.places import Reading
from streamrec.events import Hub
from streamrec.health import Watch
from streamrec.pictures.studio import Studio
from streamrec.settings import Settings
from streamrec.timeshift.access import Access

_SETTINGS = "streamrec.settings"
_REQUEST_ID = "streamrec.request_id"
_ARGUMENTS = "streamrec.arguments"
_VALUE = "streamrec.value"


def remember(of: Scope, *, settings: Settings, request_id: str) -> None:
    """Put into a scope what the functions below, and problems, take out of it."""
    of[_SETTINGS] = settings
    of[_REQUEST_ID] = request_id


def pass_on(of: Scope, arguments: dict[str, Any]) -> None:
    """Leave a handler's arguments in a scope."""
    of[_ARGUMENTS] = arguments


def arguments(of: Scope) -> dict[str, Any]:
    """What `pass_on` left."""
    return cast("dict[str, Any]", of[_ARGUMENTS])


def show(of: Scope, value: Any) -> None:
    """Leave the value of a JSON answer in a scope, for those who check it."""
    of[_VALUE] = value


def shown(of: Scope) -> Any:
    """What `show` left, or None."""
    return of.get(_VALUE)


def settings(of: Scope | None = None) -> Settings:
    """The settings of the app that serves this request; a layer in front of the handlers gives its scope."""
    return cast("Settings", (scope if of is None else of)[_SETTINGS])


def principal() -> str | None:
    """The name of the API key that was sent; None where the API asks for none."""
    return cast("str | None", context.get("user"))


def access() -> Access | None:
    """What a signed address opens; None where a key was sent, or none is asked for."""
    return cast("Access | None", (context.get("token_info") or {}).get("access"))


def watch() -> Watch:
    """What keeps an eye on the database; the app's lifespan put it there."""
    return cast("Watch", scope["state"]["watch"])


def events() -> Hub:
    """Who passes on what happens; the app's lifespan put it there."""
    return cast("Hub", scope["state"]["events"])


def reading() -> Reading:
    """What reads recordings for clients; the app's lifespan put it there."""
    return cast("Reading", scope["state"]["reading"])


def studio() -> Studio:
    """What makes pictures; the app's lifespan put it there."""
    return cast("Studio", scope["state"]["studio"])


def request_id(of: Scope) -> str | None:
    """As in `X-Request-ID` and in the logs."""
    return cast("str | None", of.get(_REQUEST_ID))


def operation_of(of: Scope) -> str | None:
    """The operationId that Connexion's router found, if it has got that far."""
    routing = of.get("extensions", {}).get("connexion_routing", {})
    name: str | None = routing.get("operation_id")
    return name and name.removeprefix("streamrec.handlers.")
