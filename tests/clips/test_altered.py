"""Recordings that are not what was recorded, found by the clips made of them."""

from __future__ import annotations

import socket
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from streamrec import db, jobs, roots
from streamrec.archive.files import Tree
from streamrec.clips import making
from streamrec.clips.recipes import ClipFormat
from streamrec.errors import Lost
from streamrec.jobworker import tasks
from streamrec.jobworker import work as worker
from streamrec.models import JobKind, Loss, Recording
from streamrec.settings import Settings
from tests.clips.archive import Work
from tests.clips.test_making import a_channel, files_in, ordered, recorded, row
from tests.factories import T0

pytestmark = pytest.mark.usefixtures("engine")


def altered(settings: Settings) -> Recording:
    """The second recording of a channel, of which one byte has changed since; nobody knows."""
    recorded(settings, a_channel(), "mp3.mp3")
    with db.Session.begin() as session:
        second = session.scalars(sa.select(Recording).order_by(Recording.start_time)).all()[1]
        session.expunge(second)
    change(settings.archive_dir / second.path)
    return second


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_zip_with_an_altered_recording_fails_naming_it_and_leaves_nothing_behind(settings: Settings) -> None:
    second = altered(settings)
    clip = ordered(second.channel_id, 0, 5, format=ClipFormat.ZIP)

    with pytest.raises(Lost, match=f"recording {second.id} is not what was recorded"):
        making.make(settings, Work(clip.job_id))

    assert files_in(settings.clips_dir) == []


def test_a_clip_that_is_one_altered_recording_fails(settings: Settings) -> None:
    second = altered(settings)
    start, end = ((instant - T0).total_seconds() for instant in (second.start_time, second.end_time))
    clip = ordered(second.channel_id, start, end)

    with pytest.raises(Lost, match=f"recording {second.id} "):
        making.make(settings, Work(clip.job_id))


def test_a_recording_that_a_job_finds_altered_is_lost_to_the_account_and_a_gap_of_its_clip(
    settings: Settings,
) -> None:
    second = altered(settings)
    with db.Session.begin() as session, Tree(settings.archive_dir) as tree:
        roots.expected(session, tree, host=socket.gethostname())
    clip = ordered(second.channel_id, 0, 5, format=ClipFormat.ZIP)
    with db.Session.begin() as session:
        jobs.begin(session, clip.job_id)

    tasks.of(settings)[JobKind.EXPORT](worker.Work(clip.job_id, 1, lambda: False))

    assert lost() == {second.id: Loss.ALTERED}
    with zipfile.ZipFile(settings.clips_dir / row(clip).path) as archive:
        assert not any(name.endswith(Path(second.path).name) for name in archive.namelist())


def test_a_folder_that_is_not_proved_to_be_the_archive_loses_nothing(settings: Settings) -> None:
    second = altered(settings)
    clip = ordered(second.channel_id, 0, 5, format=ClipFormat.ZIP)

    with pytest.raises(Lost):
        tasks.of(settings)[JobKind.EXPORT](Work(clip.job_id))

    assert lost() == {}


def lost() -> dict[int, Loss]:
    with db.Session.begin() as session:
        found = session.scalars(sa.select(Recording).where(Recording.lost.is_not(None)))
        return {each.id: each.lost for each in found if each.lost}
