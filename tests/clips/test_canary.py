"""Clips of the canary through the real queue: asked for, made, compared and removed."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from streamrec import canary, canary_clips, db
from streamrec.canary import FRAME
from streamrec.clips import rows
from streamrec.clock import now
from streamrec.jobworker import tasks
from streamrec.jobworker.work import Attempts
from streamrec.models import Canary, Clip, GapPolicy, Job, Recording
from streamrec.recorder.canary import Watch
from streamrec.recorder.canary_clips import Clipping
from streamrec.settings import Settings
from streamrec.timeline import Span
from tests import factories
from tests.clips.test_making import a_channel, files_in
from tests.factories import T0

pytestmark = pytest.mark.usefixtures("engine")

FRAMES = 500  # a file: 12 s


def sung(settings: Settings, *, files: int = 3) -> int:
    """A canary's channel of which so many files were recorded and compared just now."""
    channel_id = a_channel(keyname=canary.KEYNAME)
    first = canary.live(now()) - (files + 1) * FRAMES
    for number in range(first, first + files * FRAMES, FRAMES):
        write(settings, channel_id, number)
    with db.Session.begin() as session:
        until = canary.on_air(first + files * FRAMES)
        canary.note(session, channel_id, canary.Verdict(files * FRAMES, 0, None), until)
    return channel_id


def write(settings: Settings, channel_id: int, first: int) -> None:
    """A file that begins with a frame, and its row."""
    data = b"".join(canary.frame(number) for number in range(first, first + FRAMES))
    key = f"{canary.KEYNAME}/{first}.mp3"
    path = settings.archive_dir / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    start, end = ((canary.on_air(at) - T0).total_seconds() for at in (first, first + FRAMES))
    facts = {"path": key, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with db.Session.begin() as session:
        factories.captured(session, channel_id, start, end, **facts)


def work(settings: Settings) -> None:
    """What a job worker does with all jobs that wait."""
    with db.Session.begin() as session:
        waiting = session.scalars(sa.select(Job.id).where(Job.ended_at.is_(None))).all()
    for job_id in waiting:
        Attempts(tasks.of(settings)).perform(job_id, lambda: False)


def change(**values: Any) -> None:
    with db.Session.begin() as session:
        session.execute(sa.update(Canary).values(**values))


def noted() -> Canary:
    with db.Session.begin() as session:
        found = session.scalars(sa.select(Canary)).one()
        session.expunge(found)
        return found


def count(of: type[Clip] | type[Job]) -> int:
    with db.Session.begin() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(of)) or 0


def asked() -> UUID | None:
    return noted().clip_id


def told(seconds: float = 0.0) -> str:
    with db.Session.begin() as session:
        found = canary.state(session.execute(canary.state_query()).one(), now() + timedelta(seconds=seconds))
    assert found is not None
    return found.detail


def test_a_clip_of_the_canary_is_made_and_holds_the_signal(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)

    clipping.look(channel_id)
    work(settings)
    clipping.look(channel_id)

    found = noted()
    assert (found.faults, found.detail) == (0, None)
    assert found.frames > 3 * FRAMES
    assert "; in the clip of " in told()


def test_a_clip_that_was_compared_leaves_nothing_behind_and_the_next_is_due_later(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)

    clipping.look(channel_id)
    work(settings)
    is_there = bool(files_in(settings.clips_dir))
    for _ in range(3):
        clipping.look(channel_id)

    assert (is_there, files_in(settings.clips_dir), count(Clip), count(Job)) == (True, [], 0, 0)
    assert noted().clip_due_at - now() > canary_clips.EVERY - timedelta(minutes=1)


def test_an_archive_of_which_one_bit_is_another_is_told_by_its_clip(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings, files=2)
    path = min(settings.archive_dir.glob(f"{canary.KEYNAME}/*.mp3"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    clipping.look(channel_id)
    work(settings)
    clipping.look(channel_id)

    assert noted().faults > 0
    assert "is not one of the signal" in told()
    assert (files_in(settings.clips_dir), count(Clip)) == ([], 0)


def test_a_clip_that_cannot_be_made_is_told_with_the_reason(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings, files=2)

    clipping.look(channel_id)
    max(settings.archive_dir.glob(f"{canary.KEYNAME}/*.mp3")).write_bytes(b"short")
    work(settings)
    clipping.look(channel_id)

    assert told().startswith("A clip of it could not be made: ")


def test_a_job_worker_that_is_away_is_no_fault_of_the_canarys_before_minutes_have_passed(
    settings: Settings,
) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)

    for _ in range(2):
        clipping.look(channel_id)

    change(verified_until=now() + timedelta(minutes=6))  # the archive goes on
    assert (count(Clip), noted().faults) == (1, 0)
    assert told(240).startswith("Every frame is there")
    assert told(301).startswith("A clip of it that was due ")


def test_a_clip_whose_archive_may_be_gone_is_withdrawn_and_another_is_asked_for(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)

    clipping.look(channel_id)
    first = asked()
    with db.Session.begin() as session:
        session.execute(sa.update(Clip).values(created_at=now() - canary_clips.WITHDRAWN))
    clipping.look(channel_id)
    gone = asked()
    clipping.look(channel_id)

    assert (first is None, gone, asked() in {None, first}, noted().faults) == (False, None, False, 0)


def test_a_clip_that_somebody_deleted_is_asked_for_anew(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)

    clipping.look(channel_id)
    with db.Session.begin() as session:
        rows.delete(session, asked())
    clipping.look(channel_id)

    assert (count(Clip), noted().faults) == (1, 0)


def test_a_clip_that_lies_in_another_machines_folder_is_waited_for(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)

    clipping.look(channel_id)
    work(settings)
    (file,) = files_in(settings.clips_dir)
    file.unlink()
    clipping.look(channel_id)

    assert (noted().faults, count(Clip)) == (0, 1)


@pytest.mark.parametrize("files", [1, 0])
def test_nothing_is_asked_for_before_two_files_meet(settings: Settings, files: int) -> None:
    Clipping(settings).look(sung(settings, files=files))

    assert count(Clip) == 0


def test_a_recorder_that_does_not_hold_the_canary_asks_for_nothing(settings: Settings) -> None:
    sung(settings)

    Watch(settings, uuid4()).look()

    assert count(Clip) == 0


def test_clips_of_others_are_left_alone(settings: Settings) -> None:
    clipping, channel_id = Clipping(settings), sung(settings)
    with db.Session.begin() as session:
        first = session.scalars(sa.select(Recording).order_by(Recording.start_time)).first()
        window = Span(first.start_time, first.start_time + 9 * FRAME)
        theirs = rows.create(session, rows.Order(channel_id, window, gaps=GapPolicy.REFUSE)).id

    clipping.look(channel_id)
    work(settings)
    clipping.look(channel_id)

    with db.Session.begin() as session:
        assert rows.is_there(session, theirs)
    assert count(Clip) == 1
