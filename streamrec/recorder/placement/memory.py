"""Placement within one process: what simulations run on, and what the other drivers are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from streamrec.recorder.placement.interface import TTL_SECONDS, Assignment, Member, View


@dataclass(slots=True)
class _Life:
    member: Member
    ends_at: float


class MemoryPlacement:
    """A Placement whose clock is `monotonic`."""

    def __init__(self, monotonic: Callable[[], float], *, ttl_seconds: float = TTL_SECONDS) -> None:
        self._monotonic = monotonic
        self._ttl_seconds = ttl_seconds
        self._lives: dict[UUID, _Life] = {}
        self._assignments: dict[int, Assignment] = {}
        self._seen: Mapping[int, Assignment] | None = None  # the same object until something changes

    def join(self, member: Member) -> None:
        self._lives[member.id] = _Life(member, self._monotonic() + self._ttl_seconds)

    def renew(self, member_id: UUID) -> bool:
        life = self._lives.get(member_id)
        if life is None:
            return False
        life.ends_at = self._monotonic() + self._ttl_seconds
        return True

    def drain(self, member_id: UUID) -> None:
        life = self._lives.get(member_id)
        if life is not None:
            life.member = replace(life.member, is_leaving=True)

    def leave(self, member_id: UUID) -> None:
        self._lives.pop(member_id, None)

    def bury(self, member_id: UUID) -> None:
        self._lives.pop(member_id, None)

    def view(self) -> View:
        now = self._monotonic()
        living = {member_id: life for member_id, life in self._lives.items() if life.ends_at > now}
        if self._seen is None:
            self._seen = dict(self._assignments)
        return View(
            members={member_id: life.member for member_id, life in living.items()},
            assignments=self._seen,
            seconds_left={member_id: life.ends_at - now for member_id, life in living.items()},
        )

    def claim(self, member_id: UUID, seen: Mapping[int, int]) -> dict[int, int]:
        got: dict[int, int] = {}
        for channel_id, epoch in seen.items():
            now = self._assignments.get(channel_id, Assignment(0, None))
            if self._lives_now(member_id) and now.epoch == epoch and not self._lives_now(now.holder):
                self._set(channel_id, Assignment(epoch + 1, member_id))
                got[channel_id] = epoch + 1
        return got

    def offer(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        now = self._assignments.get(channel_id)
        if now is None or now.epoch != epoch or now.holder == member_id:
            return False
        is_free = now.successor in {None, member_id} or not self._lives_now(now.successor)
        if not is_free or not self._lives_now(now.holder) or not self._lives_now(member_id):
            return False
        self._set(channel_id, replace(now, successor=member_id, is_ready=False))
        return True

    def make_ready(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        now = self._assignments.get(channel_id)
        if now is None or (now.epoch, now.successor) != (epoch, member_id):
            return False
        self._set(channel_id, replace(now, is_ready=True))
        return True

    def withdraw(self, member_id: UUID, channel_id: int) -> None:
        now = self._assignments.get(channel_id)
        if now is not None and now.successor == member_id:
            self._set(channel_id, replace(now, successor=None, is_ready=False))

    def release(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        now = self._assignments.get(channel_id)
        if now is None or (now.epoch, now.holder) != (epoch, member_id):
            return False
        heir = now.successor if now.is_ready and self._lives_now(now.successor) else None
        self._set(channel_id, Assignment(epoch + 1, heir))
        return True

    def _set(self, channel_id: int, assignment: Assignment) -> None:
        self._assignments[channel_id] = assignment
        self._seen = None

    def _lives_now(self, member_id: UUID | None) -> bool:
        life = self._lives.get(member_id) if member_id is not None else None
        return life is not None and life.ends_at > self._monotonic()
