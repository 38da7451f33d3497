"""Which kind of job is done by what."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from streamrec import scrub
from streamrec.clips import keeping, making
from streamrec.errors import Lost, Unavailable
from streamrec.handover import clipped, moving, stored
from streamrec.jobworker.work import Task, Work
from streamrec.models import JobKind
from streamrec.recorder.steward import Duty
from streamrec.settings import Settings

HANDOVER_SECONDS: Final = 10.0


def of(settings: Settings) -> Mapping[JobKind, Task]:
    """What this worker can do."""
    make = partial(_clip, settings)
    return {JobKind.CLIP: make, JobKind.EXPORT: make}


def _clip(settings: Settings, work: Work) -> str | None:
    """Make a clip; a recording that it finds altered is looked at, so that the account knows, too."""
    try:
        return making.make(settings, work)
    except Lost as lost:
        with suppress(Unavailable):  # a folder that is not proved to be the archive proves no loss
            scrub.one(settings, int(str(lost.context["recording_id"])))
        raise


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
