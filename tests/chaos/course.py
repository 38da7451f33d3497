"""A plan, played on a running instance, and healed in the end."""

from __future__ import annotations

import heapq
import time
from functools import partial
from itertools import count
from pathlib import Path

from tests.chaos import verdict
from tests.chaos.faults import Undo, begin
from tests.chaos.plan import QUIET_SECONDS, Plan, Step
from tests.chaos.verdict import DESCRIPTORS, Verdict
from tests.chaos.world import Channel, Done, World, built
from tests.station import programs

RUNNING_SECONDS = 60.0


def run(plan: Plan, folder: Path) -> Verdict:
    """Play `plan` on an instance in `folder`, let everything heal, and judge."""
    with built(folder, plan.channels) as world:
        began = time.monotonic()
        await_running(world)
        started = time.monotonic() - began
        _await_moment(began + QUIET_SECONDS / 2)
        before = _beside_captures(world)
        if plan.waits:
            _play_in_turn(world, plan)
        else:
            _play(world, plan, began)
        _heal(world)
        strays = verdict.strays(world)
        after = _beside_captures(world)
        _leave(world)
        world.station.journal.write(folder / "station.jsonl")
        found = verdict.judge(world, plan.seed)
    found.violations += strays
    if after > before + DESCRIPTORS:
        found.violations.append(
            f"the recorder has {after} descriptors beside its captures', {before} at the start"
        )
    found.facts |= {"seconds": plan.seconds, "all_running_after_seconds": round(started, 2)}
    found.facts |= {"descriptors": {"before": before, "after": after}}
    return found


def _play(world: World, plan: Plan, began: float) -> None:
    """Each step at its time, and what undoes it at its end."""
    order = count()
    due: list[tuple[float, int, Done, Step, Undo | None]] = []
    for step in plan.steps:
        heapq.heappush(due, (step.at, next(order), Done(step.kind, step.channel, 0.0), step, None))
    while due:
        at, _, done, step, undo = heapq.heappop(due)
        _await_moment(began + at)
        if undo is not None:
            undo()
            done.ended = time.time()
            continue
        done.began = done.ended = time.time()
        world.done.append(done)
        heapq.heappush(due, (at + step.seconds, next(order), done, step, begin(world, step)))
    _await_moment(began + plan.seconds)


def _play_in_turn(world: World, plan: Plan) -> None:
    """Each step when it is time, counted from the moment at which there is a recorder again."""
    for step in plan.steps:
        programs.eventually(world.recorder, RUNNING_SECONDS, "there is a recorder", every=0.02)
        _await_moment(time.monotonic() + step.at)
        done = Done(step.kind, step.channel, time.time())
        done.ended = done.began
        world.done.append(done)
        begin(world, step)


def _await_moment(moment: float) -> None:
    """Let time pass; `moment` is monotonic."""
    left = moment - time.monotonic()
    programs.eventually(lambda: time.monotonic() >= moment, left + 5, "the time has come", every=0.02)


def _beside_captures(world: World) -> int:
    """The recorder's descriptors without the sockets and the files of its captures."""
    return verdict.descriptors(world) - 2 * len(_kept(world))


def _heal(world: World) -> None:
    """Nothing is wrong any more: every capture runs, and has recorded for a while."""
    await_running(world)
    for channel in _kept(world):
        world.instance.await_recordings(channel.id, 1, RUNNING_SECONDS)


def _leave(world: World) -> None:
    """Disable every channel, and wait for the last rows."""
    for channel in _kept(world):
        world.ask("PATCH", f"/channel/{channel.id}", {"enabled": False})
    for channel in _kept(world):
        world.instance.await_state(channel.id, "stopped", 30)
        world.instance.await_account(channel.id, world.instance.get(f"/channel/{channel.id}")["created_at"])


def await_running(world: World) -> None:
    """Until all captures run, and it was no row of before that said so."""
    for channel in _kept(world):
        runs = partial(_runs, world, channel)
        programs.eventually(runs, RUNNING_SECONDS, f"channel {channel.number} runs", every=0.2)


def _runs(world: World, channel: Channel) -> bool:
    status = world.ask("GET", f"/channel/{channel.id}/status").json()
    return bool(status.get("state") == "running" and status.get("recorder_alive"))


def _kept(world: World) -> list[Channel]:
    return [channel for channel in world.channels if not channel.is_deleted]
