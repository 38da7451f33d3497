"""The oracle: what the product says of itself, and what it cannot know."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.framing import framer_for
from streamrec.models import Coverage, CoverageKind, EnabledPeriod, FileFormat, GapReason, Recording
from streamrec.settings import PROJECT, Settings
from tests.chaos import coverage, epochs
from tests.chaos.ledger import Finding, Ledger, is_spoiled
from tests.chaos.plan import COSTLESS, KINDS
from tests.chaos.planted import Watch
from tests.chaos.world import Channel, Done, World
from tests.station import clips
from tests.station.live import WINDOW, Live

DECODED = 20  # files of each kind that ffmpeg decodes; all are framed
SLACK_SECONDS = 0.5
AWAY_SECONDS = 30.0  # after a fault of the database, in which a request may still be refused
MUTE = {"stall", "drip", "silent", "slow_head", "shut", "denied", "busy", "web_page", "garbage"}
"""While these last, a radio without a burst sends nothing that it does not lose."""
LEAST_MUTE_SECONDS = 1.5
BACK_SECONDS = 9.0  # of a burst, a window and the fault itself
LIVE_MUTE = {"hls_away": 3.0, "hls_frozen": 3.0}  # seconds that it must be longer than its window


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


def judge(world: World, seed: int, watch: Watch) -> Verdict:
    """Look at everything, once every channel is disabled or deleted."""
    verdict = Verdict(seed)
    watch.answers()
    verdict.violations += [f"{one['id']}: {text}" for one in _audit(world) for text in one["examples"]]
    settings = Settings(data_dir=world.instance.data)
    engine = sa.create_engine(settings.database(), poolclass=sa.NullPool)
    with Session(engine) as session:
        findings = {channel.number: _ledger(session, world, channel) for channel in world.channels}
        outages = {channel.number: _gaps(session, channel) for channel in world.channels}
        covered = coverage.measured(session, world)
    for finding in findings.values():
        verdict.violations += finding.violations
    decoded = _decoded(world)
    verdict.violations += [f"{name} does not decode: {text}" for name, text in decoded.items() if text]
    verdict.violations += [*_unexplained(world, outages), *_unfelt(world, outages)]
    verdict.violations += [*_bad_answers(world), *_broken_promises(world)]
    watch.processes()
    watch.files()
    watch.tables(engine)
    stale, witnessed = epochs.violations(engine)
    verdict.violations += [*watch.violations, *stale]
    verdict.facts |= _counts(world, list(findings.values())) | {"recovery_seconds": _recoveries(world, outages)}
    verdict.facts |= {"coverage": covered, "looked_for_credentials": dict(watch.looked_at)}
    verdict.facts |= {"epochs_witnessed": witnessed}
    verdict.facts |= {"decoded": dict(Counter(Path(name).suffix for name in decoded))}
    return verdict


# --- the API ----------------------------------------------------------------------------------------------


def _bad_answers(world: World) -> list[str]:
    """I14: no 5xx but 503, and that with Retry-After and while the database may be away."""
    found = [each for each in world.answers if each.status >= 500]
    away = [done for done in world.done if KINDS[done.kind].scope in {"database", "kills"}]
    return [
        f"{each.request} answered {each.status} at {_clock(each.at)}, with Retry-After: {each.has_retry_after}"
        for each in found
        if each.status != 503
        or not each.has_retry_after
        or not any(done.began <= each.at <= done.ended + AWAY_SECONDS for done in away)
    ]


def _broken_promises(world: World) -> list[str]:
    """I12: what was acknowledged is so, and what was deleted is gone."""
    found = []
    for channel in world.channels:
        answer = world.ask("GET", f"/channel/{channel.id}")
        if channel.is_deleted or answer.status_code != 200:
            if (answer.status_code == 404) is not channel.is_deleted:
                found.append(f"channel {channel.number}: {answer.status_code}, deleted: {channel.is_deleted}")
            continue
        promised = {**channel.promised, "url": _CREDENTIALS.sub("://", str(channel.promised["url"]))}
        is_now = answer.json()
        broken = {name: value for name, value in promised.items() if is_now[name] != value}
        found += [f"channel {channel.number}: {broken} was acknowledged" for _ in broken and [1]]
    return found


_CREDENTIALS = re.compile("://[^/@]*@")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def _audit(world: World) -> list[dict[str, Any]]:
    """`streamrec audit`, reading every byte."""
    environment = {**os.environ, **world.instance.environment}
    command = [sys.executable, "-m", "streamrec", "audit", "--depth", "hash", "--json"]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    return list(json.loads(done.stdout)["invariants"])


def _ledger(session: Session, world: World, channel: Channel) -> Finding:
    statement = sa.select(Recording).where(Recording.channel_id == channel.id).order_by(Recording.start_time)
    periods = sa.select(EnabledPeriod).where(EnabledPeriod.channel_id == channel.id)
    enabled = session.scalars(periods.order_by(EnabledPeriod.start_time)).all()
    recordings = session.scalars(statement).all()
    return Ledger(channel, recordings, _gaps(session, channel), enabled, world.archive).run()


def _gaps(session: Session, channel: Channel) -> Sequence[Coverage]:
    statement = sa.select(Coverage).where(Coverage.channel_id == channel.id, Coverage.kind == CoverageKind.GAP)
    return session.scalars(statement.order_by(Coverage.start_time)).all()


def _decoded(world: World) -> dict[str, str]:
    """What ffmpeg says of DECODED files of each kind, evenly over all whose stations sent nothing but frames."""
    whole = [channel for channel in world.channels if not any(map(is_spoiled, channel.mounts))]
    folders = [world.archive / str(channel.promised["keyname"]) for channel in whole]
    found: dict[str, str] = {}
    for suffix in ("mp3", "aac", "ts"):
        files = sorted(path for folder in folders for path in folder.rglob(f"*.{suffix}") if _plays_alone(path))
        count = min(DECODED, len(files))
        sample = [files[number * len(files) // count] for number in range(count)]
        found |= {path.relative_to(world.archive).as_posix(): clips.decode_errors(path) for path in sample}
    return found


def _plays_alone(path: Path) -> bool:
    """Whether ffmpeg should be able to play a file: from a key picture on, and two frames of MP3 at least."""
    if path.suffix == ".aac":
        return True
    file_format = FileFormat(path.suffix[1:])
    with path.open("rb") as file:
        units = framer_for(file_format, awaits_cut=False).feed(file.read(1 << 16))
    return bool(units) and units[0].is_cut  # of MP3, the last frame is no unit before the stream is known to end


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
    """A fault of this channel, or of all, up to its end; media of a burst or a window lies some seconds back."""
    if done.kind in COSTLESS or (KINDS[done.kind].scope == "child" and channel.promised["capture"] != "ffmpeg"):
        return False
    is_its = done.channel is None or done.channel == channel.number
    return is_its and done.began - BACK_SECONDS <= begins <= max(done.ended, done.began) + BACK_SECONDS


def _unfelt(world: World, outages: dict[int, Sequence[Coverage]]) -> list[str]:
    """Faults that must have cost something, and of which no gap tells."""
    found = []
    for done in world.done:
        channel = next((each for each in world.channels if each.number == done.channel), None)
        if channel is None or channel.is_deleted or not _must_cost(channel, done):
            continue
        gaps = outages[channel.number]
        if not any(
            gap.start_time.timestamp() < done.ended and gap.end_time.timestamp() > done.began for gap in gaps
        ):
            found.append(f"channel {channel.number}: {done.kind} at {_clock(done.began)} left no gap")
    return found


def _must_cost(channel: Channel, done: Done) -> bool:
    """Whether the station cannot have sent again what it did not send then."""
    (mount,) = channel.mounts if len(channel.mounts) == 1 else (None,)
    lasted = done.ended - done.began
    if isinstance(mount, Live):
        return done.kind in LIVE_MUTE and lasted > (WINDOW + LIVE_MUTE[done.kind]) * mount.seconds
    if mount is None or mount.burst_frames:
        return False
    return done.kind in MUTE and lasted > LEAST_MUTE_SECONDS


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


def _errors(prefix: str, findings: list[Finding]) -> dict[str, Any]:
    bounds = [error for finding in findings for error in finding.bound_errors]
    starts = [error for finding in findings for error in finding.start_errors]
    told = {"gap_bound_error_seconds": bounds, "file_start_error_seconds": starts}
    return {f"{prefix}{name}": _spread(errors) for name, errors in told.items() if errors}


def _counts(world: World, findings: list[Finding]) -> dict[str, Any]:
    lost: Counter[str] = Counter()
    for finding in findings:
        lost.update(finding.lost_seconds)
    return {
        "channels": len(world.channels),
        "faults": dict(Counter(done.kind for done in world.done)),
        "faults_left_out": dict(world.left_out),
        "files": sum(finding.files for finding in findings),
        "frames": sum(finding.frames for finding in findings),
        "duplicate_frames": sum(finding.duplicates for finding in findings),
        "seam_frames": sum(finding.seam_frames for finding in findings),
        "lost_seconds": {reason: round(seconds, 3) for reason, seconds in sorted(lost.items())},
        **_errors("", [finding for finding in findings if not finding.is_live]),
        **_errors("hls_", [finding for finding in findings if finding.is_live]),
        "answers": {str(key): count for key, count in sorted(Counter(a.status for a in world.answers).items())},
    }
