"""F13, F63: a recorder that was started without what most programs find around them."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from streamrec.settings import Settings
from tests import privileges
from tests.recorder.ordeal import Ordeal
from tests.station import programs
from tests.station.content import missing
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

MUTE = "127.0.0.77"  # of a name server that takes questions and answers none
NAMED_BY_IT = (
    "-c",
    """
import os, sys
mounted = 'mount --bind "$RESOLV_CONF" /etc/resolv.conf && exec "$@"'
recorder = [sys.executable, "-m", "streamrec", "recorder"]
os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mounted, "sh", *recorder])
""",
)
NAMELESS = tuple(f"nameless-{number}" for number in range(6))
HANG_SECONDS = 3  # of a look-up, which is awaited for two
ATTEMPTS = 4


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Iterator[Path]:
    """What names the mute server, which is there meanwhile."""
    privileges.needed("to answer at the port of DNS, and to mount a file")
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver {MUTE}\noptions timeout:{HANG_SECONDS} attempts:1\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((MUTE, 53))
        yield path


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_names_that_nobody_answers_for_cost_their_own_channels_two_seconds_each_time(
    engine: Engine, settings: Settings, station: Station, resolv_conf: Path, tmp_path: Path
) -> None:
    """Another channel, whose name is looked up again meanwhile, loses no frame, and threads do not pile up."""
    ordeal = Ordeal(engine, settings, tmp_path)
    mount = station.add("calm", Numbered(1))
    options = {"RESOLV_CONF": str(resolv_conf), "STREAMREC_RETRY_CAP_SECONDS": "1"}
    with ordeal.recorder([f"localhost:{station.port}"], program=NAMED_BY_IT, **options) as child:
        ordeal.await_recorder()
        ordeal.add("calm", f"http://localhost:{station.port}/calm", mount)
        ordeal.await_running(["calm"])
        before, most = _threads(child.pid), 0
        for name in NAMELESS:
            ordeal.add(name, f"http://{name}.invalid/live")

        def has_failed(times: int) -> bool:
            nonlocal most
            most = max(most, _threads(child.pid))
            ordeal.gather()
            return all(len(ordeal.tracks[name].attempts()) >= times for name in NAMELESS)

        programs.eventually(lambda: has_failed(1), 30, "all have failed")
        mount.hang_up()
        programs.eventually(lambda: has_failed(ATTEMPTS), 60, "all have failed again and again")
        ordeal.await_running(["calm"])
    ordeal.gather()
    took = [one.seconds for name in NAMELESS for one in ordeal.tracks[name].attempts()]

    assert 1.9 < min(took) <= max(took) < 2.5
    assert most <= before + 3 * len(NAMELESS)  # of each: who waits, who asks, and who still asks for the last one
    assert ordeal.tracks["calm"].later_gaps == []
    assert missing(ordeal.tracks["calm"].places) == {0: []}


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
