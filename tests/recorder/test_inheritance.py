"""Spools whose recorders are gone, on a real disk and with a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.archive.files import Tree
from streamrec.models import Coverage, GapReason
from streamrec.recorder.facts import GapNoted
from streamrec.recorder.inheritance import Inheritance
from streamrec.recorder.settlement import Settlement
from streamrec.recorder.spool import Spool
from tests.factories import at, channel

DEAD = UUID(int=7)


class Heir:
    """A recorder's inheritance, and whom it has buried."""

    def __init__(self, folder: Path, archive: Tree) -> None:
        self.root = folder / "spool"
        self.buried: list[UUID] = []
        self.own = Spool(self.root / str(uuid4()))
        quarantine = folder / "quarantine"
        self.inheritance = Inheritance(
            self.root,
            next(self.root.iterdir()),
            archive=archive,
            quarantine=quarantine,
            late=Settlement(archive, quarantine),
            bury=self.buried.append,
        )


@pytest.fixture
def heir(engine: Engine, tmp_path: Path) -> Iterator[Heir]:
    with Tree(tmp_path / "archive") as archive:
        made = Heir(tmp_path, archive)
        yield made
        made.inheritance.close()
        made.own.close()


def owed() -> GapNoted:
    """A gap of a channel that is in the database."""
    with db.Session.begin() as session:
        channel_id = channel(session).id
    return GapNoted(uuid4(), channel_id, at(0), at(10), GapReason.STALLED, "No media.")


def told() -> int:
    with db.Session.begin() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Coverage))


def test_what_a_dead_recorder_owed_becomes_rows_before_it_is_buried(heir: Heir):
    """And its spool is removed."""
    with Spool(heir.root / str(DEAD)) as spool:
        spool.append(owed())

    assert (heir.inheritance.look(), heir.buried, told()) == (1, [DEAD], 1)
    assert not (heir.root / str(DEAD)).exists()
    assert heir.inheritance.look() == 0


def test_the_spool_of_one_that_lives_is_left_alone(heir: Heir):
    """Its lock says so."""
    with Spool(heir.root / str(DEAD)) as spool:
        spool.append(owed())

        assert (heir.inheritance.look(), heir.buried, told()) == (0, [], 0)


def test_a_spool_from_before_there_were_many_is_adopted(heir: Heir):
    """It names no recorder that could be buried."""
    with Spool(heir.root) as spool:
        spool.append(owed())
        has_elder = heir.inheritance.has_elder
    found = heir.inheritance.look()

    assert (has_elder, found, heir.buried, told()) == (True, 0, [], 1)
    assert not (heir.root / "journal").exists()
    assert not heir.inheritance.has_elder


def test_without_a_database_nobody_is_told_but_the_facts_are_known(heir: Heir, engine: Engine):
    """A capture that begins meanwhile asks them how far time is told."""
    fact = owed()
    with Spool(heir.root / str(DEAD)) as spool:
        spool.append(fact)
    away = sa.create_engine("postgresql+psycopg2://nobody@/nothing?host=/nonexistent")
    db.Session.configure(bind=away)
    heir.inheritance.look()
    known = [pending for each in heir.inheritance.spools for pending in each.pending()]
    db.Session.configure(bind=engine)
    heir.inheritance.look()
    away.dispose()

    assert known == [fact]
    assert told() == 1


def test_other_things_in_the_folder_are_no_spools(heir: Heir):
    (heir.root / "refused.txt").write_text("")
    (heir.root / "old").mkdir()
    (heir.root / "old" / "journal").write_text("")

    assert heir.inheritance.look() == 0
    assert (heir.root / "old" / "journal").exists()
