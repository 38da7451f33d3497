"""How fast attempts may begin: after an outage all stations come back at once, and each start costs."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from streamrec.clock import Clock
from streamrec.recorder import limits

log = structlog.get_logger(__name__)

IN_FLIGHT: Final = 8  # attempts at one host that have no media yet
FAILURES: Final = 4  # in a row, with nobody connected: the host is taken for dead
PROBE_SECONDS: Final = (1.5, 2.5)  # between two attempts at a dead host, whichever channels they are for
SAY_SECONDS: Final = 60.0
SHORTAGE_SECONDS: Final = 1.0
OPENING_SECONDS: Final = 10.0  # from an attempt's beginning to its file
DESCRIPTORS: Final = 3  # of a capture: a socket and a file, or the pipes of a child


@dataclass(slots=True)
class _Host:
    name: str
    in_flight: int = 0
    connected: int = 0
    failures: int = 0
    next_at: float = float("-inf")
    said_at: float = float("-inf")
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def is_dead(self) -> bool:
        return self.failures >= FAILURES and self.connected == 0

    @property
    def has_room(self) -> bool:
        return self.in_flight < (1 if self.is_dead else IN_FLIGHT)


class Turn:
    """One attempt's leave to be under way: call `good` at its first media, and `end` or `give_back` after it."""

    def __init__(self, gate: Gate, host: _Host) -> None:
        self._gate = gate
        self._host = host
        self._is_good = self._is_over = False

    @property
    def is_probe(self) -> bool:
        """Whether others wait for what comes of this attempt, because the host seems to be dead."""
        return self._host.is_dead and bool(self._host.waiting)

    def good(self) -> None:
        """Media has come: the host lives, and another attempt may begin."""
        if not self._is_good and not self._is_over:
            self._is_good = True
            self._host.failures = 0
            self._host.connected += 1
            self._gate.leave(self._host)

    def end(self) -> None:
        """The attempt is over; without media the host has failed."""
        if not self._is_over and not self._is_good:
            self._gate.note_failure(self._host)
        self.give_back()

    def give_back(self) -> None:
        """The attempt is over, and it was not the host that ended it."""
        if self._is_over:
            return
        self._is_over = True
        if self._is_good:
            self._host.connected -= 1
        else:
            self._gate.leave(self._host)


class Gate:
    """A token bucket: `rate` attempts a second, and as many at once after a quiet second.

    At one host only a few are under way at a time, and one if it seems to be dead: hundreds of channels behind it
    then probe it as one, at moments of chance: hosts that died together are not all asked in one moment.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        rate: float = 30.0,
        has_room: Callable[[int], bool] = limits.has_descriptors,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`has_room` says whether the process has so many descriptors to spare; attempts wait until it has.

        `uniform` is all the chance there is in when a dead host is tried.
        """
        self._clock = clock
        self._uniform = uniform
        self._begun: deque[float] = deque()
        self._has_room = has_room
        self._said_at = float("-inf")
        self._interval = 1.0 / rate
        self._next = clock.monotonic() - 1.0
        self._hosts: dict[str, _Host] = {}

    async def enter(self, host: str = "") -> Turn:
        """Wait for this attempt's turn; turns are given in the order in which they are asked for.

        May be cancelled. `host` is whatever tells servers apart.
        """
        while True:
            found = self._hosts.setdefault(host, _Host(host))
            await self._room(found)
            try:
                if found.is_dead and found.waiting:
                    await self._clock.sleep(found.next_at - self._clock.monotonic())
                await self._pace()
                is_possible = self._begins()
            except BaseException:
                self.leave(found)
                raise
            if is_possible:
                return Turn(self, found)
            self.leave(found)
            await self._shortage()

    def _begins(self) -> bool:
        """Whether an attempt may begin; those that began just now have not all opened what they will need."""
        now = self._clock.monotonic()
        while self._begun and now - self._begun[0] > OPENING_SECONDS:
            self._begun.popleft()
        is_possible = self._has_room(DESCRIPTORS * (len(self._begun) + 1))
        if is_possible:
            self._begun.append(now)
        return is_possible

    async def _shortage(self) -> None:
        """Let what runs go on; who waits holds no place at its host meanwhile."""
        now = self._clock.monotonic()
        if now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            log.error("no descriptors are left for more captures; they wait")
        await self._clock.sleep(SHORTAGE_SECONDS)

    async def enter_unless(self, woken: asyncio.Event, host: str = "") -> Turn | None:
        """The same, but None if `woken` is set before this attempt's turn comes."""
        asked = asyncio.ensure_future(self.enter(host))
        waking = asyncio.ensure_future(woken.wait())
        try:
            await asyncio.wait({asked, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            if not asked.done():
                asked.cancel()
        if not woken.is_set():
            return asked.result()
        if asked.done() and not asked.cancelled():
            asked.result().give_back()
        return None

    async def _room(self, host: _Host) -> None:
        if host.has_room and not host.waiting:
            host.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        host.waiting.append(turn)
        try:
            await turn  # whoever sets it has counted us in
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(host)
            else:
                with suppress(ValueError):  # whoever left has passed it over already
                    host.waiting.remove(turn)
            raise

    async def _pace(self) -> None:
        now = self._clock.monotonic()
        turn = max(self._next, now - 1.0) + self._interval
        self._next = turn
        if turn > now:
            await self._clock.sleep(turn - now)

    def leave(self, host: _Host) -> None:
        """An attempt at `host` is not under way any more."""
        host.in_flight -= 1
        while host.waiting and host.has_room:
            turn = host.waiting.popleft()
            if not turn.done():
                host.in_flight += 1
                turn.set_result(None)
        if not host.in_flight and not host.connected and not host.failures:
            self._hosts.pop(host.name, None)

    def note_failure(self, host: _Host) -> None:
        """An attempt at `host` ended without media."""
        now = self._clock.monotonic()
        host.failures += 1
        host.next_at = now + self._uniform(*PROBE_SECONDS)
        if host.is_dead and host.waiting and now - host.said_at >= SAY_SECONDS:
            host.said_at = now
            log.warning(
                "a host brings no media", host=host.name, failures=host.failures, waiting=len(host.waiting)
            )
