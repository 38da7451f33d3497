"""Clips that are deleted while they are made."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest

from streamrec import db
from streamrec.clips import keeping, making, rows
from streamrec.clips.recipes import ClipFormat
from streamrec.clips.wanted import ASK_SECONDS, Wanted
from streamrec.errors import Conflict
from streamrec.settings import Settings
from tests.clips.archive import Work
from tests.clips.test_making import a_channel, files_in, ordered, recorded

pytestmark = pytest.mark.usefixtures("engine")


def wanted(settings: Settings, now: list[float]) -> Wanted:
    """The work at a clip, by a clock that says the last of `now`."""
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    clip = ordered(channel_id, 0, 5)
    return Wanted(Work(clip.job_id), clip.id, clock=lambda: now[-1])


def delete(clip_id: UUID) -> None:
    with db.Session.begin() as session:
        rows.delete(session, clip_id)


def test_work_at_a_clip_that_was_deleted_stops_within_a_second(settings: Settings) -> None:
    now = [0.0]
    work = wanted(settings, now)
    work.check()
    delete(work.clip_id)

    now.append(ASK_SECONDS)

    with pytest.raises(Conflict, match="deleted"):
        work.check()


def test_the_database_is_not_asked_at_every_look(settings: Settings) -> None:
    now = [0.0]
    work = wanted(settings, now)
    work.check()
    delete(work.clip_id)

    now.append(ASK_SECONDS - 0.1)

    work.check()


@dataclass
class Deleting(Work):
    """An attempt whose clip is deleted as soon as it has begun."""

    clip_id: UUID | None = None

    def check(self) -> None:
        if self.clip_id is not None:
            delete(self.clip_id)
            self.clip_id = None


@pytest.mark.parametrize("wanted_format", [ClipFormat.MP3, ClipFormat.FLAC, ClipFormat.ZIP])
def test_a_clip_deleted_while_it_is_made_leaves_nothing_behind(
    settings: Settings, wanted_format: ClipFormat
) -> None:
    channel_id = a_channel()
    recorded(settings, channel_id, "mp3.mp3")
    clip = ordered(channel_id, 0, 5, format=wanted_format)

    with pytest.raises(Conflict, match=r"The clip was deleted\."):
        making.make(settings, Deleting(clip.job_id, clip_id=clip.id))

    assert files_in(settings.clips_dir) == []
    assert keeping.tidy(settings.clips_dir) == 0
