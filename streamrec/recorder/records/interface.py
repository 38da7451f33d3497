"""What a driver must tell a supervisor of channels: orders, pasts and news. Nothing here knows SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from streamrec.recorder.facts import GapNoted
from streamrec.recorder.past import Told
from streamrec.recorder.placement.plan import Pin
from streamrec.recorder.tail import ClosedFile
from streamrec.recorder.tools import Order


class Wanted(NamedTuple):
    """Every channel that is to be recorded; nobody may change these, and unchanged ones are the same objects."""

    orders: Mapping[int, Order]
    pins: Mapping[int, Pin]  # the labels that a recorder must have for a channel


class Account(NamedTuple):
    """What the store says of a channel's time at one moment."""

    told: Told | None  # None: the channel is not enabled
    rows: Sequence[ClosedFile | GapNoted]  # the archive's last files, and what is told of the time after them


class Records(Protocol):
    """The channels as the store knows them. All but `unlisten` raise Unavailable if it does not answer.

    `wanted`, `account` and `disabled_at` may block, and are called from threads; the others from the event loop.
    """

    def wanted(self) -> Wanted:
        """The standing orders; read again only when something has changed, and now and then."""
        ...

    def account(self, channel_id: int) -> Account:
        """How far a channel's time is told, and with what its archive ends."""
        ...

    def disabled_at(self, channel_id: int) -> datetime | None:
        """When the channel's latest enabled period ended; None if it has not."""
        ...

    async def listen(self, woken: Callable[[], None]) -> None:
        """Call `woken` on this loop whenever a channel or its holder may have changed; repeating it is harmless.

        It is also called when nothing more will be heard, because the store was lost: then listen again.
        """
        ...

    def unlisten(self) -> None:
        """Hear no more; may be repeated."""
        ...
