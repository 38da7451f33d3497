"""The stations of a simulated fleet: hosts with radios that send a burst, refuse, fall silent and return."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from typing import Final
from urllib.parse import urlsplit

from streamrec.clock import Clock
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Steady
from streamrec.recorder.fetch.dial import CONNECT_SECONDS
from streamrec.recorder.sources.icy import FIRST_SECONDS, FIRST_TICK_SECONDS, STOPPED
from streamrec.recorder.sources.stream import ENDED
from tests.sim.virtual import RUNNING_AS, Machine, VirtualLoop

# MPEG-2 layer III, 8 kb/s, 16 kHz, mono (ISO/IEC 13818-3): the least that framers and writers can be given to do
# for a second of radio.
FRAME_SECONDS: Final = 0.036
_HEAD: Final = b"\xff\xf3\x18\xc0"
REFUSED: Final = Closed(GapReason.SOURCE_REFUSED, "The server refused the connection.")
NOT_FOUND: Final = Closed(GapReason.SOURCE_DENIED, "The server answered 404.")
UNREACHED: Final = Closed(GapReason.SOURCE_REFUSED, "The server did not take the connection in time.")


@dataclass(frozen=True)
class Waits:
    """Seconds that stations take, each drawn anew for every attempt; what a run is calibrated with."""

    connect: tuple[float, ...] = (0.004,)  # from the attempt's begin until the station has the request
    first_media: tuple[float, ...] = (0.05,)  # from there until media is understood
    refusal: tuple[float, ...] = (0.002,)  # until a host that is there refuses a connection
    work: float = 0.0  # of the machine that all share, if they do
    hang_up: float = 0.0  # within which a host that goes hangs up on everybody
    burst: float = 4.0  # media that is sent at once to who connects


@dataclass
class Host:
    """What stands behind one address: it is up, refuses every connection, or says nothing at all."""

    name: str
    state: str = "up"  # or "refuses", "silent", "404"
    open: dict[int, Attempt] = field(default_factory=dict)  # by number, in the order in which they came


@dataclass(frozen=True, slots=True)
class Came:
    """An attempt, or a request that a station got."""

    at: float
    host: str
    recorder: str


class Network:
    """All stations. Its journal says who came when."""

    def __init__(
        self, loop: VirtualLoop, clock: Clock, dice: random.Random, waits: Waits, machine: Machine
    ) -> None:
        self.loop, self.clock, self.dice, self.waits, self.machine = loop, clock, dice, waits, machine
        self.hosts: dict[str, Host] = {}
        self.numbers = count()
        self.attempts: list[Came] = []
        self.requests: list[Came] = []

    def host(self, url: str) -> Host:
        name = urlsplit(url).netloc
        return self.hosts.setdefault(name, Host(name))

    def open(self, address: Address) -> Attempt:
        """As an Opener does."""
        process = RUNNING_AS.get()
        return Attempt(self, self.host(address.url), address.url, process.name if process else "")

    def fail(self, host: Host, state: str) -> None:
        """Refuse (hanging up on everybody), fall silent, or be up again."""
        host.state = state
        if state != "silent":
            for attempt in host.open.values():
                attempt.hang_up()

    def drop(self, recorder: str) -> None:
        """A process is gone: the kernel closes its connections."""
        for host in self.hosts.values():
            host.open = {n: attempt for n, attempt in host.open.items() if attempt.recorder != recorder}


class Attempt:
    """One connection to a radio: a Source, and its Pump once it is steady."""

    def __init__(self, network: Network, host: Host, url: str, recorder: str) -> None:
        self.recorder = recorder
        self.on_ring: Callable[[], None] | None = None
        self._network = network
        self._host = host
        self._phase = sum(url.encode()) % 36 / 1000  # radios do not send their frames at the same moments
        self._name = url.rpartition("/")[2].encode()
        self._waiting: asyncio.Future[None] = network.loop.create_future()
        self._ended: Closed | None = None
        self._sent = 0  # frames up to here
        self._silent_from: int | None = None
        self._context = copy_context()
        self._number = next(network.numbers)

    # --- what the capture asks

    async def events(self) -> AsyncGenerator[Event]:
        network, loop = self._network, self._network.loop
        network.attempts.append(Came(loop.time(), self._host.name, self.recorder))
        refusal = await self._connected()
        if refusal is not None:
            yield refusal
            return
        self._host.open[self._number] = self
        try:
            await self._wait(self._drawn(network.waits.first_media))
            began = loop.time()
            self._sent = self._live() - round(network.waits.burst / FRAME_SECONDS)
            yield Opened(FileFormat.MP3, "mp3", "icy", is_continuous=True)
            while loop.time() - began < FIRST_SECONDS:
                for event in self.poll():
                    yield event
                    if isinstance(event, Closed):
                        return
                await self._wait(FIRST_TICK_SECONDS)
            yield Steady(self)
            while True:  # for whoever does not poll
                for event in self.poll():
                    yield event
                    if isinstance(event, Closed):
                        return
                await self._wait(1.0)
        finally:
            self._host.open.pop(self._number, None)

    @property
    def is_rung(self) -> bool:
        return self._ended is not None

    def leaves(self) -> bool:
        return False

    def poll(self) -> list[Event]:
        live = self._live()
        if self._host.state == "silent":
            live = self._silent_from = live if self._silent_from is None else self._silent_from
        elif self._silent_from is not None:
            self._sent, self._silent_from = max(self._sent, live), None  # it was not heard meanwhile
        events: list[Event] = []
        if live > self._sent and self._ended is not STOPPED:
            data = b"".join(self._frame(number) for number in range(self._sent, live))
            self._sent = live
            events.append(Chunk(data, self._network.clock.monotonic()))
        if self._ended is not None:
            events.append(self._ended)
        return events

    async def close(self) -> None:
        self._end(STOPPED)

    # --- what the station does

    def hang_up(self) -> None:
        """The capture hears of it in its own process."""
        network = self._network
        after = network.dice.uniform(0.0, network.waits.hang_up)
        network.loop.call_later(after, self._end, ENDED, context=self._context)

    def _end(self, closed: Closed) -> None:
        self._ended = self._ended or closed
        _wake(self._waiting)
        if self.on_ring is not None:
            self.on_ring()

    async def _connected(self) -> Closed | None:
        """Why not, if so."""
        network = self._network
        if self._host.state == "refuses":
            await self._wait(self._drawn(network.waits.refusal))
            return self._ended or REFUSED
        if self._host.state == "silent":
            await self._wait(CONNECT_SECONDS)
            return self._ended or UNREACHED
        await self._wait(network.machine.turn(network.waits.work) + self._drawn(network.waits.connect))
        if self._ended is not None:
            return self._ended
        network.requests.append(Came(network.loop.time(), self._host.name, self.recorder))
        return NOT_FOUND if self._host.state == "404" else None

    def _drawn(self, seconds: tuple[float, ...]) -> float:
        return self._network.dice.choice(seconds)

    async def _wait(self, seconds: float) -> None:
        """So long, or until something ends the attempt."""
        if self._ended is not None:
            return
        self._waiting = self._network.loop.create_future()
        timer = self._network.loop.call_later(seconds, _wake, self._waiting)
        try:
            await self._waiting
        finally:
            timer.cancel()

    def _live(self) -> int:
        """How many whole frames have been on air since the radio began, a day ago."""
        return int((86_400 + self._network.loop.time() - self._phase) / FRAME_SECONDS)

    def _frame(self, number: int) -> bytes:
        return _HEAD + b"%020d.%-11b" % (number, self._name[:11])


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
