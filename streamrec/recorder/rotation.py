"""Which of a channel's sources is to be recorded: the first that works, in order. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamrec.models import GapReason
from streamrec.recorder.events import Address
from streamrec.recorder.state import GOOD_SECONDS, LASTING
from streamrec.recorder.tools import Limits, Order

OURS: Final = frozenset(
    {
        GapReason.DISABLED,
        GapReason.CLOCK,
        GapReason.DISK_FULL,
        GapReason.IO_ERROR,
        GapReason.STORAGE_MISSING,
    }
)
"""What no other source would mend."""


class Rotation:
    """A place in an order's list of sources; it moves on when a source fails its limits, and round at the end.

    Once every source has failed in an outage, each gets one attempt at a time until one of them is good.
    """

    def __init__(self, order: Order, limits: Limits, now: float) -> None:
        """`now` and all times below are monotonic seconds."""
        self.index = 0
        self._sources = order.sources
        self._limits = limits
        self._attempts = 0
        self._moves = 0  # since a source was good
        self._media_at = now  # or when this source's turn began

    @property
    def address(self) -> Address:
        """The source whose turn it is."""
        return self._sources[self.index]

    def of(self, order: Order) -> Order:
        """The order as it is for this source."""
        return replace(order, address=self.address, source_index=self.index)

    def change(self, order: Order) -> bool:
        """Follow a changed order; whether another source's turn begins with it."""
        before, self._sources = self.address, order.sources
        if before in self._sources:
            self.index = self._sources.index(before)
            return False
        self.index = self._attempts = self._moves = 0
        return True

    def media(self, seconds: float, now: float) -> None:
        """The attempt has delivered so much media, the last of it now."""
        self._media_at = now
        if seconds >= GOOD_SECONDS:
            self._attempts = self._moves = 0

    def begin(self, now: float) -> None:
        """The first attempt at this source may begin only now: it waited for its turn at the gate."""
        if not self._attempts:
            self._media_at = now

    def is_spent(self, now: float) -> bool:
        """Whether this source has had its time without media, and there is another."""
        return len(self._sources) > 1 and now - self._media_at >= self._limits.patience_seconds

    def failed(self, reason: GapReason, now: float) -> bool:
        """An attempt has ended; whether it is another source's turn, which has not failed in this outage yet."""
        if reason in OURS or len(self._sources) == 1:
            return False
        self._attempts += 1
        is_worn_out = self._attempts >= self._limits.attempts or reason in LASTING or self._is_second_round
        if not is_worn_out and not self.is_spent(now):
            return False
        self.index = (self.index + 1) % len(self._sources)
        self._moves += 1
        self._attempts, self._media_at = 0, now
        return not self._is_second_round

    @property
    def _is_second_round(self) -> bool:
        return self._moves >= len(self._sources)
