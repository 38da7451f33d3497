"""What happens, as it happens."""

from __future__ import annotations

import re
from typing import Final

from connexion.context import request

from streamrec.errors import Invalid
from streamrec.events import TYPES
from streamrec.handlers import _current
from streamrec.handlers._reply import Reply
from streamrec.handlers._stream import EventStream

_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


async def list_events(type_: list[str] | None = None, channel_id: int | None = None) -> Reply:
    """On the event loop: a listener never holds a thread."""
    hub = _current.events()
    return EventStream(hub, hub.listen(types=type_ or TYPES, channel_id=channel_id, after=_last_seen()))


def _last_seen() -> int | None:
    header = request.headers.get("last-event-id")
    if not header:
        return None
    if _NUMBER.fullmatch(header) is None:
        raise Invalid("Last-Event-ID: must be the id of an event", field="Last-Event-ID", rule="pattern")
    return int(header)
