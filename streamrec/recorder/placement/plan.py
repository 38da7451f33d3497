"""What one recorder should do about the channels, so that all together spread them evenly. Pure.

Every recorder works out the whole plan from the view it has and does its own part of it: two with the same view
never want the same channel, and where views differ the driver's compare-and-set decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from streamrec.recorder.placement.interface import Assignment, Member, View

MOVES: Final = 8  # hand-overs that one recorder takes part in at a time, when nobody is leaving

Pin = Mapping[str, str]
"""Labels that a recorder must have to capture a channel."""


@dataclass(frozen=True, slots=True)
class Plan:
    """For one recorder; each maps a channel to the epoch at which it was seen."""

    claims: dict[int, int] = field(default_factory=dict)
    offers: dict[int, int] = field(default_factory=dict)
    unplaced: int = 0  # channels that no recorder has room or the labels for


def plan(wanted: Mapping[int, Pin], view: View, me: UUID, *, most_moves: int = MOVES) -> Plan:
    """The part of recorder `me`: what it should claim now, and what it should offer to take over."""
    board = _Board(wanted, view)
    made = Plan(unplaced=board.unplaced)
    for channel_id, target in board.placed.items():
        if target == me:
            made.claims[channel_id] = board.epoch(channel_id)
    standing_by = sum(found.successor == me for found in view.assignments.values())
    for channel_id, target in board.moves():
        if target == me and standing_by < (4 * most_moves if board.is_leaving(channel_id) else most_moves):
            made.offers[channel_id] = board.epoch(channel_id)
            standing_by += 1
    return made


def fits(pin: Pin, member: Member) -> bool:
    """Whether a member has every label that is asked for."""
    return all(member.labels.get(name) == value for name, value in pin.items())


class _Board:
    """Everybody's load while the plan is made."""

    def __init__(self, wanted: Mapping[int, Pin], view: View) -> None:
        self._wanted = wanted
        self._members = view.members
        self._assignments = {
            channel_id: view.assignments.get(channel_id, Assignment(0, None)) for channel_id in sorted(wanted)
        }
        self._loads: Counter[UUID] = Counter()
        for found in self._assignments.values():
            keeper = self._keeper(found)
            if keeper is not None:
                self._loads[keeper] += 1
        self.unplaced = 0
        self.placed = dict(self._place())

    def epoch(self, channel_id: int) -> int:
        return self._assignments[channel_id].epoch

    def is_leaving(self, channel_id: int) -> bool:
        """Whether the channel's holder wants to be rid of it."""
        holder = self._assignments[channel_id].holder
        return holder is not None and holder in self._members and self._members[holder].is_leaving

    def _keeper(self, found: Assignment) -> UUID | None:
        """Who will have the channel if nothing is done: whoever stands by, or else the holder, if they live."""
        return next((each for each in (found.successor, found.holder) if each in self._members), None)

    def _place(self) -> Iterator[tuple[int, UUID]]:
        """Give what nobody living holds to whoever stands by for it, or has the least to do."""
        for channel_id, found in self._assignments.items():
            if found.holder in self._members:
                continue
            if found.successor is not None and found.successor in self._members:
                yield channel_id, found.successor
                continue
            target = self._least(channel_id)
            if target is None:
                self.unplaced += 1
            else:
                self._loads[target] += 1
                yield channel_id, target

    def moves(self) -> Iterator[tuple[int, UUID]]:
        """What should go from one living member to another, most pressing first, until the loads are even."""
        held = [
            (channel_id, found.holder)
            for channel_id, found in self._assignments.items()
            if found.holder is not None and self._keeper(found) == found.holder
        ]
        for is_pressing in (True, False):
            for channel_id, holder in held:
                if self._must_go(channel_id, holder) is is_pressing:
                    target = self._least(channel_id, other_than=holder)
                    if target is not None and (is_pressing or self._evens(holder, target)):
                        self._loads[holder] -= 1
                        self._loads[target] += 1
                        yield channel_id, target

    def _must_go(self, channel_id: int, holder: UUID) -> bool:
        member = self._members[holder]
        return member.is_leaving or not fits(self._wanted[channel_id], member)

    def _evens(self, holder: UUID, target: UUID) -> bool:
        """Whether the target, with one more, still has less to do than the holder."""
        before = self._loads[holder] / self._members[holder].capacity
        return (self._loads[target] + 1) / self._members[target].capacity < before

    def _least(self, channel_id: int, *, other_than: UUID | None = None) -> UUID | None:
        pin = self._wanted[channel_id]
        able = [
            (self._loads[member.id] / member.capacity, member.id)
            for member in self._members.values()
            if not member.is_leaving
            and member.id != other_than
            and self._loads[member.id] < member.capacity
            and fits(pin, member)
        ]
        return min(able)[1] if able else None
