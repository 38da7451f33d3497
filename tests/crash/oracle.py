"""What must be true after any crash and a start after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import audit, db
from streamrec.models import EnabledPeriod, Recording
from streamrec.recorder import book
from streamrec.recorder.facts import Fact, SegmentClosed
from streamrec.settings import Settings
from tests import factories, samples
from tests.crash import workload


def prepare(settings: Settings, engine: Engine) -> None:
    """The two channels, and nothing recorded."""
    names = set(sa.inspect(engine).get_table_names())
    ours = {name for name in names if not name.startswith(("alembic", "procrastinate", "database_identity"))}
    with db.Session.begin() as session:
        session.execute(sa.text(f"TRUNCATE {', '.join(sorted(ours))} RESTART IDENTITY CASCADE"))
        for channel_id, keyname in workload.KEYNAMES.items():
            made = factories.channel(session, keyname=keyname)
            assert made.id == channel_id
        session.execute(sa.delete(EnabledPeriod))  # NOON is long ago: the account is another test's


def tell(settings: Settings, engine: Engine, facts: Iterable[Fact]) -> None:
    """A database that knows these facts and no others."""
    prepare(settings, engine)
    with db.Session.begin() as session:
        for fact in facts:
            book.record(session, fact)


def faults(
    settings: Settings,
    acknowledged: Iterable[Fact],
    *,
    may_lose: bool = False,
    kept: Mapping[int, int] = MappingProxyType({}),
) -> list[str]:
    """Start after a crash, and what is wrong then; nothing should be.

    `may_lose` allows holes inside a channel's media, as a disk that fails makes them. Of each channel's media at
    least the first `kept` bytes, but for a unit, must be there.
    """
    with workload.disk(settings) as (archive, spool):
        workload.start(settings, archive, spool, lambda _: None)
        owed = [*spool.pending(), *spool.open_segments()]
    with db.Session.begin() as session:
        found = [f"still owed: {fact}" for fact in owed]
        found += [
            f"{invariant.id}: {example}"
            for invariant in audit.run(session, settings, depth=audit.Depth.HASH)
            for example in invariant.examples
        ]
        rows = session.scalars(sa.select(Recording).order_by(Recording.channel_id, Recording.start_time)).all()
        there = {row.uuid for row in rows}
        files = [fact.uuid for fact in acknowledged if isinstance(fact, SegmentClosed)]
        found += [f"acknowledged and gone: {uuid}" for uuid in files if uuid not in there]
        for channel_id, name in workload.CHANNELS.items():
            keys = [row.path for row in rows if row.channel_id == channel_id]
            found += _disorder(settings, name, keys, may_lose=may_lose, least=kept.get(channel_id, 0))
    return found


def _disorder(settings: Settings, name: str, keys: list[str], *, may_lose: bool, least: int) -> list[str]:
    """The files hold the station's own bytes, in order, none twice, and none left out unless it may be.

    They reach to the first `least` of them, but for a unit: a framer does not believe the last one before zeros.
    """
    units = samples.units_of(name)
    sent, position = samples.joined(units), 0
    headers = {unit.header for unit in units}
    for key in keys:
        path = settings.archive_dir / key
        data = path.read_bytes() if path.exists() else b"gone"
        bodies = [data.removeprefix(header) for header in headers]
        found = {(at, at + len(body)) for body in bodies if (at := sent.find(body, position)) >= 0}
        if not found:
            return [f"{key}: bytes that were not sent, or sent before"]
        at, end = min(found)
        if at > position and not may_lose:
            return [f"{key}: {at - position} bytes before it are missing"]
        position = end
    missing = least - position
    is_whole = missing <= max(len(unit.data) for unit in units)
    return [] if is_whole else [f"{name}: {missing} bytes of long ago are missing"]
