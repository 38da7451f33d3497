"""Which kind of job is done by what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from streamrec import scrub
from streamrec.archive.looking import Depth
from streamrec.clips import keeping, making
from streamrec.errors import Lost, StreamrecError, Unavailable
from streamrec.handover import clipped, moving, stored
from streamrec.jobworker.work import Task, Work
from streamrec.models import JobKind
from streamrec.recorder.steward import Duty
from streamrec.settings import Settings

HANDOVER_SECONDS: Final = 10.0


def of(settings: Settings) -> Mapping[JobKind, Task]:
    """What this worker can do."""
    make = partial(_make, settings)
    return {JobKind.CLIP: make, JobKind.EXPORT: make}


def _make(settings: Settings, work: Work) -> str | None:
    """Make a clip; a recording that cannot be read, or is another, is looked at, and is a gap if it is lost."""
    while True:
        try:
            return making.make(settings, work)
        except Lost as exc:
            if not _noted(settings, exc, Depth.HASH):
                raise
        except Unavailable as exc:
            if not _noted(settings, exc, Depth.SIZE):
                raise


def _noted(settings: Settings, error: StreamrecError, depth: Depth) -> bool:
    """Whether the recording that an error speaks of has a fault that was not known."""
    number = error.context.get("recording_id")
    return isinstance(number, int) and scrub.one(settings, number, depth)


def duties(settings: Settings) -> list[Duty]:
    """What is done beside the jobs, by one job worker of a data folder."""
    works = {
        "hand-over of clips": clipped.run,
        "hand-over of stored files": stored.run,
        "removal of objects": moving.sweep,
    }
    return [Duty(name, HANDOVER_SECONDS, partial(work, settings)) for name, work in works.items()]


def tidy(settings: Settings) -> None:
    """What is done now and then, whoever asks for it."""
    keeping.tidy(settings.clips_dir)
