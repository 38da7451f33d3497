"""Which kind of job is done by what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from streamrec.clips import keeping, making
from streamrec.jobworker.work import Task
from streamrec.models import JobKind
from streamrec.settings import Settings


def of(settings: Settings) -> Mapping[JobKind, Task]:
    """What this worker can do."""
    make = partial(making.make, settings)
    return {JobKind.CLIP: make, JobKind.EXPORT: make}


def tidy(settings: Settings) -> None:
    """What is done now and then, whoever asks for it."""
    keeping.tidy(settings.clips_dir)
