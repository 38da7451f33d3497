"""What the tables refuse, whoever writes to them."""

from __future__ import annotations

import select
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.models import Channel, ChannelType, Coverage, CoverageKind, GapReason

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def make_channel(session: Session, keyname: str = "gr-rstpk-1", **changes: object) -> Channel:
    """A living channel."""
    values: dict[str, object] = {"name": "R", "type": ChannelType.RADIO, "url": "http://a.example/x"}
    channel = Channel(keyname=keyname, **(values | changes))
    session.add(channel)
    session.flush()
    return channel


def make_gap(channel: Channel, start: int, end: int) -> Coverage:
    """A gap in seconds after noon."""
    return Coverage(
        uuid=uuid4(),
        channel_id=channel.id,
        kind=CoverageKind.GAP,
        reason=GapReason.STALLED,
        start_time=NOON + timedelta(seconds=start),
        end_time=NOON + timedelta(seconds=end),
    )


def refused(session: Session, row: object) -> str | None:
    """The constraint that refuses `row`."""
    session.add(row)
    with pytest.raises(IntegrityError) as caught:
        session.flush()
    return db.violated_constraint(caught.value)


def test_two_rows_of_one_channel_cannot_account_for_the_same_instant(session: Session) -> None:
    """I2: an overlap of a millisecond is refused."""
    channel = make_channel(session)
    session.add(make_gap(channel, 0, 10))
    session.flush()
    late = make_gap(channel, 10, 20)
    late.start_time -= timedelta(milliseconds=1)

    assert refused(session, late) == "coverage_overlap_excl"


def test_rows_that_touch_are_accepted(session: Session) -> None:
    """Spans are half-open."""
    channel = make_channel(session)
    session.add_all([make_gap(channel, 0, 10), make_gap(channel, 10, 20)])

    session.flush()


def test_two_channels_may_account_for_the_same_instant(session: Session) -> None:
    """The constraint is per channel."""
    session.add(make_gap(make_channel(session, "aaaaaaaaaa"), 0, 10))
    session.add(make_gap(make_channel(session, "bbbbbbbbbb"), 0, 10))

    session.flush()


def test_a_gap_without_a_reason_is_refused(session: Session) -> None:
    """A gap says why."""
    gap = make_gap(make_channel(session), 0, 10)
    gap.reason = None

    assert refused(session, gap) == "coverage_reason_check"


@pytest.mark.parametrize("keyname", ["short", "elevenchars", "gr rstpk-1", "gr-rstpk-\n", "grä-rstpk1"])
def test_a_keyname_is_ten_plain_characters(session: Session, keyname: str) -> None:
    """The column refuses what the API would have refused."""
    with pytest.raises(sa.exc.DBAPIError):
        make_channel(session, keyname)


def test_a_url_with_credentials_cannot_be_stored(session: Session) -> None:
    """They belong into channel_credential."""
    with pytest.raises(IntegrityError, match="channel_url_check"):
        make_channel(session, url="http://user:secret@a.example/x")


def test_an_at_sign_in_a_path_is_not_a_credential(session: Session) -> None:
    """Akamai's addresses have one."""
    make_channel(session, url="http://a.example/i/rtve_1_0@507973/master.m3u8")


def test_a_deleted_channels_keyname_is_free_again(session: Session) -> None:
    """Uniqueness holds among the living."""
    make_channel(session, deleted_at=NOON)

    make_channel(session)


def test_a_naive_datetime_does_not_reach_the_database(session: Session) -> None:
    """An instant without a zone is a bug, not a guess."""
    with pytest.raises(StatementError, match="naive"):
        make_channel(session, deleted_at=NOON.replace(tzinfo=None))


def test_a_channel_row_that_changes_is_announced(engine: sa.Engine) -> None:
    """The recorder hears of a change without waiting for its next poll."""
    listener = db.Listener(engine, "channel")
    with db.Session.begin() as session:
        channel = make_channel(session)
    select.select([listener], [], [], 5)

    assert listener.drain() == [str(channel.id)]
    listener.close()
