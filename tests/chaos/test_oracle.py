"""The oracle's own parts: what is wrong is found, and what is right is not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.models import Assignment
from tests import factories
from tests.chaos import coverage, epochs
from tests.chaos.coverage import Span


@pytest.fixture
def watched(engine: Engine) -> Engine:
    epochs.install(engine)
    with db.Session.begin() as session:
        channel = factories.channel(session, keyname="watched-00")
        session.add(Assignment(channel_id=channel.id, epoch=1))
    return engine


def tell(engine: Engine, *commands: str) -> None:
    with engine.begin() as connection:
        for command in commands:
            connection.execute(sa.text(command))


ROW = """
    INSERT INTO coverage (uuid, channel_id, kind, reason, start_time, end_time, epoch)
    SELECT gen_random_uuid(), channel_id, 'gap', 'stalled', now() - interval '2 h', now() - interval '1 h', {epoch}
    FROM assignment
"""
UNFENCED = "ALTER TABLE coverage DISABLE TRIGGER epoch_fenced"


def test_the_witness_sees_rows_and_changes_and_has_nothing_against_them(watched: Engine) -> None:
    tell(watched, ROW.format(epoch=1))
    tell(watched, "UPDATE assignment SET epoch = 2")

    assert epochs.violations(watched) == ([], 3)


def test_a_row_of_an_old_epoch_that_passed_the_fence_is_found(watched: Engine) -> None:
    tell(watched, "UPDATE assignment SET epoch = 2", UNFENCED, ROW.format(epoch=1))

    (found,), _ = epochs.violations(watched)
    assert "a coverage of epoch 1 was committed under 2" in found


def test_a_row_that_was_good_when_it_was_written_and_late_at_its_commit_is_found(watched: Engine) -> None:
    tell(watched, UNFENCED, ROW.format(epoch=1), "UPDATE assignment SET epoch = 2")

    (found,), _ = epochs.violations(watched)
    assert "a coverage of epoch 1 was committed under 2" in found


def test_an_epoch_that_shrinks_is_found(watched: Engine) -> None:
    tell(watched, "UPDATE assignment SET epoch = 3", "UPDATE assignment SET epoch = 2")

    found, _ = epochs.violations(watched)
    assert any("shrank from 3 to 2" in each for each in found)


spans = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 9)).map(lambda at: (at[0], at[0] + at[1])), max_size=6
)


@given(spans, spans)
def test_what_is_left_of_spans_is_what_no_hole_touches(whole: list[Span], holes: list[Span]) -> None:
    left = coverage.without(whole, holes)

    for moment in range(70):
        times = sum(start <= moment < end for start, end in whole)
        is_hole = any(start <= moment < end for start, end in holes)
        assert sum(start <= moment < end for start, end in left) == (0 if is_hole else times)
