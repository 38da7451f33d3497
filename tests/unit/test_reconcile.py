"""What the supervisor decides; the acting is in tests/recorder/test_worker.py."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.models import GapReason
from streamrec.recorder.events import Address
from streamrec.recorder.past import Told, beginning
from streamrec.recorder.supervisor import Change, Start, Stop, reconcile
from streamrec.recorder.tools import Order
from tests.fakes import NOON


def order(channel_id: int, url: str = "http://a.invalid/") -> Order:
    return Order(channel_id, "aaaaaaaaaa", Address(url), 60)


channels = st.dictionaries(st.integers(1, 9), st.sampled_from(["http://a.invalid/", "http://b.invalid/"])).map(
    lambda urls: {channel_id: order(channel_id, url) for channel_id, url in urls.items()}
)


@given(channels, channels)
def test_doing_what_it_says_makes_running_what_is_wanted(wanted, running):
    """And it asks for nothing more."""
    state = dict(running)
    actions = reconcile(wanted, running)

    for action in actions:
        match action:
            case Stop():
                del state[action.channel_id]
            case Start() | Change():
                state[action.order.channel_id] = action.order

    assert state == wanted
    assert reconcile(wanted, state) == []
    assert len(actions) == len({a.channel_id if isinstance(a, Stop) else a.order.channel_id for a in actions})


def at(seconds: float):
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("covered", "pending", "now", "expected"),
    [
        (None, None, 1, (0, GapReason.STARTING)),
        (None, None, 60, (0, GapReason.RECORDER_DOWN)),
        (50, None, 60, (50, GapReason.RECORDER_DOWN)),
        (50, 55, 60, (55, GapReason.RECORDER_DOWN)),
        (None, 55, 60, (55, GapReason.RECORDER_DOWN)),
        (-30, None, 1, (0, GapReason.STARTING)),
        (-30, -20, 60, (0, GapReason.RECORDER_DOWN)),
    ],
)
def test_where_a_capture_takes_up_the_account(covered, pending, now, expected):
    """Where rows and spool end, but not before the channel was enabled."""
    told = Told(at(0), None if covered is None else at(covered))

    start, reason = beginning(told, None if pending is None else at(pending), at(now))

    assert (start, reason) == (at(expected[0]), expected[1])
