"""How channels are spread over recorders."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.recorder.placement.interface import Assignment, Member, View
from streamrec.recorder.placement.plan import plan

A, B, C = (UUID(int=n) for n in (1, 2, 3))


def view(*members: Member, **held: Assignment) -> View:
    return View({m.id: m for m in members}, {int(name[1:]): found for name, found in held.items()})


def everybody(wanted: dict, seen: View, **options: int) -> dict[UUID, object]:
    """Each member's plan."""
    return {who: plan(wanted, seen, who, **options) for who in seen.members}


def free(count: int) -> dict[int, dict[str, str]]:
    return {n: {} for n in range(1, count + 1)}


@given(st.integers(0, 60), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_what_is_free_is_claimed_once_and_within_capacity(count: int, capacities: list[int]):
    """As much of it as there is room for."""
    seen = view(*(Member(UUID(int=n), capacity) for n, capacity in enumerate(capacities)))
    plans = everybody(free(count), seen)
    claimed = [channel_id for each in plans.values() for channel_id in each.claims]

    assert len(claimed) == len(set(claimed)) == min(count, sum(capacities))
    assert all(len(plans[who].claims) <= member.capacity for who, member in seen.members.items())
    assert {each.unplaced for each in plans.values()} == {count - len(claimed)}


def test_equal_recorders_get_equal_shares():
    seen = view(Member(A, 100), Member(B, 100), Member(C, 100))

    assert [len(each.claims) for each in everybody(free(60), seen).values()] == [20, 20, 20]


def test_shares_follow_capacity():
    seen = view(Member(A, 300), Member(B, 100))

    assert [len(each.claims) for each in everybody(free(80), seen).values()] == [60, 20]


def test_a_dead_recorders_channels_are_spread_over_the_rest():
    """At the epochs at which they were seen."""
    held = {f"_{n}": Assignment(n, C) for n in range(1, 5)}
    plans = everybody(free(4), view(Member(A, 9), Member(B, 9), **held))

    assert [plans[A].claims, plans[B].claims] == [{1: 1, 3: 3}, {2: 2, 4: 4}]


def test_who_stands_by_gets_what_the_dead_held():
    """It has media already."""
    seen = view(Member(A, 9), Member(B, 9), _1=Assignment(4, C, successor=B))

    assert [plan(free(1), seen, who).claims for who in (A, B)] == [{}, {1: 4}]


def test_a_recorder_with_nothing_to_do_offers_until_all_have_the_same():
    """A few at a time, and no more than evens things out."""
    held = {f"_{n}": Assignment(1, A) for n in range(1, 11)}
    seen = view(Member(A, 50), Member(B, 50), **held)

    assert len(plan(free(10), seen, B, most_moves=50).offers) == 5
    assert len(plan(free(10), seen, B, most_moves=2).offers) == 2
    assert plan(free(10), seen, A).offers == {}


def test_what_is_even_stays_where_it_is():
    """A difference of one is no reason."""
    seen = view(Member(A, 9), Member(B, 9), _1=Assignment(1, A), _2=Assignment(1, A), _3=Assignment(1, B))

    assert [each.offers for each in everybody(free(3), seen).values()] == [{}, {}]


def test_a_leaving_recorder_is_relieved_of_everything_and_given_nothing():
    """Whatever the loads are."""
    leaving = Member(A, 9, is_leaving=True)
    held = {"_1": Assignment(1, A), "_2": Assignment(1, B), "_3": Assignment(1, B)}
    plans = everybody(free(4), view(leaving, Member(B, 9), **held))

    assert (plans[A].claims, plans[A].offers) == ({}, {})
    assert (plans[B].claims, plans[B].offers) == ({4: 0}, {1: 1})


@pytest.mark.parametrize(("site", "claims"), [("north", {1: 0}), ("south", {})])
def test_a_pinned_channel_goes_to_who_has_the_labels(site: str, claims: dict):
    """And waits where nobody has."""
    seen = view(Member(A, 9, {"site": site, "network": "x"}), Member(B, 9))
    made = plan({1: {"site": "north"}}, seen, A)

    assert (made.claims, made.unplaced) == (claims, 0 if claims else 1)
    assert plan({1: {"site": "north"}}, seen, B).claims == {}


def test_a_channel_that_was_pinned_elsewhere_moves():
    seen = view(Member(A, 9), Member(B, 9, {"site": "north"}), _1=Assignment(1, A))

    assert plan({1: {"site": "north"}}, seen, B).offers == {1: 1}


@given(st.lists(st.sampled_from([A, B, C]), max_size=40), st.integers(1, 3))
def test_doing_what_the_plans_say_ends_with_even_loads(holders: list[UUID], living: int):
    """And then nothing more is to be done."""
    members = [Member(who, 40) for who in (A, B, C)[:living]]
    wanted = free(len(holders))
    assignments = {n: Assignment(1, who) for n, who in enumerate(holders, 1)}
    for _ in range(30):
        seen = View({m.id: m for m in members}, assignments)
        for who, made in everybody(wanted, seen).items():
            for channel_id in (*made.claims, *made.offers):
                assignments[channel_id] = Assignment(assignments[channel_id].epoch + 1, who)
    loads = Counter(found.holder for found in assignments.values())
    counts = [loads[m.id] for m in members]

    assert sum(counts) == len(holders)
    assert max(counts) - min(counts) <= 1
    assert all(not made.claims and not made.offers for made in everybody(wanted, seen).values())
