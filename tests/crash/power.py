"""What a power cut may leave, by a model of a disk that forgets what was not synced.

A life is lived once and every change to the disk noted. For a moment between two changes the model then makes
what may be there after it: all that was synced and, of what was not, as much as chance has it. Its rules are those
on which applications may rely (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014): a name is sure
once its folder was synced, names change in order, bytes are sure once their file was synced; others may be there,
be zeros, or be missing.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

import click
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.recorder.facts import Fact
from streamrec.settings import Settings
from tests.crash import databases, oracle, workload
from tests.crash.noting import Change, FolderSynced, Move, Name, Notes, Size, Synced, Told, Write

LUCK: Final = (0.0, 1.0, 0.5, 0.8)
"""How likely what was not synced survives all the same: nothing, everything, some."""


def noted(settings: Settings) -> list[Change]:
    """The changes of one whole life in an empty data folder."""
    settings.data_dir.mkdir(parents=True)
    notes = Notes(settings.data_dir)
    with notes.taken():
        workload.life(settings, lambda fact: notes.changes.append(Told(fact)))
    return notes.changes


def leave(folder: Path, changes: Sequence[Change], luck: float, draw: random.Random) -> list[Fact]:
    """Put into `folder` what is there after a power cut behind `changes`; what the database has been told.

    The database is on another disk, and keeps what it has committed.
    """
    names = _surviving_names(changes, luck, draw)
    contents = {inode: _content(changes, inode, luck, draw) for inode in names.values() if inode}
    folder.mkdir(parents=True)
    for path in sorted(names):
        if not (folder / path).parent.is_dir():
            continue  # the folder's own name was lost
        if names[path]:
            (folder / path).write_bytes(contents[names[path] or 0])
        else:
            (folder / path).mkdir(exist_ok=True)
    return [change.fact for change in changes if isinstance(change, Told)]


def _surviving_names(changes: Sequence[Change], luck: float, draw: random.Random) -> dict[str, int | None]:
    """Every path that is there, with its file; 0 is a folder."""
    waiting: list[Name | Move] = []
    sure: list[Name | Move] = []
    for change in changes:
        if isinstance(change, Name | Move):
            waiting.append(change)
        elif isinstance(change, FolderSynced):
            sure += [each for each in waiting if _folders(each) == {change.path}]
            waiting = [each for each in waiting if _folders(each) != {change.path}]
    lucky = waiting[: sum(1 for _ in _run_of_luck(waiting, luck, draw))]
    kept = set(map(id, [*sure, *lucky]))
    names: dict[str, int | None] = {".": 0}
    for change in changes:
        if isinstance(change, Name | Move) and id(change) in kept:
            _apply(names, change)
    return names


def _run_of_luck(waiting: Sequence[Name | Move], luck: float, draw: random.Random) -> Sequence[Name | Move]:
    """Names change in order: the first that is lost takes all later ones with it."""
    count = 0
    while count < len(waiting) and draw.random() < luck:
        count += 1
    return waiting[:count]


def _folders(change: Name | Move) -> set[str]:
    paths = {change.path, change.new} if isinstance(change, Move) else {change.path}
    return {str(PurePath(path).parent) for path in paths}


def _apply(names: dict[str, int | None], change: Name | Move) -> None:
    if isinstance(change, Move):
        if change.path in names:
            names[change.new] = names.pop(change.path)
    elif change.inode is None:
        names.pop(change.path, None)
    else:
        names[change.path] = change.inode


def _content(changes: Sequence[Change], inode: int, luck: float, draw: random.Random) -> bytes:
    own = [each for each in changes if isinstance(each, Write | Size | Synced) and each.inode == inode]
    synced = max((index for index, each in enumerate(own) if isinstance(each, Synced)), default=-1)
    data = bytearray()
    for index, change in enumerate(own):
        if isinstance(change, Synced) or (index > synced and draw.random() >= luck):
            continue
        if isinstance(change, Size):
            data[change.size :] = bytes(max(0, change.size - len(data)))
        else:
            data[len(data) :] = bytes(max(0, change.at - len(data)))  # what was lost before it reads as zeros
            data[change.at : change.at + len(change.data)] = change.data
    return bytes(data)


def check(
    settings: Settings, engine: Engine, changes: Sequence[Change], at: int, luck: float, seed: int
) -> list[str]:
    """A power cut behind the first `at` changes, and a start: what is wrong then."""
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    told = leave(settings.data_dir, changes[:at], luck, random.Random(f"{seed} {at} {luck}"))
    oracle.tell(settings, engine, told)
    return [f"change {at}, luck {luck}, seed {seed}: {fault}" for fault in oracle.faults(settings, told)]


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--seeds", default=1, show_default=True, help="How many, from the first on.")
def main(seed: int, seeds: int) -> None:
    """Cut the power behind each change to the disk, leave what may be left, start again, and look."""
    count, wrong = 0, 0
    with databases.fresh() as settings:
        engine = db.connect(settings, application="crash-oracle")
        oracle.prepare(settings, engine)
        changes = noted(settings)
        for each in range(seed, seed + seeds):
            for at in range(len(changes) + 1):
                for luck in LUCK:
                    found = check(settings, engine, changes, at, luck, each)
                    for line in found:
                        click.echo(line)
                    count, wrong = count + 1, wrong + bool(found)
            click.echo(f"seed {each}: {count} states so far, {wrong} wrong")
        engine.dispose()
    click.echo(f"{len(changes)} changes, {count} states, {wrong} wrong")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
