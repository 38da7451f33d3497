"""The oracle: what the product says of itself, and what it cannot know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.models import Coverage, CoverageKind, GapReason, Recording
from streamrec.settings import PROJECT, Settings
from tests.chaos.ledger import Finding, Ledger
from tests.chaos.world import Channel, Done, World
from tests.station import clips

DECODED = 20  # files that ffmpeg decodes; all are framed
DESCRIPTORS = 5  # more than at the start is growth
SLACK_SECONDS = 0.5


@dataclass
class Verdict:
    """Everything that was found; good when nothing is wrong."""

    seed: int
    violations: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def written(self) -> str:
        """One JSON object."""
        return json.dumps(
            {"good": not self.violations, "seed": self.seed, "violations": self.violations, **self.facts},
            indent=1,
            default=str,
        )


def judge(world: World, seed: int) -> Verdict:
    """Look at everything, once every channel is disabled or deleted."""
    verdict = Verdict(seed)
    verdict.violations += [f"{one['id']}: {text}" for one in _audit(world) for text in one["examples"]]
    settings = Settings(data_dir=world.instance.data)
    engine = sa.create_engine(settings.database(), poolclass=sa.NullPool)
    with Session(engine) as session:
        findings = {channel.number: _ledger(session, world, channel) for channel in world.channels}
        outages = {channel.number: _gaps(session, channel) for channel in world.channels}
    for finding in findings.values():
        verdict.violations += finding.violations
    verdict.violations += _undecodable(world)
    verdict.violations += _unexplained(world, outages)
    verdict.violations += [
        f"{count} answers {status}" for status, count in world.answers.items() if _is_bad(status)
    ]
    verdict.facts |= _counts(world, list(findings.values())) | {"recovery_seconds": _recoveries(world, outages)}
    return verdict


def _is_bad(status: int) -> bool:
    return status >= 500 and status != 503


def _audit(world: World) -> list[dict[str, Any]]:
    """`streamrec audit`, reading every byte."""
    environment = {**os.environ, **world.instance.environment}
    command = [sys.executable, "-m", "streamrec", "audit", "--depth", "hash", "--json"]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    return list(json.loads(done.stdout)["invariants"])


def _ledger(session: Session, world: World, channel: Channel) -> Finding:
    statement = sa.select(Recording).where(Recording.channel_id == channel.id).order_by(Recording.start_time)
    return Ledger(channel, session.scalars(statement).all(), _gaps(session, channel), world.archive).run()


def _gaps(session: Session, channel: Channel) -> Sequence[Coverage]:
    statement = sa.select(Coverage).where(Coverage.channel_id == channel.id, Coverage.kind == CoverageKind.GAP)
    return session.scalars(statement.order_by(Coverage.start_time)).all()


def _undecodable(world: World) -> list[str]:
    """What ffmpeg says of a sample, evenly over the whole archive."""
    files = sorted(world.archive.rglob("*.mp3"))
    sample = files[:: max(1, len(files) // DECODED)]
    told = {path.name: clips.decode_errors(path) for path in sample}
    if any(done.kind in {"flips", "garbage", "page", "torn"} for done in world.done):
        return []  # such a station's own frames do not decode
    return [f"{name} does not decode: {text}" for name, text in told.items() if text]


# --- what was lost, and why -------------------------------------------------------------------------------


def _unexplained(world: World, outages: dict[int, Sequence[Coverage]]) -> list[str]:
    """Gaps that begin while nothing was injected that could have caused them."""
    found = []
    for channel in world.channels:
        for gap in outages[channel.number]:
            if gap.reason in {GapReason.STARTING, GapReason.DISABLED}:
                continue
            begins = gap.start_time.timestamp()
            if not any(_may_explain(done, channel, begins) for done in world.done):
                found.append(f"channel {channel.number}: nobody caused the gap ({gap.reason}) at {gap.start_time}")
    return found


def _may_explain(done: Done, channel: Channel, begins: float) -> bool:
    """A fault of this channel, or of all, up to its end; media of a burst lies up to five seconds back."""
    is_its = done.channel is None or done.channel == channel.number
    return is_its and done.began - 6.0 <= begins <= max(done.ended, done.began) + 6.0


def _recoveries(world: World, outages: dict[int, Sequence[Coverage]]) -> dict[str, dict[str, float]]:
    """Of each kind of fault, for how long after its end nothing was recorded: 0 where nothing was lost."""
    found: dict[str, list[float]] = {}
    for done in world.done:
        hit = [c for c in world.channels if done.channel in {None, c.number}]
        for channel in hit:
            ends = [
                gap.end_time.timestamp() - done.ended
                for gap in outages[channel.number]
                if done.began - SLACK_SECONDS <= gap.end_time.timestamp()
                and gap.start_time.timestamp() <= done.ended + SLACK_SECONDS
                and gap.reason is not GapReason.STARTING
            ]
            found.setdefault(done.kind, []).append(max(0.0, *ends) if ends else 0.0)
    return {kind: _spread(seconds) for kind, seconds in sorted(found.items())}


def _spread(seconds: list[float]) -> dict[str, float]:
    """How they lie: the least of them that so many are not above."""
    ordered = sorted(seconds)

    def share(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3)

    return {"count": len(ordered), "p50": share(0.5), "p99": share(0.99), "max": round(ordered[-1], 3)}


def _counts(world: World, findings: list[Finding]) -> dict[str, Any]:
    lost: Counter[str] = Counter()
    for finding in findings:
        lost.update(finding.lost_seconds)
    return {
        "channels": len(world.channels),
        "faults": dict(Counter(done.kind for done in world.done)),
        "files": sum(finding.files for finding in findings),
        "frames": sum(finding.frames for finding in findings),
        "duplicate_frames": sum(finding.duplicates for finding in findings),
        "lost_seconds": {reason: round(seconds, 3) for reason, seconds in sorted(lost.items())},
        "gap_bound_error_seconds": _spread(
            [error for finding in findings for error in finding.bound_errors] or [0]
        ),
        "file_start_error_seconds": _spread(
            [error for finding in findings for error in finding.start_errors] or [0]
        ),
        "answers": {str(status): count for status, count in sorted(world.answers.items())},
    }


# --- processes --------------------------------------------------------------------------------------------


def descriptors(world: World) -> int:
    """How many the recorder has open."""
    recorder = world.recorder()
    return recorder.num_fds() if recorder is not None else 0


def strays(world: World) -> list[str]:
    """Processes that are none of the instance's: dead ones that nobody waited for, captures without a recorder."""
    ours = [psutil.Process(world.instance.process.pid), *psutil.Process().children(recursive=True)]
    dead = [f"{one.pid} is a zombie" for one in ours if _is_zombie(one)]
    recorders = world.instance.recorders()
    many = [f"{len(recorders)} recorders run"] if len(recorders) != 1 else []
    mine = {child.pid for one in recorders for child in one.children(recursive=True)}
    loose = [
        f"{one.pid} captures without a recorder"
        for one in psutil.process_iter(["name", "environ", "cmdline"])
        if "ffmpeg" in (one.info["name"] or "")
        and str(world.instance.data) in " ".join(one.info["cmdline"] or [])
        and one.pid not in mine
    ]
    return dead + many + loose


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
