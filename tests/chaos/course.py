"""A plan, played on a running instance, and healed in the end."""

from __future__ import annotations

import heapq
import time
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event

import sqlalchemy as sa

from streamrec.settings import Settings
from tests.chaos import epochs, parts, processes, verdict
from tests.chaos.faults import Undo, inject
from tests.chaos.plan import COSTLESS, QUIET_SECONDS, Plan, Step
from tests.chaos.planted import Watch
from tests.chaos.processes import DESCRIPTORS, THREADS, Census
from tests.chaos.verdict import Verdict
from tests.chaos.world import SPARE, Channel, Done, World, built, on_air
from tests.station import programs

RUNNING_SECONDS = 60.0  # in which all captures run again; longer says so, and the oracle looks all the same
LONGEST_SECONDS = 300.0
LEASE_SECONDS = 10.0  # after which no row says any more that a recorder lives which was killed


class Course:
    """One run of a plan on its world, and what is watched meanwhile."""

    def __init__(self, world: World, plan: Plan, enough: Event) -> None:
        """Once it is `enough`, what is wrong is undone and nothing more is done."""
        self._enough = enough
        self.world = world
        self.plan = plan
        self.watch = Watch(world, plan.channels + SPARE)
        self.census = Census()
        self._replaced = ""  # the recorder that the last step replaced

    def play(self) -> dict[str, object]:
        """From the first channel to the last fault healed; what was measured."""
        world = self.world
        created = time.monotonic()
        for mount in on_air(world, self.plan):
            world.create(mount)
        await_running(world)
        began = time.monotonic()
        self._await_moment(began + QUIET_SECONDS / 2)
        before = _beside_captures(world), processes.threads(world)
        if self.plan.waits:
            self._in_turn()
        else:
            self._in_time(began)
        healed = heal(world)
        after = _beside_captures(world), processes.threads(world)
        self.watch.processes()
        return {
            "seconds": self.plan.seconds,
            "all_created_and_running_after_seconds": round(began - created, 2),
            "all_healed_after_seconds": round(healed, 2),
            "descriptors": {"before": before[0], "after": after[0]},
            "threads": {"before": before[1], "after": after[1]},
        }

    def _in_time(self, began: float) -> None:
        """Each step at its time, and what undoes it at its end."""
        order = count()
        due: list[tuple[float, int, Step, tuple[Done, Undo] | None]] = []
        for step in self.plan.steps:
            heapq.heappush(due, (step.at, next(order), step, None))
        while due:
            at, _, step, injected = heapq.heappop(due)
            self._await_moment(began + at)
            if injected is not None:
                _undo(*injected)
            elif not self._enough.is_set():
                injected = inject(self.world, step)
                if injected is not None:
                    heapq.heappush(due, (at + step.seconds, next(order), step, injected))
                self.watch.processes()
        self._await_moment(began + self.plan.seconds)

    def _in_turn(self) -> None:
        """Each step when it is time, counted from the moment at which there is a recorder again."""
        for step in self.plan.steps:
            if self._enough.is_set():
                return
            self._await_turn(step)
            self._await_moment(time.monotonic() + step.at)
            inject(self.world, step)
        if step.kind in COSTLESS:
            self._await_turn(step)  # so that the last one is judged whole
        else:
            self._await_moment(time.monotonic() + LEASE_SECONDS)

    def _await_turn(self, step: Step) -> None:
        """Until there is a recorder; one that is to be replaced must have all captures first."""
        if step.kind not in COSTLESS:
            programs.eventually(self.world.recorder, RUNNING_SECONDS, "there is a recorder", every=0.02)
            return
        has_settled = partial(_has_all, self.world, but=self._replaced)
        programs.eventually(has_settled, LONGEST_SECONDS, "one recorder has all captures", every=0.2)
        self._replaced = self.world.instance.status(self.world.channels[0].id)["recorder_id"]

    def _await_moment(self, moment: float) -> None:
        """Let time pass; `moment` is monotonic."""

        def has_come() -> bool:
            self.census.count(self.world)
            return time.monotonic() >= moment or self._enough.is_set()

        programs.eventually(has_come, moment - time.monotonic() + 5, "the time has come", every=0.02)


def _undo(done: Done, undo: Undo) -> None:
    undo()
    done.ended = time.time()


def run(plan: Plan, folder: Path, enough: Event | None = None) -> Verdict:
    """Play `plan` on an instance in `folder` until its end, or until it is `enough`; let it heal, and judge."""
    with built(folder, plan) as world:
        witness(world)
        course = Course(world, plan, enough or Event())
        facts = course.play()
        try:
            found = judged(world, plan.seed, course.watch)
        finally:
            world.station.journal.write(folder / "station.jsonl")
    found.violations += [*_grown(facts), *_slow(facts)]
    found.facts |= facts | {"processes": course.census.told()}
    return found


def judged(world: World, seed: int, watch: Watch) -> Verdict:
    """Disable every channel, judge, and stop the instance: nothing captures any more after either."""
    longest = world.segment_seconds + parts.SLACK_SECONDS
    before = [*processes.strays(world), *parts.old(world.archive, longest)]
    leave(world)
    before += processes.left(world, "for channels that are disabled")
    before += parts.abandoned(world.archive, longest)
    found = verdict.judge(world, seed, watch)
    world.instance.stop()
    found.violations += [*before, *processes.left(world, "for an instance that has stopped")]
    return found


def witness(world: World) -> None:
    """Have the database see every epoch from now on; `verdict.judge` asks it."""
    epochs.install(sa.create_engine(Settings(data_dir=world.instance.data).database(), poolclass=sa.NullPool))


def _slow(facts: dict[str, object]) -> list[str]:
    took = facts["all_healed_after_seconds"]
    assert isinstance(took, float)
    return (
        [f"not all captures ran again within {RUNNING_SECONDS:g} s: {took:g} s"] if took > RUNNING_SECONDS else []
    )


def _grown(facts: dict[str, object]) -> list[str]:
    """I10: what the recorder has more of than at the start."""
    found = []
    for name, most in {"descriptors": DESCRIPTORS, "threads": THREADS}.items():
        told = facts[name]
        assert isinstance(told, dict)
        if told["after"] > told["before"] + most:
            found.append(
                f"the recorder has {told['after']} {name} beside its captures', {told['before']} at first"
            )
    return found


def _beside_captures(world: World) -> int:
    """The recorder's descriptors without the sockets and the files of its captures."""
    return processes.descriptors(world) - 2 * len(_kept(world))


def heal(world: World) -> float:
    """Nothing is wrong any more: every capture runs, and has recorded for a while. The seconds that it took."""
    began = time.monotonic()
    await_running(world)
    for channel in _kept(world):
        world.instance.await_recordings(channel.id, 1, LONGEST_SECONDS)
    return time.monotonic() - began


def leave(world: World) -> None:
    """Disable every channel, and wait for the last rows."""
    for channel in _kept(world):
        world.change(channel, enabled=False)
    for channel in _kept(world):
        world.instance.await_state(channel.id, "stopped", LONGEST_SECONDS)
        world.instance.await_account(channel.id, world.instance.get(f"/channel/{channel.id}")["created_at"])


def await_running(world: World) -> None:
    """Until all captures run, and it was no row of before that said so."""
    for channel in _kept(world):
        runs = partial(_runs, world, channel)
        programs.eventually(runs, LONGEST_SECONDS, f"channel {channel.number} runs", every=0.2)


def _has_all(world: World, *, but: str) -> bool:
    """Whether all captures run, all of them under the same recorder, which is another one than that, and alone."""
    if world.instance.stand_ins():
        return False
    statuses = [world.ask("GET", f"/channel/{channel.id}/status").json() for channel in _kept(world)]
    recorders = {status["recorder_id"] for status in statuses}
    return len(recorders) == 1 and recorders != {but} and all(map(_is_running, statuses))


def _runs(world: World, channel: Channel) -> bool:
    return _is_running(world.ask("GET", f"/channel/{channel.id}/status").json())


def _is_running(status: dict[str, object]) -> bool:
    return bool(status.get("state") == "running" and status.get("recorder_alive"))


def _kept(world: World) -> list[Channel]:
    return [channel for channel in world.channels if not channel.is_deleted]
