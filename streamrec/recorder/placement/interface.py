"""What a driver of placement must do. Nothing here knows SQL, and all times are the driver's own clock's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

TTL_SECONDS: Final = 6.0  # three missed heartbeats; a driver may be given another


@dataclass(frozen=True, slots=True)
class Member:
    """A recorder as the others see it."""

    id: UUID
    capacity: int  # captures
    labels: Mapping[str, str] = field(default_factory=dict)  # site, network
    is_leaving: bool = False  # it wants to be rid of what it holds


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who holds a channel. `epoch` grows with every change of the holder and never shrinks."""

    epoch: int
    holder: UUID | None  # may have died; whoever is not among the members has
    successor: UUID | None = None  # who offers to take over while the holder lives
    is_ready: bool = False  # the successor has media, and waits for the holder to end


@dataclass(frozen=True, slots=True)
class View:
    """One moment: the recorders that live, and every assignment there ever was."""

    members: Mapping[UUID, Member]
    assignments: Mapping[int, Assignment]  # by channel
    seconds_left: Mapping[UUID, float] = field(default_factory=dict)  # of a member's life, if it renews no more


class Placement(Protocol):
    """Leases on channels. Every method is one step that happens as a whole or not at all, and may block.

    All raise Unavailable if the driver's store does not answer; whether the step was done is then unknown, and the
    next view tells.
    """

    def join(self, member: Member) -> None:
        """Live from now on for TTL_SECONDS, and hold nothing unless a member of this id did; may be repeated."""
        ...

    def renew(self, member_id: UUID) -> bool:
        """Live TTL_SECONDS from now; False if the member never joined, has left or was buried: it must join."""
        ...

    def drain(self, member_id: UUID) -> None:
        """Let the others know that this member is leaving: it is offered nothing, and what it holds is wanted."""
        ...

    def leave(self, member_id: UUID) -> None:
        """Be gone at once; what it held is free."""
        ...

    def bury(self, member_id: UUID) -> None:
        """Declare dead somebody whose process is known to be gone, before its time is over."""
        ...

    def view(self) -> View:
        """How things stand."""
        ...

    def claim(self, member_id: UUID, seen: Mapping[int, int]) -> dict[int, int]:
        """Hold channels that no living member holds; the new epochs of those that were got.

        `seen` maps channels to the epoch at which they were seen free, 0 for one that nobody ever held. What has
        changed since is not got, and nothing is got by a member that is dead itself.
        """
        ...

    def offer(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        """Stand by to succeed the living holder of `epoch`; False if somebody living does already."""
        ...

    def make_ready(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        """The successor has media and could go on; False if it is not the successor at `epoch` any more."""
        ...

    def withdraw(self, member_id: UUID, channel_id: int) -> None:
        """Stand by no longer."""
        ...

    def release(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        """Hold a channel no more: its successor does from now on, if it is ready and lives, else nobody.

        False if `member_id` does not hold it under `epoch`.
        """
        ...
