"""F63: a recorder that was started without what most programs find around them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from streamrec.settings import Settings
from tests.recorder.ordeal import Ordeal
from tests.station import programs
from tests.station.faulty import Station
from tests.station.numbered import Numbered

BARE = (
    "-c",
    """
import os, runpy, sys
os.environ.pop("HOME", None)
os.umask(0)
sys.argv = ["streamrec", "recorder"]
runpy.run_module("streamrec", run_name="__main__")
""",
)


def test_without_home_and_temporary_folder_it_records_what_others_cannot_write(
    engine: Engine, settings: Settings, station: Station, tmp_path: Path
) -> None:
    """Nor is anything that it makes open to all, though its umask was 000."""
    ordeal = Ordeal(engine, settings, tmp_path)
    mount = station.add("a", Numbered(1), burst_frames=0)
    with ordeal.recorder([f"127.0.0.1:{station.port}"], program=BARE, TMPDIR="/nonexistent"):
        ordeal.add("a", station.url("a"), mount, capture="ffmpeg")
        ordeal.await_running(["a"])
        programs.eventually(lambda: list(settings.archive_dir.rglob("*.mp3")), 20, "a file is there")
        made = [path for path in settings.data_dir.rglob("*") if not path.is_symlink()]
        open_to_all = [path for path in made if path.exists() and path.stat().st_mode & stat.S_IWOTH]

    assert open_to_all == []


@pytest.mark.parametrize("folder", ["spool", "archive", "run"])
def test_a_folder_that_cannot_be_made_is_refused_in_words(
    engine: Engine, settings: Settings, tmp_path: Path, folder: str
) -> None:
    """A file stands where a folder is needed: it ends, and the log names it."""
    settings.data_dir.mkdir()
    (settings.data_dir / folder).write_text("in the way")
    ordeal = Ordeal(engine, settings, tmp_path)

    with ordeal.recorder([]) as child:
        status = child.wait(30)

    assert status not in {0, None}
    assert os.fspath(settings.data_dir / folder) in ordeal.log.read_text()
