"""Which wall time a moment of a run's media has. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta


class RunClock:
    """Wall time = anchor + media time, where the anchor makes the newest media that has arrived "now".

    The wall clock is read once, by the caller, when the run's first bytes arrive; `now` and `monotonic` are
    the same moment. Call `observe` before asking for the wall time of what has just arrived.
    """

    def __init__(self, *, now: datetime, monotonic: float) -> None:
        raise NotImplementedError

    def observe(self, media: int, received_at: float) -> None:
        """By `received_at` (monotonic seconds) the run's media had arrived up to `media` flicks."""
        raise NotImplementedError

    @property
    def is_anchored(self) -> bool:
        """Whether `wall` may be asked; until then the capture holds its units back (never longer than 12 s)."""
        raise NotImplementedError

    def settle(self) -> None:
        """Anchor with what is known, because the attempt is over."""
        raise NotImplementedError

    def wall(self, media: int) -> datetime:
        """The wall time `media` flicks into the run, to the microsecond; it grows with `media`."""
        raise NotImplementedError

    @property
    def disagreement(self) -> timedelta | None:
        """How much later the newest media arrives than this clock says, if that is too much to be steered away.

        The capture then ends the run (gap reason `clock`) and begins another; negative means that media runs
        ahead of the clock, as when a server sends a burst again.
        """
        raise NotImplementedError

    def stepped(self, now: datetime, monotonic: float) -> timedelta:
        """How far the wall clock has been moved since the run began; the caller ends the run above 1 s."""
        raise NotImplementedError
