"""What a power cut may leave, by a model of a disk that forgets what was not synced.

A life is lived once and every change to the disk noted. For a moment between two changes the model then makes
what may be there after it: all that was synced and, of what was not, as much as chance has it. Its rules are those
on which applications may rely (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014): a name is sure
once its folder was synced, names change in order, bytes are sure once their file was synced; others may be there,
be zeros, or be missing. A sync of the file system makes both sure of whatever was done before it began.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path, PurePath
from typing import Final

import click
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.recorder.facts import Fact
from streamrec.settings import Settings
from tests.crash import databases, oracle
from tests.crash.lives import LIVES, PROMISED_SECONDS
from tests.crash.noting import (
    Change,
    FolderSynced,
    Moment,
    Move,
    Name,
    Notes,
    Size,
    Synced,
    SystemSynced,
    Told,
    Write,
)

LUCK: Final = (0.0, 1.0, 0.5, 0.8)
"""How likely what was not synced survives all the same: nothing, everything, some."""


def noted(settings: Settings, life: str) -> list[Change]:
    """The changes of one whole life in an empty data folder."""
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    settings.data_dir.mkdir(parents=True)
    notes = Notes(settings.data_dir)
    with notes.taken():
        LIVES[life](settings, notes)
    return notes.changes


def kept(changes: Sequence[Change], promised_seconds: float) -> dict[int, int]:
    """How many bytes of each channel are older than that, and must be there."""
    moments = [change for change in changes if isinstance(change, Moment)]
    old = [each.written for each in moments if each.seconds <= moments[-1].seconds - promised_seconds]
    return old[-1] if old else {}


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
    waiting = _unsure_names(changes)
    lost = set(map(id, waiting[len(_run_of_luck(waiting, luck, draw)) :]))
    names: dict[str, int | None] = {".": 0}
    for change in changes:
        if isinstance(change, Name | Move) and id(change) not in lost:
            _apply(names, change)
    return names


def _unsure_names(changes: Sequence[Change]) -> list[Name | Move]:
    waiting: list[tuple[int, Name | Move]] = []
    for index, change in enumerate(changes):
        if isinstance(change, Name | Move):
            waiting.append((index, change))
        elif isinstance(change, FolderSynced):
            waiting = [(at, each) for at, each in waiting if _folders(each) != {change.path}]
        elif isinstance(change, SystemSynced):
            waiting = [(at, each) for at, each in waiting if at >= change.count]
    return [each for _, each in waiting]


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


def _sure_bytes(changes: Sequence[Change], inode: int) -> int:
    """How many of the changes have done to the file what they did for good."""
    counts = [change.count for change in changes if isinstance(change, SystemSynced)]
    synced = (index for index, each in enumerate(changes) if isinstance(each, Synced) and each.inode == inode)
    return max([*counts, *synced], default=0)


def _content(changes: Sequence[Change], inode: int, luck: float, draw: random.Random) -> bytes:
    sure = _sure_bytes(changes, inode)
    data = bytearray()
    for index, change in enumerate(changes):
        if not isinstance(change, Write | Size) or change.inode != inode:
            continue
        if index >= sure and draw.random() >= luck:
            continue
        if isinstance(change, Size):
            data[change.size :] = bytes(max(0, change.size - len(data)))
        else:
            data[len(data) :] = bytes(max(0, change.at - len(data)))  # what was lost before it reads as zeros
            data[change.at : change.at + len(change.data)] = change.data
    return bytes(data)


def check(
    settings: Settings, engine: Engine, life: str, changes: Sequence[Change], at: int, luck: float, seed: int
) -> list[str]:
    """A power cut behind the first `at` changes, and a start: what is wrong then."""
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    told = leave(settings.data_dir, changes[:at], luck, random.Random(f"{seed} {at} {luck}"))
    oracle.tell(settings, engine, told)
    found = oracle.faults(settings, told, kept=kept(changes[:at], PROMISED_SECONDS[life]))
    return [f"{life}, change {at}, luck {luck}, seed {seed}: {fault}" for fault in found]


@click.command()
@click.option("--life", "lives", multiple=True, default=tuple(LIVES), type=click.Choice(tuple(LIVES)))
@click.option("--seed", default=1, show_default=True)
@click.option("--seeds", default=1, show_default=True, help="How many, from the first on.")
def main(lives: tuple[str, ...], seed: int, seeds: int) -> None:
    """Cut the power behind each change to the disk, leave what may be left, start again, and look."""
    count, wrong = 0, 0
    with databases.fresh() as settings:
        engine = db.connect(settings, application="crash-oracle")
        for life in lives:
            oracle.prepare(settings, engine)
            changes = noted(settings, life)
            for each in range(seed, seed + seeds):
                for at, luck in product(range(len(changes) + 1), LUCK):
                    found = check(settings, engine, life, changes, at, luck, each)
                    for line in found:
                        click.echo(line)
                    count, wrong = count + 1, wrong + bool(found)
                click.echo(f"{life}, {len(changes)} changes, seed {each}: {count} states so far, {wrong} wrong")
        engine.dispose()
    click.echo(f"{count} states, {wrong} wrong")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
