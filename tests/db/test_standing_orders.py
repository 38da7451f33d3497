"""The recorder's orders are read again only when a row has changed."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.models import Channel, ChannelCredential
from streamrec.recorder.orders import FULL_SECONDS, Standing
from tests.factories import channel


class Now:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def read(standing: Standing) -> object:
    with db.Session.begin() as session:
        return standing.read(session)


def test_what_has_not_changed_is_not_read_again(engine: sa.Engine):
    with db.Session.begin() as session:
        channel(session)
    now = Now()
    standing = Standing(now)

    first, second = read(standing), read(standing)
    now.seconds = FULL_SECONDS
    third = read(standing)

    assert first is second
    assert third is not first
    assert third == first


def _rename(session: Session, channel_id: int) -> None:
    session.execute(sa.update(Channel).where(Channel.id == channel_id).values(url="http://other.invalid/"))


def _lock(session: Session, channel_id: int) -> None:
    session.add(ChannelCredential(channel_id=channel_id, username="u", password="p"))


def _disable(session: Session, channel_id: int) -> None:
    session.execute(sa.update(Channel).where(Channel.id == channel_id).values(enabled=False))


@pytest.mark.parametrize("change", [_rename, _lock, _disable])
def test_any_change_is_seen(engine: sa.Engine, change: Callable[[Session, int], None]):
    with db.Session.begin() as session:
        channel_id = channel(session).id
    standing = Standing(Now())
    before = read(standing)

    with db.Session.begin() as session:
        change(session, channel_id)

    assert read(standing) != before


def test_a_channel_that_is_added_while_they_are_read_has_an_order_where_it_has_a_pin(engine: sa.Engine):
    """What has a pin is claimed, and what has no order is let go: a claim for nothing, twice an epoch."""
    is_adding = [False]

    def add(*_: object) -> None:
        if not is_adding[0]:
            is_adding[0] = True
            with db.Session.begin() as other:
                channel(other, keyname=uuid4().hex[:10])
            is_adding[0] = False

    sa.event.listen(engine, "after_cursor_execute", add)
    with db.Session.begin() as session:
        orders, pins = Standing(Now()).read(session)

    assert orders.keys() == pins.keys() != set()
