"""I11: the credentials of channels stand in no argument, environment, log, answer, file or other table."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from tests.chaos import world as worlds
from tests.chaos.world import World
from tests.e2e import door

MARK = "planted-"  # in every password, and nowhere else
COLUMNS = ("channel_credential", "backup_credential")  # the tables that keep them
_LARGEST = 64 << 20  # bytes of a file that is looked at


class Watch:
    """Looks for what was planted while the course goes on; `found` says where how often."""

    def __init__(self, world: World, count: int) -> None:
        """`count` mounts may have credentials."""
        self.found: Counter[str] = Counter()
        self.looked_at: Counter[str] = Counter()
        self._world = world
        names = [worlds.credentials(number) for number in range(0, count, 3)]
        self._needles = [MARK.encode(), *(base64.b64encode(name.encode()).rstrip(b"=") for name in names)]
        world.bodies = lambda text: self.look("an answer of the API", text.encode())

    def look(self, where: str, data: bytes) -> None:
        """Look into something."""
        self.looked_at[where] += 1
        if any(needle in data for needle in self._needles):
            self.found[where] += 1

    def processes(self) -> None:
        """Arguments and environments of every process of the instance."""
        instance = self._world.instance
        for process in door.family(instance.process.pid) | door.users_of(instance.data):
            try:
                arguments, environment = process.cmdline(), process.environ()
            except psutil.Error:
                continue
            self.look("the arguments of a process", "\0".join(arguments).encode())
            self.look("the environment of a process", "\0".join(environment.values()).encode())

    def files(self) -> None:
        """Logs, spools, status files: all but the archive and the database's own."""
        data = self._world.instance.data
        for path in [self._world.instance.log, *_files(data, but={"archive", "postgres"})]:
            with path.open("rb") as file:
                self.look(f"a file: {path.name}", file.read(_LARGEST))

    def answers(self) -> None:
        """What can be read over the API."""
        for path in READ:
            self._world.ask("GET", path)
        for channel in self._world.channels:
            for path in READ_OF_CHANNEL:
                self._world.ask("GET", f"/channel/{channel.id}{path}")

    def tables(self, engine: Engine) -> None:
        """Every row of every other table."""
        with engine.connect() as connection:
            for name in sa.inspect(engine).get_table_names():
                if name in COLUMNS:
                    continue
                has = sa.text(f'SELECT count(*) FROM "{name}" AS row WHERE row::text LIKE :mark')
                self.looked_at["a table"] += 1
                if connection.scalar(has, {"mark": f"%{MARK}%"}):
                    self.found[f"the table {name}"] += 1

    @property
    def violations(self) -> list[str]:
        """In words."""
        return [f"a planted password stands in {where}, {count} times" for where, count in self.found.items()]


READ = ("/channel", "/channel/export", "/recording", "/metrics", "/job", "/clip", "/")
READ_OF_CHANNEL = ("", "/status", "/gaps", "/coverage", "/live.m3u8", "/manifest")


def _files(folder: Path, *, but: set[str]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from (each for each in _files(path, but=set()) if path.name not in but)
        elif path.is_file():
            yield path
