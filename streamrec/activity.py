"""The recorders' figures for Prometheus, from a few small rows and never from a scan of what was recorded."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector as PrometheusCollector
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session as OrmSession

from streamrec import canary, captures, jobs, sealing
from streamrec.clock import now
from streamrec.db import Session, away_as_unavailable
from streamrec.errors import DatabaseAway
from streamrec.handover.waiting import waiting
from streamrec.models import (
    ArchiveCheck,
    Assignment,
    Capture,
    CaptureState,
    Channel,
    Coverage,
    CoverageKind,
    Job,
    JobState,
    Recorder,
    RecordingFault,
)
from streamrec.settings import Settings

_Family = CounterMetricFamily | GaugeMetricFamily


class Collector(PrometheusCollector):
    """Reads when it is scraped; without a database it says only that there is none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterator[_Family]:
        try:
            with away_as_unavailable(), Session.begin() as session:
                found = [
                    *_totals(session),
                    *_captures(session),
                    *_gaps(session),
                    *_jobs(session),
                    *_canary(session),
                    *_archive(session, self._settings),
                    *_sealing(session, self._settings),
                ]
        except DatabaseAway:
            found = []
        up = GaugeMetricFamily("streamrec_database_up", "1 if the database answers.")
        up.add_metric([], 1 if found else 0)
        yield up
        yield from found

    def describe(self) -> Iterator[_Family]:
        """Nothing: registering must not ask the database."""
        return iter(())


def _totals(session: OrmSession) -> Iterator[_Family]:
    """Each start of a recorder has a row of its own, so the sums never fall."""
    row = session.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(Recorder.media_bytes), 0),
            sa.func.coalesce(sa.func.sum(Recorder.media_seconds), 0),
            sa.func.coalesce(sa.func.sum(Recorder.restarts), 0),
            sa.func.count().filter(captures.is_alive()),
            sa.func.coalesce(sa.func.max(Recorder.loop_lag_seconds).filter(captures.is_alive()), 0),
        )
    ).one()
    names = (
        ("streamrec_media_bytes", "Bytes of media that all recorders have received."),
        ("streamrec_media_seconds", "Seconds of media that all recorders have written."),
        ("streamrec_capture_restarts", "Attempts to capture a channel after a first one."),
    )
    for (name, text), value in zip(names, row[:3], strict=True):
        yield CounterMetricFamily(name, text, value=float(value))
    yield GaugeMetricFamily("streamrec_recorders_alive", "Recorders with a fresh heartbeat.", value=row[3])
    late = "What 99 of 100 of the latest turns of an event loop were late or long by; the worst recorder's."
    yield GaugeMetricFamily("streamrec_recorder_loop_lag_seconds", late, value=float(row[4]))
    yield from _placement(session)
    yield from _room(session)
    wanted = sa.select(sa.func.count()).where(Channel.enabled, Channel.deleted_at.is_(None))
    yield GaugeMetricFamily(
        "streamrec_channels_enabled", "Channels that are to be recorded.", value=session.scalar(wanted) or 0
    )


def _room(session: OrmSession) -> Iterator[_Family]:
    """Recorders of a host write one disk as a rule; if not, the fullest of theirs counts."""
    free = GaugeMetricFamily("streamrec_archive_free_bytes", "May still be written.", labels=["host"])
    disk = GaugeMetricFamily("streamrec_archive_disk_bytes", "Of the whole disk.", labels=["host"])
    share = sa.cast(Recorder.free_bytes, sa.Float) / sa.func.nullif(Recorder.disk_bytes, 0)
    fullest = (
        sa.select(Recorder.host, Recorder.free_bytes, Recorder.disk_bytes)
        .where(captures.is_alive(), Recorder.disk_bytes.is_not(None))
        .ext(distinct_on(Recorder.host))
        .order_by(Recorder.host, share.nulls_first())
    )
    for host, free_bytes, disk_bytes in session.execute(fullest):
        free.add_metric([host], float(free_bytes or 0))
        disk.add_metric([host], float(disk_bytes or 0))
    yield free
    yield disk


def _placement(session: OrmSession) -> Iterator[_Family]:
    """Who could hold channels, and who does."""
    room = sa.select(sa.func.coalesce(sa.func.sum(Recorder.capacity), 0)).where(captures.is_alive())
    held = (
        sa.select(sa.func.count())
        .select_from(Assignment)
        .join(Recorder, Recorder.id == Assignment.recorder_id)
        .where(captures.is_alive())
    )
    changes = sa.select(sa.func.coalesce(sa.func.sum(Assignment.epoch), 0))
    for name, text, query in (
        ("streamrec_recorder_capacity", "Channels that all living recorders may hold.", room),
        ("streamrec_channels_held", "Channels that a living recorder holds.", held),
    ):
        yield GaugeMetricFamily(name, text, value=float(session.scalar(query) or 0))
    value = float(session.scalar(changes) or 0)
    yield CounterMetricFamily("streamrec_assignment_changes", "Channels that changed hands.", value=value)


def _captures(session: OrmSession) -> Iterator[_Family]:
    """What a dead recorder last said does not count: its captures are stopped."""
    rows = session.execute(
        sa.select(captures.STATE, sa.func.count())
        .select_from(Capture)
        .outerjoin(Recorder, Capture.recorder_id == Recorder.id)
        .group_by(sa.text("1"))
    )
    counts: dict[str, int] = {str(row[0]): row[1] for row in rows}
    family = GaugeMetricFamily("streamrec_captures", "Captures by state.", labels=["state"])
    for member in CaptureState:
        family.add_metric([member.value], counts.get(member.value, 0))
    yield family


def _canary(session: OrmSession) -> Iterator[_Family]:
    """Nothing where no canary is kept."""
    found = canary.state(session.execute(canary.state_query()).one_or_none(), now())
    if found is None:
        return
    yield GaugeMetricFamily("streamrec_canary_ok", "1 if the canary is archived as sent.", value=found.is_ok)
    yield CounterMetricFamily("streamrec_canary_frames", "Frames that were compared.", value=found.frames)
    yield CounterMetricFamily("streamrec_canary_faults", "Faults that were found.", value=found.faults)
    text = "Age of the newest that was compared."
    yield GaugeMetricFamily("streamrec_canary_age_seconds", text, value=found.age_seconds)


def _gaps(session: OrmSession) -> Iterator[_Family]:
    """The last 24 hours: an index on the ends of gaps keeps that cheap, and an outage counts as it grows."""
    since = sa.func.now() - sa.text("interval '1 day'")
    length = sa.extract("epoch", Coverage.end_time - sa.func.greatest(Coverage.start_time, since))
    rows = session.execute(
        sa.select(Coverage.reason, sa.func.count(), sa.func.sum(length))
        .where(Coverage.kind == CoverageKind.GAP, Coverage.end_time > since)
        .group_by(Coverage.reason)
    ).all()
    count = GaugeMetricFamily("streamrec_gaps_last_day", "Gaps in the last 24 hours.", labels=["reason"])
    seconds = GaugeMetricFamily(
        "streamrec_gap_seconds_last_day", "Seconds lost in the last 24 hours.", labels=["reason"]
    )
    for reason, number, lost in rows:
        count.add_metric([str(reason)], number)
        seconds.add_metric([str(reason)], float(lost))
    yield count
    yield seconds


def _jobs(session: OrmSession) -> Iterator[_Family]:
    """What is open, how long it waits, what ended in the last day, and who works."""
    rows = session.execute(
        sa.select(Job.state, sa.func.count(), sa.func.max(sa.extract("epoch", sa.func.now() - Job.created_at)))
        .where(sa.or_(Job.ended_at.is_(None), Job.ended_at > sa.func.now() - sa.text("interval '1 day'")))
        .group_by(Job.state)
    ).all()
    found = {str(state): (count, age) for state, count, age in rows}
    text = "Jobs by state; ended ones of the last 24 hours."
    counts = GaugeMetricFamily("streamrec_jobs", text, labels=["state"])
    for member in JobState:
        counts.add_metric([member.value], found.get(member.value, (0, 0))[0])
    yield counts
    oldest = float(found.get(JobState.QUEUED.value, (0, 0))[1])
    yield GaugeMetricFamily(
        "streamrec_job_wait_seconds", "Age of the oldest job that nobody does yet.", value=oldest
    )
    state = jobs.State(*session.execute(jobs.STATE).one())
    text = "Job workers with a fresh heartbeat."
    yield GaugeMetricFamily("streamrec_job_workers_alive", text, value=float(state.workers))
    text = "1 if a job worker is alive, or no job waits for one."
    yield GaugeMetricFamily("streamrec_jobs_ok", text, value=float(state.is_ok))


def _archive(session: OrmSession, settings: Settings) -> Iterator[_Family]:
    """What the looks at the archive found, and what waits for its bucket."""
    faults = session.scalar(sa.select(sa.func.count()).select_from(RecordingFault)) or 0
    text = "Recordings whose bytes are missing or are not what their rows say."
    yield GaugeMetricFamily("streamrec_archive_faults", text, value=faults)
    age = GaugeMetricFamily(
        "streamrec_archive_check_age_seconds",
        "Seconds since the last look of this level.",
        labels=["level", "host"],
    )
    seconds = sa.extract("epoch", sa.func.clock_timestamp() - ArchiveCheck.checked_at)
    for level, host, value in session.execute(sa.select(ArchiveCheck.level, ArchiveCheck.host, seconds)):
        age.add_metric([level, host], float(value))
    yield age
    late = waiting(session, settings)
    for name, what, figure in (
        ("streamrec_handover_waiting", "Files that are to move to the bucket.", late.files),
        ("streamrec_handover_waiting_bytes", "Their bytes.", late.size_bytes),
        ("streamrec_handover_oldest_seconds", "Since when the oldest of them waits.", late.oldest_seconds),
    ):
        yield GaugeMetricFamily(name, what, value=float(figure))


def _sealing(session: OrmSession, settings: Settings) -> Iterator[_Family]:
    """Whether the days that are over are sealed."""
    found = sealing.state(session, settings)
    age = GaugeMetricFamily("streamrec_sealed_age_seconds", "Since the end of the last sealed day.")
    if found.age_seconds is not None:
        age.add_metric([], found.age_seconds)
    yield age
    text = "Since the end of the oldest day that is over and not sealed."
    yield GaugeMetricFamily("streamrec_sealing_late_seconds", text, value=found.late_seconds)
    text = "0 while something keeps a day from being sealed."
    yield GaugeMetricFamily("streamrec_sealing_ok", text, value=float(found.is_ok))
