"""What this recorder holds, and its own part of the plan: the lease, the claims, the offers and the hand-overs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from streamrec.recorder.placement.interface import TTL_SECONDS, Assignment, Member, Placement, View
from streamrec.recorder.placement.plan import Pin, Plan, plan

log = structlog.get_logger(__name__)

SURE_SECONDS: Final = 4.0  # after a renewal; then the lease must be taken for lost until the next
MARGIN_SECONDS: Final = 0.05  # after the death of another, by the driver's clock


@dataclass(frozen=True, slots=True)
class Held:
    """What is ours at a moment; each maps a channel to its epoch."""

    epochs: Mapping[int, int]
    standing_by: Mapping[int, int]  # held by others, to whom we have offered to take over
    to_hand_over: Mapping[int, int]  # ours, with a successor that has media
    ready: frozenset[int] = frozenset()  # of those we stand by for, where we have said that we have media
    look_again_seconds: float | None = None  # when another recorder will be dead, if it renews no more
    has_peers: bool = False  # others that could take over what is ours


@dataclass(frozen=True, slots=True)
class Look:
    """How things stand, and what is to be done about it."""

    view: View
    plan: Plan

    @property
    def is_takeover(self) -> bool:
        """Whether something is to be claimed that somebody else held."""
        return any(_was_held(self.view, channel_id) for channel_id in self.plan.claims)


class Holdings:
    """This recorder's membership. Thread-safe; all methods may block, and raise Unavailable as the driver does."""

    def __init__(
        self,
        placement: Placement,
        member: Member,
        *,
        monotonic: Callable[[], float],
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        self.placement = placement
        self.member = member
        self._monotonic = monotonic
        self._sure_seconds = SURE_SECONDS * ttl_seconds / TTL_SECONDS
        self._ttl_seconds = ttl_seconds
        self._renewed_at = float("-inf")
        self._patient_until = float("-inf")
        self._lock = threading.Lock()
        self._unplaced = 0
        self._planned: tuple[Mapping[int, Pin], View, Plan] | None = None

    @property
    def is_sure(self) -> bool:
        """Whether the last successful renewal is young enough to act upon; a process that was stopped is not."""
        return self._monotonic() - self._renewed_at < self._sure_seconds

    def join(self) -> None:
        """Become a member, or one again."""
        with self._lock:
            asked_at = self._monotonic()
            self.placement.join(self.member)
            self._renewed(asked_at)

    def beat(self) -> None:
        """Renew the lease; who was buried joins again, and finds out what it has lost."""
        asked_at = self._monotonic()
        if self.placement.renew(self.member.id):
            self._renewed(asked_at)
        else:
            log.warning("the others took this recorder for dead; it joins again")
            self.join()

    def _renewed(self, asked_at: float) -> None:
        """After a time in which we could not renew, the others' leases may have run out though they live."""
        if self._sure_seconds <= asked_at - self._renewed_at < float("inf"):
            self._patient_until = asked_at + self._ttl_seconds
        self._renewed_at = asked_at

    def drain(self) -> None:
        """Ask the others to take over everything."""
        self.member = replace(self.member, is_leaving=True)
        self.placement.drain(self.member.id)

    def leave(self) -> None:
        """Be gone; what is still held is free."""
        self._renewed_at = float("-inf")
        self.placement.leave(self.member.id)

    def look(self, wanted: Mapping[int, Pin]) -> Look:
        """Make the plan for the channels that are to be recorded; nothing is taken while the lease is in doubt.

        For a lease's length after it was, nothing is taken over either: whoever lives renews in that time.
        """
        view = self.placement.view()
        made = self._plan(wanted, view) if self.is_sure else Plan()
        if self._patience_seconds > 0:
            free = {id_: epoch for id_, epoch in made.claims.items() if not _was_held(view, id_)}
            made = replace(made, claims=free)
        if made.unplaced != self._unplaced:
            self._unplaced = made.unplaced
            log.warning("channels that no recorder has room or the labels for", count=made.unplaced)
        return Look(view, made)

    def _plan(self, wanted: Mapping[int, Pin], view: View) -> Plan:
        """The plan; the last one, if it was made of the same."""
        if self._planned is not None:
            known, before, made = self._planned
            if known is wanted and before.assignments is view.assignments and before.members == view.members:
                return made
        made = plan(wanted, view, self.member.id)
        self._planned = wanted, view, made
        return made

    def take(self, look: Look) -> Held:
        """Do our part of the plan; what is ours then."""
        me = self.member.id
        got = self.placement.claim(me, look.plan.claims) if look.plan.claims else {}
        offered = {
            channel_id: epoch
            for channel_id, epoch in look.plan.offers.items()
            if self.placement.offer(me, channel_id, epoch)
        }
        if got:
            log.info("channels claimed", count=len(got), asked=len(look.plan.claims))
        held = {id_: found.epoch for id_, found in look.view.assignments.items() if found.holder == me}
        standing_by = {
            id_: found.epoch
            for id_, found in look.view.assignments.items()
            if found.successor == me and found.holder in look.view.members and id_ not in got
        }
        to_hand_over = {
            id_: epoch for id_, epoch in held.items() if self._has_heir(look.view.assignments[id_], look.view)
        }
        ready = frozenset(id_ for id_ in standing_by if look.view.assignments[id_].is_ready)
        death, has_peers = self._next_death(look.view), self._peers(look.view)
        return Held(held | got, standing_by | offered, to_hand_over, ready, death, has_peers)

    def release(self, channel_id: int, epoch: int) -> bool:
        """Let go of a channel; whether it was ours."""
        return self.placement.release(self.member.id, channel_id, epoch)

    def make_ready(self, channel_id: int, epoch: int) -> None:
        """Say that we have the media of a channel that we stand by for."""
        self.placement.make_ready(self.member.id, channel_id, epoch)

    def _has_heir(self, found: Assignment, view: View) -> bool:
        return found.is_ready and found.successor in view.members

    def _peers(self, view: View) -> bool:
        return any(not member.is_leaving for member in view.members.values() if member.id != self.member.id)

    def _next_death(self, view: View) -> float | None:
        left = [seconds for who, seconds in view.seconds_left.items() if who != self.member.id]
        if self._patience_seconds > 0:
            left.append(self._patience_seconds)
        return min(left) + MARGIN_SECONDS if left else None

    @property
    def _patience_seconds(self) -> float:
        return self._patient_until - self._monotonic()


def _was_held(view: View, channel_id: int) -> bool:
    found = view.assignments.get(channel_id)
    return found is not None and found.holder is not None
