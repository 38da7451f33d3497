"""The account: every moment is in it once, and the proof finds what is missing."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from streamrec import channels, coverage
from streamrec.channel_fields import checked
from streamrec.errors import Invalid
from streamrec.models import CaptureState, CoverageKind, GapReason
from streamrec.timeline import Span
from tests import factories as make


@pytest.fixture
def channel_id(session: Session) -> int:
    return make.channel(session, expected_from=make.T0, segment_seconds=60).id


def account(session: Session, channel_id: int, start: float, end: float, now: float) -> list[tuple[Any, ...]]:
    window = Span(make.at(start), make.at(end))
    found = coverage.account(session, channel_id, window, at=make.at(now))
    seconds = lambda moment: (moment - make.T0).total_seconds()  # noqa: E731
    return [(s.kind, seconds(s.span.start), seconds(s.span.end), s.reason) for s in found.stretches]


def test_a_row_that_comes_while_the_account_is_read_leaves_no_hole(session: Session, channel_id: int) -> None:
    """The account is more than one query, and recorders do not wait for it."""
    make.covered(session, channel_id, 0, 60)
    connection = session.connection()

    def come(*_: object) -> None:
        make.covered(session, channel_id, 60, 120)

    sa.event.listen(connection, "after_cursor_execute", come, once=True)

    assert {kind for kind, *_ in account(session, channel_id, 0, 120, now=120)} <= {"recorded", "pending"}


def test_rows_that_touch_are_one_stretch_and_reasons_keep_gaps_apart(session: Session, channel_id: int) -> None:
    make.covered(session, channel_id, 0, 60)
    make.covered(session, channel_id, 60, 120)
    make.covered(session, channel_id, 120, 130, CoverageKind.GAP, GapReason.STALLED)
    make.covered(session, channel_id, 130, 140, CoverageKind.GAP, GapReason.DNS)
    make.covered(session, channel_id, 140, 150, CoverageKind.EXPIRED)
    make.covered(session, channel_id, 150, 160, CoverageKind.LOST)

    assert account(session, channel_id, 30, 155, 10_000) == [
        ("recorded", 30, 120, None),
        ("gap", 120, 130, "stalled"),
        ("gap", 130, 140, "dns"),
        ("expired", 140, 150, None),
        ("lost", 150, 155, None),
    ]


def test_time_before_the_channel_was_enabled_is_disabled(session: Session, channel_id: int) -> None:
    make.covered(session, channel_id, 0, 60)

    assert account(session, channel_id, -60, 60, 60) == [("disabled", -60, 0, None), ("recorded", 0, 60, None)]


def test_a_row_outside_the_enabled_time_counts_as_what_it_is(session: Session, channel_id: int) -> None:
    make.covered(session, channel_id, -10, 60)

    assert account(session, channel_id, -60, 60, 60) == [("disabled", -60, -10, None), ("recorded", -10, 60, None)]


def test_after_the_last_row_time_is_pending_until_the_horizon(session: Session, channel_id: int) -> None:
    make.capturing(session, channel_id)
    make.covered(session, channel_id, 0, 60)

    assert account(session, channel_id, 0, 500, 125) == [("recorded", 0, 60, None), ("pending", 60, 125, None)]
    assert account(session, channel_id, 0, 500, 200) == [
        ("recorded", 0, 60, None),
        ("unaccounted", 60, 130, None),
        ("pending", 130, 200, None),
    ]


def test_without_a_living_recorder_time_after_the_last_row_is_pending(session: Session, channel_id: int) -> None:
    make.capturing(session, channel_id, is_alive=False)
    make.covered(session, channel_id, 0, 60)
    make.covered(session, channel_id, 70, 80)

    assert account(session, channel_id, 0, 500, 500) == [
        ("recorded", 0, 60, None),
        ("unaccounted", 60, 70, None),
        ("recorded", 70, 80, None),
        ("pending", 80, 500, None),
    ]


def test_a_channel_without_any_row_is_pending(session: Session, channel_id: int) -> None:
    assert account(session, channel_id, 0, 50, 50) == [("pending", 0, 50, None)]


def test_a_deleted_channel_is_disabled_from_then_on(session: Session, channel_id: int) -> None:
    channels.retire(session, channel_id)
    make.covered(session, channel_id, 0, 60)
    year_later = Span(make.at(86400 * 366), make.at(86400 * 366 + 10))

    found = coverage.account(session, channel_id, year_later, at=year_later.end)

    assert [(s.kind, s.span) for s in found.stretches] == [("disabled", year_later)]


def test_a_window_in_the_future_is_refused(session: Session, channel_id: int) -> None:
    with pytest.raises(Invalid) as refused:
        account(session, channel_id, 10, 20, 10)

    assert refused.value.context["field"] == "from"


def test_a_window_of_more_than_400_days_is_refused(session: Session, channel_id: int) -> None:
    with pytest.raises(Invalid):
        account(session, channel_id, 0, 401 * 86400, 402 * 86400)


def test_durations_name_every_kind(session: Session, channel_id: int) -> None:
    make.covered(session, channel_id, 0, 60)

    found = coverage.account(session, channel_id, Span(make.at(0), make.at(60)), at=make.at(60)).durations()

    assert found == {**dict.fromkeys(coverage.KINDS, timedelta()), "recorded": timedelta(seconds=60)}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=7).filter(any))
def test_percentages_add_up_to_100(microseconds: list[int]) -> None:
    shares = coverage.percentages({str(i): timedelta(microseconds=n) for i, n in enumerate(microseconds)})

    assert sum(round(share * 10_000) for share in shares.values()) == 1_000_000


# --- gaps -------------------------------------------------------------------------------------------------


def gap(session: Session, channel_id: int, start: float, end: float) -> int:
    return make.covered(session, channel_id, start, end, CoverageKind.GAP, GapReason.SOURCE_ENDED).id


def test_gaps_are_found_by_overlap_and_in_order(session: Session, channel_id: int) -> None:
    second, first = gap(session, channel_id, 60, 70), gap(session, channel_id, 0, 10)
    make.covered(session, channel_id, 10, 60)

    def found(**question: Any) -> list[int]:
        return [row.id for row in coverage.gaps(session, channel_id=channel_id, **question).rows]

    assert found() == [first, second]
    assert found(start=make.at(10)) == [second]
    assert found(end=make.at(60)) == [first]
    assert found(sort="-start_time", limit=1) == [second]


@pytest.mark.parametrize(
    ("state", "is_open"),
    [(CaptureState.BACKOFF, True), (CaptureState.STARTING, True), (CaptureState.RUNNING, False)],
)
def test_the_last_gap_is_open_while_nothing_runs(
    session: Session, channel_id: int, state: CaptureState, is_open: bool
) -> None:
    gap(session, channel_id, 0, 10)
    gap(session, channel_id, 10, 20)
    make.capturing(session, channel_id, state)

    assert [row.is_open for row in coverage.gaps(session, channel_id=channel_id).rows] == [False, is_open]


def test_a_disabled_channels_last_gap_is_closed(session: Session, channel_id: int) -> None:
    gap(session, channel_id, 0, 10)
    channels.update(session, channel_id, checked({"enabled": False}))

    assert [row.is_open for row in coverage.gaps(session).rows] == [False]


# --- the proof --------------------------------------------------------------------------------------------


def test_the_proof_names_what_no_row_speaks_of(session: Session, channel_id: int) -> None:
    make.covered(session, channel_id, 10, 60)
    make.covered(session, channel_id, 70, 80)

    missing = coverage.unaccounted(session, channel_id, until=make.at(90))

    assert missing == [
        (channel_id, Span(make.at(0), make.at(10))),
        (channel_id, Span(make.at(60), make.at(70))),
        (channel_id, Span(make.at(80), make.at(90))),
    ]


def test_the_proof_of_a_whole_account_is_empty(session: Session, channel_id: int) -> None:
    make.covered(session, channel_id, -5, 60)
    make.covered(session, channel_id, 60, 100)

    assert coverage.unaccounted(session, until=make.at(90)) == []


def test_by_default_the_proof_ends_at_each_channels_horizon(session: Session, channel_id: int) -> None:
    fresh = make.channel(session, keyname="fresh-----")

    missing = coverage.unaccounted(session)

    assert [channel for channel, _ in missing] == [channel_id]
    assert coverage.unaccounted(session, fresh.id) == []


def test_an_account_of_ninety_days_takes_less_than_a_second(session: Session, channel_id: int) -> None:
    """The goal is 300 ms on an idle machine; this finds a plan that has gone wrong, not a slow neighbour."""
    session.execute(
        sa.text(
            "INSERT INTO coverage (uuid, channel_id, kind, start_time, end_time) "
            "SELECT gen_random_uuid(), :channel, 'recorded', CAST(:zero AS timestamptz) + n * interval '60 s', "
            "CAST(:zero AS timestamptz) + (n + 1) * interval '60 s' FROM generate_series(0, 129599) n"
        ),
        {"channel": channel_id, "zero": make.T0},
    )
    window = Span(make.T0, make.T0 + timedelta(days=90))

    began = time.monotonic()
    found = coverage.account(session, channel_id, window, at=window.end)
    took = time.monotonic() - began

    assert [s.span for s in found.stretches] == [window]
    assert took < 1, f"{took:.3f} s"
