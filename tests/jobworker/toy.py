"""A job worker with jobs of its own: `clip` lasts until the file `go` is there, `export` breaks a rule."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from streamrec import lifeline
from streamrec.archive.storage import StorageAway
from streamrec.errors import Invalid
from streamrec.jobworker import process
from streamrec.jobworker.work import Work
from streamrec.models import JobKind
from streamrec.settings import Settings


def clip(work: Work) -> str:
    """Note each attempt's beginning; go on until told, fail while `away` is there, hang while `hung` is."""
    folder = Path(sys.argv[1])
    with (folder / "begun").open("a") as begun:
        begun.write(f"{work.job_id} {work.attempt}\n")
    if (folder / "away").exists():
        raise StorageAway("The bucket is away.")
    if (folder / "hung").exists():
        threading.Event().wait()
    while not (folder / "go").exists():
        work.progress(0.42)
        time.sleep(0.02)
    return f"/clip/{work.job_id}"


def export(_work: Work) -> str:
    """Break a rule."""
    raise Invalid("There is nothing to export.", field="from")


if __name__ == "__main__":
    lifeline.watch()
    settings = Settings(data_dir=Path(sys.argv[1]) / "data", job_slots=2, db_timeout_seconds=2.0)
    process.run(settings, {JobKind.CLIP: clip, JobKind.EXPORT: export})
