"""Facts become rows, in a real database."""

from __future__ import annotations

import base64
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session as OrmSession

from streamrec import db, indexes
from streamrec.indexes import Growing
from streamrec.models import Coverage, EnabledPeriod, FileFormat, GapReason, Recording, RecordingIndex, Run
from streamrec.recorder import book
from streamrec.recorder.facts import Fact, GapNoted, RunEnded, RunStarted, SegmentClosed
from streamrec.recorder.ledger import Ledger
from tests.factories import at, channel


def started(channel_id: int) -> RunStarted:
    return RunStarted(uuid4(), channel_id, uuid4(), "ffmpeg", FileFormat.MP3, "mp3", at(0))


def closed(run: RunStarted, start: float, end: float) -> SegmentClosed:
    key = f"aaaaaaaaaa/2026/11/01/{int(start)}.mp3"
    return SegmentClosed(
        uuid4(), run.run_id, run.channel_id, key, FileFormat.MP3, "mp3", at(start), at(end), 1000, "0" * 64
    )


def gap(channel_id: int, start: float, end: float) -> GapNoted:
    return GapNoted(uuid4(), channel_id, at(start), at(end), GapReason.STALLED, "No media.")


def spans(session: OrmSession) -> list[tuple[str, float, float]]:
    """All coverage, in seconds."""
    rows = session.execute(
        sa.select(Coverage.kind, Coverage.start_time, Coverage.end_time).order_by(Coverage.start_time)
    )
    return [
        (kind.value, (start - at(0)).total_seconds(), (end - at(0)).total_seconds()) for kind, start, end in rows
    ]


def test_a_closed_file_becomes_a_recording_and_its_coverage(session: OrmSession):
    """With all that is known of it."""
    run = started(channel(session).id)
    fact = closed(run, 0, 60)

    for each in (run, fact, RunEnded(run.run_id, at(60), "disabled")):
        book.record(session, each)

    recording = session.scalars(sa.select(Recording)).one()
    assert (recording.uuid, recording.path, recording.size_bytes) == (fact.uuid, fact.key, 1000)
    assert session.scalars(sa.select(Coverage.recording_id)).one() == recording.id
    assert session.scalars(sa.select(Run.end_reason)).one() == "disabled"


def test_an_index_takes_its_place_behind_the_recording_before(session: OrmSession):
    """Numbers count pieces and the parts of gaps; a break is another run, or a gap."""
    first, second = started(channel(session).id), started(1)
    second = replace(second, channel_id=first.channel_id)
    facts = [closed(first, 0, 60), closed(first, 60, 120), closed(second, 130, 190)]

    for run in (first, second):
        book.record(session, run)
    for fact in facts:
        book.record(session, replace(fact, index=base64.b64encode(bytes(8) + bytes(8 * 15)).decode()))

    columns = (RecordingIndex.number, RecordingIndex.discontinuity)
    places = session.execute(sa.select(*columns).order_by(RecordingIndex.recording_id)).all()
    assert places == [(0, 0), (15, 0), (32, 1)]  # ten seconds of gap are two parts


def test_what_grew_is_forgotten_when_it_is_a_recording(session: OrmSession):
    run = started(channel(session).id)
    fact = closed(run, 0, 60)
    book.record(session, run)
    growing = Growing(fact.uuid, run.run_id, fact.key, FileFormat.MP3, "mp3", at(0), bytes(8 + 8))
    longer = replace(growing, data=bytes(8 + 16))

    for told in (growing, longer, growing):
        indexes.grow(session, [(run.channel_id, told)])
    assert [row.data for row in indexes.open_files(session, run.channel_id)] == [longer.data]
    book.record(session, fact)
    indexes.grow(session, [(run.channel_id, longer)])

    assert indexes.open_files(session, run.channel_id) == []


def test_every_fact_may_come_twice(session: OrmSession):
    """A crash between the commit and the note of it repeats the batch."""
    run = started(channel(session).id)
    facts = [run, closed(run, 0, 60), gap(run.channel_id, 60, 70), RunEnded(run.run_id, at(60), "stalled")]

    for fact in [*facts, *facts]:
        book.record(session, fact)

    assert spans(session) == [("recorded", 0, 60), ("gap", 60, 70)]


def test_a_recording_that_was_deleted_does_not_come_back(session: OrmSession):
    """Its coverage row remembers that it was."""
    run = started(channel(session).id)
    fact = closed(run, 0, 60)
    for each in (run, fact):
        book.record(session, each)
    session.execute(sa.delete(Recording))

    book.record(session, fact)

    assert session.scalar(sa.select(sa.func.count()).select_from(Recording)) == 0


def test_a_gap_grows_shrinks_and_goes(session: OrmSession):
    """One row, whose bounds are replaced; of no length, it is withdrawn."""
    fact = gap(channel(session).id, 0, 10)
    seen = []

    for end in (10, 40, 20, 0):
        book.record(session, replace(fact, end_time=at(end)))
        seen.append(spans(session))

    assert seen == [[("gap", 0, 10)], [("gap", 0, 40)], [("gap", 0, 20)], []]


def test_holes_become_gaps_but_for_the_live_end(session: OrmSession):
    """Between what is told, and not after it."""
    made = channel(session, expected_from=at(0))
    run = started(made.id)
    for fact in (run, closed(run, 10, 20), closed(run, 30, 40)):
        book.record(session, fact)

    count = book.fill_holes(session, GapReason.RECORDER_DOWN, "No recorder was running.")

    assert count == 2
    assert spans(session) == [("gap", 0, 10), ("recorded", 10, 20), ("gap", 20, 30), ("recorded", 30, 40)]


def test_a_period_that_ended_unseen_is_a_gap_as_a_whole(session: OrmSession):
    """Enabled and disabled while no recorder ran; a period that has just ended is left to its capture."""
    made = channel(session, expected_from=at(0))
    session.execute(sa.update(EnabledPeriod).values(end_time=at(5)))

    too_young = book.fill_holes(session, GapReason.DISABLED, "", age=timedelta(days=36500))
    count = book.fill_holes(session, GapReason.RECORDER_DOWN, "")

    assert (too_young, count, spans(session)) == (0, 1, [("gap", 0, 5)])
    assert session.scalars(sa.select(Coverage.channel_id)).one() == made.id


class Memory:
    """A journal without a disk."""

    def __init__(self, facts: list[Fact]) -> None:
        self.facts = facts
        self.has_news = threading.Event()

    def pending(self, limit: int | None = None) -> list[Fact]:
        return self.facts[:limit]

    def done(self, fact: Fact) -> None:
        self.facts.remove(fact)


def test_a_fact_that_the_database_refuses_does_not_hold_up_the_others(engine: Engine, tmp_path: Path):
    """It is set aside in words, and the next ones become rows."""
    with db.Session.begin() as session:
        channel_id = channel(session).id
    run = started(channel_id)
    journal = Memory([run, closed(run, 0, 60), closed(run, 30, 90), gap(channel_id, 60, 70)])

    Ledger(journal, refused=tmp_path / "refused.txt").step()

    with db.Session.begin() as session:
        assert spans(session) == [("recorded", 0, 60), ("gap", 60, 70)]
    assert journal.facts == []
    assert "coverage_overlap_excl" in (tmp_path / "refused.txt").read_text()


def test_facts_wait_while_the_database_is_away(engine: Engine, tmp_path: Path):
    """Nothing is lost, nothing is raised, and it goes on by itself."""
    with db.Session.begin() as session:
        channel_id = channel(session).id
    journal = Memory([gap(channel_id, 0, 10)])
    replay = Ledger(journal, refused=tmp_path / "refused.txt")
    away = sa.create_engine("postgresql+psycopg2://nobody@/nothing?host=/nonexistent")
    db.Session.configure(bind=away)
    while_away = replay.step()
    waiting = list(journal.facts)
    db.Session.configure(bind=engine)

    assert (while_away, len(waiting), replay.step(), journal.facts) == (0, 1, 1, [])
    away.dispose()


def test_stopping_replays_what_is_left(engine: Engine, tmp_path: Path):
    """The last rows of a recorder that leaves."""
    with db.Session.begin() as session:
        channel_id = channel(session).id
    journal = Memory([gap(channel_id, n, n + 1) for n in range(300)])
    replay = Ledger(journal, refused=tmp_path / "refused.txt")
    replay.start()

    assert replay.stop(10)
    with db.Session.begin() as session:
        assert len(spans(session)) == 300


def test_files_of_many_channels_become_rows_together_and_each_once(session: OrmSession):
    """Also when one of them is a row already, and when a channel has two of them."""
    made = [channel(session, keyname=f"many-chan{number}").id for number in range(3)]
    runs = [started(channel_id) for channel_id in made]
    files = [replace(closed(run, 0, 60), key=f"{run.run_id}.mp3") for run in runs]
    later = closed(runs[0], 60, 120)
    book.record_all(session, [*runs, files[1]])

    book.record_all(session, [*files, later, *(RunEnded(run.run_id, at(120), "stalled") for run in runs)])

    rows = session.execute(sa.select(Coverage.channel_id, Coverage.start_time).order_by(Coverage.channel_id)).all()
    assert sorted(rows) == sorted([*((each, at(0)) for each in made), (made[0], at(60))])
    assert session.scalar(sa.select(sa.func.count()).select_from(Recording)) == 4
