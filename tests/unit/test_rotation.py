"""Which source's turn it is: limits, rounds and changed orders."""

from __future__ import annotations

from streamrec.models import GapReason
from streamrec.recorder.events import Address
from streamrec.recorder.rotation import Rotation
from streamrec.recorder.tools import Limits, Order

A, B, C = (Address(f"http://{name}.invalid/") for name in "abc")
LIMITS = Limits(attempts=3, patience_seconds=10.0)
ENDED = GapReason.SOURCE_ENDED


def order(*sources: Address) -> Order:
    return Order(7, "aaaaaaaaaa", sources[0], 60, backups=sources[1:])


def rotation(*sources: Address) -> Rotation:
    return Rotation(order(*sources), LIMITS, 0.0)


def test_a_single_source_is_never_given_up() -> None:
    alone = rotation(A)

    assert [alone.failed(ENDED, at) for at in range(50)] == [False] * 50
    assert not alone.is_spent(1000.0)


def test_the_next_source_follows_after_so_many_attempts() -> None:
    found = rotation(A, B)

    assert [found.failed(ENDED, at) for at in (0.1, 0.2, 0.3)] == [False, False, True]
    assert found.address == B


def test_or_after_so_long_without_media() -> None:
    found = rotation(A, B)
    found.media(5.0, 20.0)

    assert (found.is_spent(29.9), found.is_spent(30.0)) == (False, True)
    assert found.failed(GapReason.STALLED, 30.0)
    assert (found.index, found.is_spent(39.9)) == (1, False)


def test_what_another_attempt_will_not_change_ends_the_turn_at_once() -> None:
    found = rotation(A, B)

    assert found.failed(GapReason.SOURCE_DENIED, 0.1)


def test_what_is_our_own_fault_counts_for_nothing() -> None:
    found = rotation(A, B)

    assert not any(found.failed(GapReason.DISK_FULL, 0.1) for _ in range(9))
    assert found.index == 0


def test_half_a_minute_of_media_is_a_new_beginning_and_less_is_not() -> None:
    found = rotation(A, B)
    found.failed(ENDED, 1.0)
    found.failed(ENDED, 2.0)
    found.media(29.0, 31.0)
    short = found.failed(ENDED, 31.0)
    found.media(30.0, 61.0)

    assert (short, found.failed(ENDED, 61.0), found.failed(ENDED, 61.1)) == (True, False, False)


def test_once_all_have_failed_each_gets_one_attempt_and_the_usual_wait() -> None:
    found = rotation(A, B)
    moves = [found.failed(ENDED, at / 10) for at in range(9)]

    assert moves == [False, False, True, False, False, False, False, False, False]
    assert found.index == (2 + 3) % 2


def test_a_source_stays_when_the_list_around_it_changes() -> None:
    found = rotation(A, B)
    found.failed(GapReason.DNS, 0.1)

    assert not found.change(order(A, C, B))
    assert (found.index, found.of(order(A, C, B)).source_index) == (2, 2)
    assert found.of(order(A, C, B)).address == B


def test_a_source_that_is_taken_away_gives_way_to_the_primary() -> None:
    found = rotation(A, B)
    found.failed(GapReason.DNS, 0.1)

    assert found.change(order(A, C))
    assert found.address == A
