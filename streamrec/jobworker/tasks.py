"""Which kind of job is done by what."""

from __future__ import annotations

from collections.abc import Mapping

from streamrec.jobworker.work import Task
from streamrec.models import JobKind
from streamrec.settings import Settings


def of(_settings: Settings) -> Mapping[JobKind, Task]:
    """What this worker can do."""
    return {}
