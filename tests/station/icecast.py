"""A real Icecast with a real ffmpeg source."""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.station import programs
from tests.station.clips import Clip

_PASSWORD = "hackme"
_CONFIG = """
<icecast>
  <limits><clients>4000</clients><sources>20</sources><burst-size>{burst}</burst-size>
    <source-timeout>5</source-timeout></limits>
  <authentication><source-password>{password}</source-password><admin-user>admin</admin-user>
    <admin-password>{password}</admin-password></authentication>
  <hostname>localhost</hostname>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <fileserve>0</fileserve>
  <paths><basedir>/usr/share/icecast2</basedir><logdir>{folder}</logdir><webroot>/usr/share/icecast2/web</webroot>
    <adminroot>/usr/share/icecast2/admin</adminroot></paths>
  <logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>2</loglevel></logging>
  <security><chroot>0</chroot>{owner}</security>
</icecast>
"""
# Icecast refuses to run as root, and drops to this user.
_OWNER = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>"


class Icecast:
    """One server; sources come and go."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._sources: dict[str, ExitStack] = {}

    def url(self, mount: str) -> str:
        """The address of a mount, such as "noise.mp3"."""
        return f"http://127.0.0.1:{self.port}/{mount}"

    def start_source(self, mount: str, clip: Clip) -> None:
        """Play `clip` from its beginning at its own pace, and return once listeners can connect."""
        target = f"icecast://source:{_PASSWORD}@127.0.0.1:{self.port}/{mount}"
        command = [programs.ffmpeg(), "-hide_banner", "-loglevel", "warning", "-re", "-i", str(clip.path)]
        command += ["-c", "copy", "-write_xing", "0", "-id3v2_version", "0", "-flush_packets", "1"]
        command += ["-content_type", "audio/mpeg", "-f", "mp3", target]
        stack = self._sources[mount] = ExitStack()
        stack.enter_context(programs.running(command, self._folder / "source.log"))
        programs.eventually(lambda: mount in self._mounts(), 10, f"the mount {mount} is on air")

    def stop_source(self, mount: str) -> None:
        """Take a mount off the air; its listeners are disconnected."""
        self._sources.pop(mount).close()

    def announce(self, mount: str, title: str) -> None:
        """Update the metadata of a mount, as an encoder does when the next track begins."""
        query = urllib.parse.urlencode(
            {"mount": f"/{mount}", "mode": "updinfo", "song": title, "charset": "UTF-8"}
        )
        self._admin(f"/admin/metadata?{query}")

    def close(self) -> None:
        """Stop all sources."""
        for mount in list(self._sources):
            self.stop_source(mount)

    def _mounts(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status-json.xsl", timeout=5) as answer:
            return str(answer.read())

    def _admin(self, path: str) -> None:
        token = base64.b64encode(f"admin:{_PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Basic {token}"}
        )
        urllib.request.urlopen(request, timeout=5).close()


@contextmanager
def running(folder: Path, *, burst: int = 65536) -> Iterator[Icecast]:
    """An Icecast on a free port, sending `burst` bytes to each new listener at once."""
    program = programs.needed("icecast2", "icecast2")
    port = programs.free_port()
    as_root = os.geteuid() == 0
    config = folder / "icecast.xml"
    config.write_text(
        _CONFIG.format(port=port, folder=folder, burst=burst, password=_PASSWORD, owner=_OWNER if as_root else "")
    )
    if as_root:
        folder.chmod(0o777)
        for parent in folder.parents:
            _open_to_all(parent)
    with programs.running([program, "-c", str(config)], folder / "icecast.log") as process:
        server = Icecast(port, folder)
        programs.eventually(lambda: _answers(process, port), 10, "icecast2 listens")
        try:
            yield server
        finally:
            server.close()


def _open_to_all(folder: Path) -> None:
    """Temporary folders are private to who made them; let others pass through."""
    if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
        folder.chmod(folder.stat().st_mode | 0o011)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "icecast2 has ended; see icecast.log"
    return programs.listens(port)
