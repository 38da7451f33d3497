"""What happens, as it happens: the database's announcements, passed on to everybody in this process who listens.

One connection a process LISTENs; each listener has a bounded queue, and one that does not keep up is let go.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog

from streamrec import db
from streamrec.errors import Unavailable
from streamrec.settings import Settings

log = structlog.get_logger(__name__)

CHANNEL: Final = "event"  # of NOTIFY
TYPES: Final = ("job", "capture", "gap", "recording", "title")
REMEMBERED: Final = 1000  # events that a client may have missed and still gets
QUEUED: Final = 256  # events that wait for a client at most
ALIVE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = (0.2, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Event:
    """One announcement. `number` grows, but not always in the order of arrival; RESET has none."""

    type: str
    number: int = 0
    channel_id: int | None = None
    body: dict[str, Any] | None = None


RESET: Final = Event("reset")
"""Events may have been missed: whoever shows a state has to read it again."""


def parsed(payload: str) -> Event | None:
    """The event that a notification tells of; None if it is none of ours."""
    try:
        told = json.loads(payload)
        event = Event(told["type"], int(told["number"]), told["channel_id"], dict(told["body"]))
    except (ValueError, TypeError, KeyError):
        return None
    return event if event.type in TYPES else None


class Listener:
    """One client's queue; `next` waits for what comes."""

    def __init__(self, types: Collection[str], channel_id: int | None) -> None:
        self._types = frozenset(types)
        self._channel_id = channel_id
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self.is_over = False
        """Whether nothing more comes: the service stops, or this client was too slow."""

    def wants(self, event: Event) -> bool:
        """Whether the client has asked for such an event."""
        is_of_channel = self._channel_id is None or event.channel_id == self._channel_id
        return event is RESET or (event.type in self._types and is_of_channel)

    def put(self, event: Event) -> None:
        """Queue an event that is wanted; a queue that is full is the end."""
        if not self.wants(event):
            return
        self._events.append(event)
        if len(self._events) > QUEUED:
            self.end()
        self._arrived.set()

    def end(self) -> None:
        """Nothing more comes, and what waits is dropped."""
        self.is_over = True
        self._events.clear()
        self._arrived.set()

    async def next(self, seconds: float) -> list[Event]:
        """The events that have come; none after so many seconds, or at the end."""
        if not self._events and not self.is_over:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), seconds)
        self._arrived.clear()
        events = list(self._events)
        self._events.clear()
        return events


class Hub:
    """All listeners of this process, and the connection that they share. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: set[Listener] = set()
        self._past: deque[Event] = deque(maxlen=REMEMBERED)
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def open(self) -> None:
        """Begin to listen; a database that is away is waited for."""
        self._task = asyncio.create_task(self._run(), name="events")

    def close(self) -> None:
        """End every listener at once, and take no more."""
        self._is_closed = True
        for listener in list(self._listeners):
            listener.end()
        if self._task is not None:
            self._task.cancel()

    def listen(self, *, types: Collection[str], channel_id: int | None, after: int | None = None) -> Listener:
        """A listener; with `after`, the number of the last event seen, what came since comes first.

        Raises:
            Unavailable: there are too many already, or the service stops.
        """
        if self._is_closed or len(self._listeners) >= self._settings.event_clients:
            raise Unavailable("No more clients can listen to events here now.", rule="event_clients")
        listener = Listener(types, channel_id)
        for event in [] if after is None else self._since(after):
            listener.put(event)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """The client has gone."""
        self._listeners.discard(listener)

    def _since(self, number: int) -> list[Event]:
        """What came after the event of that number; RESET if it is not remembered."""
        past = list(self._past)
        at = next((index for index, event in enumerate(past) if event.number == number), None)
        return [RESET] if at is None else past[at + 1 :]

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener.put(event)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with await self._connection() as connection:
                    await connection.execute(f'LISTEN "{CHANNEL}"')  # a constant
                    self._begin_anew(had_failed=failures > 0)
                    failures = 0
                    await self._pass_on(connection)
            except (psycopg.Error, OSError, TimeoutError) as exc:
                if failures == 0:
                    log.warning("events are not heard; the database does not answer", error=type(exc).__name__)
                failures += 1
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])

    async def _connection(self) -> psycopg.AsyncConnection[Any]:
        limits = db.patience(self._settings, application="streamrec-events")
        return await psycopg.AsyncConnection.connect(db.conninfo(self._settings), autocommit=True, **limits)

    def _begin_anew(self, *, had_failed: bool) -> None:
        """What was announced before this connection listened was not heard."""
        if had_failed:
            log.info("events are heard again")
            self._past.clear()
            self._tell(RESET)

    async def _pass_on(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            async for notice in connection.notifies(timeout=ALIVE_SECONDS):
                event = parsed(notice.payload)
                if event is not None:
                    self._past.append(event)
                    self._tell(event)
            await asyncio.wait_for(connection.execute("SELECT 1"), ALIVE_SECONDS)
