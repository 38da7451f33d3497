"""Facts that come late, in a real database and on a real disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.archive import layout
from streamrec.archive.files import Tree
from streamrec.models import Coverage, FileFormat, GapReason, Recording, Run
from streamrec.recorder import book
from streamrec.recorder.facts import Fact, GapNoted, RunStarted, SegmentClosed
from streamrec.recorder.ledger import Ledger
from streamrec.recorder.placement.interface import Member
from streamrec.recorder.placement.postgres import PostgresPlacement
from streamrec.recorder.settlement import Settlement
from tests.factories import at, channel

FRAME = 0.036  # 1152 samples at 32 kHz


def mp3_frame(number: int) -> bytes:
    """MPEG-1 layer III, 128 kb/s, 32 kHz."""
    return b"\xff\xfb\x98\x64" + number.to_bytes(4) + bytes(568)


class Memory:
    """A journal without a disk."""

    def __init__(self, *facts: Fact) -> None:
        self.facts = list(facts)
        self.has_news = threading.Event()

    def pending(self, limit: int | None = None) -> list[Fact]:
        return self.facts[:limit]

    def done(self, fact: Fact) -> None:
        self.facts.remove(fact)


@dataclass
class Scene:
    """A channel that one recorder held under epoch 1, and that another took over under epoch 2."""

    folder: Path
    archive: Tree
    channel_id: int
    placement: PostgresPlacement
    old: UUID
    new: UUID

    def tell(self, *facts: Fact) -> list[Fact]:
        """Offer facts to the database as a recorder does; what is still pending."""
        journal = Memory(*facts)
        late = Settlement(self.archive, self.folder / "quarantine")
        Ledger(journal, refused=self.folder / "refused.txt", late=late).step()
        return journal.facts

    def run(self, epoch: int, start: float) -> RunStarted:
        who = self.old if epoch == 1 else self.new
        return RunStarted(uuid4(), self.channel_id, who, "icy", FileFormat.MP3, "mp3", at(start), epoch)

    def file(self, run: RunStarted, start: float, frames: int) -> SegmentClosed:
        """Frames of 36 ms each."""
        key = layout.key(
            keyname="gr-rstpk-1", start_time=at(start), run_id=run.run_id, epoch=run.epoch, format=FileFormat.MP3
        )
        data = b"".join(mp3_frame(n) for n in range(frames))
        descriptor = self.archive.create(key)
        os.write(descriptor, data)
        os.close(descriptor)
        return SegmentClosed(
            uuid4(),
            run.run_id,
            self.channel_id,
            key,
            FileFormat.MP3,
            "mp3",
            at(start),
            at(start + frames * FRAME),
            len(data),
            sha256(data).hexdigest(),
            epoch=run.epoch,
        )

    def gap(self, epoch: int, start: float, end: float) -> GapNoted:
        return GapNoted(
            uuid4(), self.channel_id, at(start), at(end), GapReason.RECORDER_DOWN, "No recorder.", epoch
        )

    @property
    def spans(self) -> list[tuple[str, float, float, int | None]]:
        with db.Session.begin() as session:
            rows = session.scalars(sa.select(Coverage).order_by(Coverage.start_time)).all()
        return [(row.kind.value, seconds(row.start_time), seconds(row.end_time), row.epoch) for row in rows]

    @property
    def aside(self) -> list[Path]:
        return [path for path in (self.folder / "quarantine").rglob("*") if path.is_file()]


def seconds(instant: object) -> float:
    return round((instant - at(0)).total_seconds(), 6)


@pytest.fixture
def scene(engine: Engine, tmp_path: Path) -> Iterator[Scene]:
    placement = PostgresPlacement()
    with db.Session.begin() as session:
        channel_id = channel(session).id
    old, new = uuid4(), uuid4()
    for who in (old, new):
        placement.join(Member(who, 10))
    placement.claim(old, {channel_id: 0})
    with Tree(tmp_path / "archive") as archive:
        yield Scene(tmp_path, archive, channel_id, placement, old, new)


def taken_over(scene: Scene) -> None:
    scene.placement.bury(scene.old)
    scene.placement.claim(scene.new, {scene.channel_id: 1})


def test_rows_of_the_current_epoch_are_taken(scene: Scene):
    """And carry it."""
    run = scene.run(1, 0)

    assert scene.tell(run, scene.file(run, 0, 100), scene.gap(1, 3.6, 5)) == []
    assert scene.spans == [("recorded", 0, 3.6, 1), ("gap", 3.6, 5, 1)]


def test_the_database_itself_refuses_an_old_epoch(scene: Scene):
    """Whoever asks, and however."""
    run = scene.run(1, 0)
    taken_over(scene)
    with db.Session.begin() as session:
        book.record(session, run)

    for fact in (scene.file(run, 0, 100), scene.gap(1, 3.6, 5)):
        with (
            pytest.raises(sa.exc.DBAPIError, match="is at epoch 2, and this row at 1"),
            db.Session.begin() as session,
        ):
            book.record(session, fact)
    assert scene.spans == []


def test_what_nobody_else_captured_is_kept_in_place_of_the_gap_that_was_told(scene: Scene):
    """The new recorder did not know: media beats a gap."""
    run, later = scene.run(1, 0), scene.run(2, 20)
    taken_over(scene)
    scene.tell(scene.gap(2, 0, 20), later, scene.file(later, 20, 10))

    assert scene.tell(run, scene.file(run, 5, 100)) == []
    assert scene.spans == [
        ("gap", 0, 5, 2),
        ("recorded", 5, 8.6, 2),
        ("gap", 8.6, 20, 2),
        ("recorded", 20, 20.36, 2),
    ]
    assert scene.aside == []


def test_what_the_new_recorder_has_too_is_cut_off_and_the_whole_set_aside(scene: Scene):
    """At a whole frame; the row ends where the other's begins, and tells the file as it is now."""
    run, later = scene.run(1, 0), scene.run(2, 2)
    taken_over(scene)
    scene.tell(later, scene.file(later, 2, 100))
    whole = scene.file(run, 0, 100)

    assert scene.tell(run, whole) == []
    assert scene.spans == [("recorded", 0, 2, 2), ("recorded", 2, 5.6, 2)]
    with db.Session.begin() as session:
        row = session.scalars(sa.select(Recording).where(Recording.uuid == whole.uuid)).one()
    data = (scene.archive.path / whole.key).read_bytes()
    assert data == b"".join(mp3_frame(n) for n in range(55))
    assert (row.size_bytes, row.sha256, row.truncated) == (len(data), sha256(data).hexdigest(), True)
    assert [path.stat().st_size for path in scene.aside] == [whole.size_bytes]


def test_what_lies_within_the_new_recorders_time_is_set_aside(scene: Scene):
    """A file without a row stays nowhere else."""
    run, later = scene.run(1, 0), scene.run(2, 0)
    taken_over(scene)
    scene.tell(later, scene.file(later, 0, 200))
    late = scene.file(run, 2, 50)

    assert scene.tell(run, late) == []
    assert scene.spans == [("recorded", 0, 7.2, 2)]
    assert not scene.archive.exists(late.key)
    assert len(scene.aside) == 1


def test_it_waits_until_the_new_recorder_has_told_of_that_time(scene: Scene):
    """A file that it is still writing must not be found overlapped when it is closed."""
    run, later = scene.run(1, 0), scene.run(2, 2)
    taken_over(scene)
    late = scene.file(run, 0, 100)
    waiting = scene.tell(run, late)
    scene.tell(later)

    assert waiting == [late]
    assert scene.tell(late) == []
    assert scene.spans == [("recorded", 0, 2, 2)]


def test_what_the_new_recorder_is_still_writing_is_its_own(scene: Scene):
    """Its run goes on behind its last row: a late file there would overlap the next."""
    run, later = scene.run(1, 0), scene.run(2, 2)
    taken_over(scene)
    scene.tell(later, scene.file(later, 2, 50))

    assert scene.tell(run, scene.file(run, 4, 50)) == []
    assert scene.tell(scene.file(later, 3.8, 50)) == []
    assert scene.spans == [("recorded", 2, 3.8, 2), ("recorded", 3.8, 5.6, 2)]


def test_it_does_not_wait_for_a_dead_one(scene: Scene):
    """Whoever comes next will read what is told by then."""
    run = scene.run(1, 0)
    taken_over(scene)
    scene.placement.bury(scene.new)

    assert scene.tell(run, scene.file(run, 0, 100)) == []
    assert scene.spans == [("recorded", 0, 3.6, 2)]


def test_a_late_gap_fills_what_nobody_tells_and_follows_its_outage(scene: Scene):
    """In pieces, which go when it is withdrawn."""
    later = scene.run(2, 2)
    taken_over(scene)
    scene.tell(later, scene.file(later, 2, 50))
    gap = scene.gap(1, 0, 10)
    seen = []
    for end in (10, 3, 0):
        scene.tell(replace(gap, end_time=at(end)))
        seen.append([span for span in scene.spans if span[0] == "gap"])

    assert seen == [[("gap", 0, 2, 2), ("gap", 3.8, 10, 2)], [("gap", 0, 2, 2)], []]


def test_a_gap_that_goes_on_keeps_off_what_was_settled_within_it(scene: Scene):
    """The new recorder's outage, noted again and again, with the old one's media in the middle."""
    run, gap = scene.run(1, 0), scene.gap(2, 0, 10)
    taken_over(scene)
    scene.tell(gap)
    scene.tell(run, scene.file(run, 2, 50))
    scene.tell(replace(gap, end_time=at(20)))

    assert scene.spans == [("gap", 0, 2, 2), ("recorded", 2, 3.8, 2), ("gap", 3.8, 20, 2)]


def test_settling_twice_changes_nothing(scene: Scene):
    """A crash may come between the row and the note of it."""
    run, later = scene.run(1, 0), scene.run(2, 2)
    taken_over(scene)
    scene.tell(later, scene.file(later, 2, 100))
    late = scene.file(run, 0, 100)
    scene.tell(run, late)
    before = scene.spans
    scene.tell(late)

    assert scene.spans == before
    with db.Session.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Run)) == 2


def test_nothing_is_written_while_the_lease_is_in_doubt(scene: Scene):
    """The facts wait in the spool."""
    journal = Memory(scene.gap(1, 0, 10))
    doubt = [False, True]
    replay = Ledger(journal, refused=scene.folder / "refused.txt", may_write=lambda: doubt.pop(0))

    assert (replay.step(), scene.spans, replay.step()) == (0, [], 1)
