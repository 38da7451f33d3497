"""What happens to a simulated fleet, and what is looked at."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from streamrec.models import CaptureState
from tests.sim import virtual
from tests.sim.figures import Outcome, audited, peaks
from tests.sim.network import Host
from tests.sim.virtual import VirtualLoop
from tests.sim.world import Plan, World

QUIET_SECONDS = 35.0  # of good media, so that no attempt before counts as a failure
AFTER_SECONDS = 30.0  # that are looked at once all is well again
LONG_SECONDS = 240.0


async def start(world: World, outcome: Outcome) -> None:
    """Everything begins: how long until all channels are recorded."""
    began = world.loop.time()
    await world.begin()
    enabled = (min(world.store.enabled_at.values()) - virtual.NOON).total_seconds()
    outcome.seconds["recording"] = _first(world, CaptureState.RUNNING, enabled)
    _rates(world, outcome, began)


async def worker_loss(world: World, outcome: Outcome, beat: float | None = None, replaced: int = 0) -> None:
    """One recorder is killed, with its spool: `beat` seconds after its last heartbeat, or at any moment.

    `replaced` recorders were, one after the other, before that.
    """
    await _quiet(world)
    for _ in range(replaced):
        await _replace(world)
    lost = world.dice.choice(world.living)
    if beat is not None:
        before = lost.line.renewed_at
        await world.until(lambda: lost.line.renewed_at > before, 5, "a heartbeat")
        await asyncio.sleep(lost.line.renewed_at + beat - world.loop.time())
    channels, killed = world.held_by(lost), world.loop.time()
    lost.kill()
    await world.until(world.all_record, LONG_SECONDS, "all are recorded by the others")
    await asyncio.sleep(AFTER_SECONDS)
    _takeover(world, outcome, channels, killed)
    _rates(world, outcome, killed)


async def drain(world: World, outcome: Outcome) -> None:
    """One recorder is told to leave (SIGTERM)."""
    await _quiet(world)
    leaving = world.dice.choice(world.living)
    channels, told = world.held_by(leaving), world.loop.time()
    await leaving.drain()
    outcome.seconds["left"] = [world.loop.time() - told]
    await world.until(world.all_record, LONG_SECONDS, "all are recorded by the others")
    await asyncio.sleep(AFTER_SECONDS)
    outcome.seconds["handed_over"] = sorted(at - told for at, id_ in leaving.line.released if id_ in channels)
    _rates(world, outcome, told)


async def freeze(world: World, outcome: Outcome) -> None:
    """One recorder is stopped for longer than its lease (SIGSTOP, SIGCONT)."""
    await _quiet(world)
    frozen = world.dice.choice(world.living)
    channels, began = world.held_by(frozen), world.loop.time()
    frozen.freeze(world.dice.uniform(10.0, 20.0))
    await asyncio.sleep(20.0)
    await world.until(world.all_record, LONG_SECONDS, "all are recorded")
    await asyncio.sleep(AFTER_SECONDS)
    _takeover(world, outcome, channels, began)
    _rates(world, outcome, began)


async def station_loss(world: World, outcome: Outcome) -> None:
    """One host with many channels refuses every connection for a while."""
    await _quiet(world)
    host = world.dice.choice(list(world.network.hosts.values()))
    await _stations(world, outcome, [host], "refuses", world.dice.uniform(45.0, 90.0))


async def station_silence(world: World, outcome: Outcome) -> None:
    """One host with many channels vanishes: nothing comes, and nobody answers."""
    await _quiet(world)
    host = world.dice.choice(list(world.network.hosts.values()))
    await _stations(world, outcome, [host], "silent", world.dice.uniform(45.0, 90.0))


async def blackout(world: World, outcome: Outcome, seconds: float = 25.0, replaced: int = 0) -> None:
    """All stations refuse, and are back at once; `replaced` recorders were, one after the other, before that."""
    await _quiet(world)
    for _ in range(replaced):
        await _replace(world)
    await _stations(world, outcome, list(world.network.hosts.values()), "refuses", seconds)


async def all_failing(world: World, outcome: Outcome) -> None:
    """All stations are away for three minutes; the last two of them are what is looked at."""
    await _quiet(world)
    for host in world.network.hosts.values():
        world.network.fail(host, "refuses")
    await asyncio.sleep(60.0)
    began = world.loop.time()
    rows, lines, attempts = len(world.store.row_changes), len(world.lines), len(world.network.attempts)
    spent = time.process_time()
    await asyncio.sleep(120.0)
    spent = time.process_time() - spent
    minutes, channels = (world.loop.time() - began) / 60, world.plan.channels
    outcome.counts |= {
        "cpu_share_of_a_recorder": spent / minutes / 60 / world.plan.recorders,  # the simulation's own is in it
        "attempts_per_second": (len(world.network.attempts) - attempts) / minutes / 60,
        "lines_per_channel_and_minute": (len(world.lines) - lines) / minutes / channels,
        "row_changes_per_second": (len(world.store.row_changes) - rows) / minutes / 60,
    }
    for host in world.network.hosts.values():
        world.network.fail(host, "up")
    back = world.loop.time()
    await world.until(world.all_record, LONG_SECONDS, "all are recorded again")
    outcome.seconds["recording"] = _first(world, CaptureState.RUNNING, back)
    _rates(world, outcome, back)


async def database_away(world: World, outcome: Outcome) -> None:
    """The database is away for 30 to 120 s; nothing else happens."""
    await _quiet(world)
    holders = {recorder.name: world.held_by(recorder) for recorder in world.recorders}
    began, moves = world.loop.time(), len(world.moves)
    world.store.lose()
    await asyncio.sleep(world.dice.uniform(30.0, 120.0))
    outcome.counts["interrupted"] = sum(move.state is not CaptureState.RUNNING for move in world.moves[moves:])
    back = world.loop.time()
    world.store.come_back()
    spools = [recorder.spool for recorder in world.living]
    await world.until(lambda: not any(spool.pending(1) for spool in spools), LONG_SECONDS, "all rows are made")
    outcome.seconds["rows_made"] = [world.loop.time() - back]
    await asyncio.sleep(AFTER_SECONDS)
    await world.until(world.all_record, LONG_SECONDS, "all are recorded")
    outcome.counts["moved"] = sum(
        len(channels - world.held_by(recorder))
        for recorder, channels in zip(world.recorders, holders.values(), strict=True)
    )
    outcome.counts["claims_after_return"] = sum(
        len(channels) for recorder in world.recorders for at, channels in recorder.line.claimed if at >= back
    )
    _rates(world, outcome, began)


Scenario = Callable[[World, Outcome], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {
    "start": start,
    "worker-loss": worker_loss,
    "drain": drain,
    "freeze": freeze,
    "station-loss": station_loss,
    "station-silence": station_silence,
    "blackout": blackout,
    "all-failing": all_failing,
    "database-away": database_away,
}


def play(scenario: Scenario, plan: Plan, seed: int) -> Outcome:
    """One scenario under one seed, from an empty database to the audit of its rows."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="streamrec-sim-", dir=_memory()) as folder:
        worlds: list[World] = []

        async def course(loop: VirtualLoop) -> None:
            world = World(loop, Path(folder), plan, seed)
            worlds.append(world)
            with world.listening():
                try:
                    await scenario(world, outcome)
                    outcome.counts["lines"] = len(world.lines)
                    await world.finish()
                finally:
                    world.lay_out()

        try:
            virtual.run(course)
            audited(worlds[0], outcome)
        finally:
            for world in worlds:
                world.close()
    return outcome


def _memory() -> str | None:
    """A folder that is no disk, if there is one: nothing that is simulated needs to last."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


# --- parts of scenarios


async def _quiet(world: World) -> None:
    """All has been well for a while, and it is any moment between two heartbeats."""
    await world.begin()
    await asyncio.sleep(QUIET_SECONDS + world.dice.uniform(0.0, 4.0))


async def _replace(world: World) -> None:
    """One recorder is killed; another takes its place, and its share of the channels."""
    world.dice.choice(world.living).kill()
    await world.until(world.all_record, LONG_SECONDS, "all are recorded by the others")
    world.add_recorder()
    await world.until(lambda: world.is_even, LONG_SECONDS, "all have the same share")
    await asyncio.sleep(QUIET_SECONDS)


async def _stations(world: World, outcome: Outcome, hosts: list[Host], state: str, seconds: float) -> None:
    lost = world.loop.time()
    for host in hosts:
        world.network.fail(host, state)
    await asyncio.sleep(seconds)
    attempts = [came for came in world.network.attempts if came.at >= lost]
    outcome.counts["attempts_while_away"] = len(attempts)
    outcome.counts["attempts_per_second_while_away"] = round(len(attempts) / seconds, 2)
    outcome.peaks["attempts_while_away"] = peaks(attempts)
    back = world.loop.time()
    for host in hosts:
        world.network.fail(host, "up")
    await world.until(world.all_record, LONG_SECONDS, "all are recorded again")
    await asyncio.sleep(AFTER_SECONDS)
    failed = [move for move in world.moves if move.at >= lost and move.state is CaptureState.BACKOFF]
    outcome.counts["failed"] = len(failed)
    outcome.seconds["recording"] = _first(world, CaptureState.RUNNING, back)
    _rates(world, outcome, back)


def _takeover(world: World, outcome: Outcome, channels: set[int], since: float) -> None:
    claimed: dict[int, float] = {}
    for recorder in world.recorders:
        for at, got in recorder.line.claimed:
            if at >= since:
                claimed |= {id_: min(at, claimed.get(id_, at)) for id_ in got if id_ in channels}
    outcome.seconds["claimed"] = sorted(at - since for at in claimed.values())
    outcome.seconds["recording"] = _first(world, CaptureState.RUNNING, since, channels)


def _first(world: World, state: CaptureState, since: float, channels: Iterable[int] | None = None) -> list[float]:
    """When each channel was first in a state after a moment, in seconds from there."""
    known = None if channels is None else set(channels)
    found: dict[int, float] = {}
    for move in world.moves:
        if move.at >= since and move.state is state and (known is None or move.channel_id in known):
            found.setdefault(move.channel_id, move.at - since)
    return sorted(found.values())


def _rates(world: World, outcome: Outcome, since: float) -> None:
    outcome.peaks["attempts"] = peaks([came for came in world.network.attempts if came.at >= since])
    outcome.peaks["connects"] = peaks([came for came in world.network.requests if came.at >= since])
    lines = [line for line in world.lines if line.at >= since]
    minutes = max(1.0, (world.loop.time() - since) / 60)
    outcome.counts["lines_per_minute"] = round(len(lines) / minutes, 1)
