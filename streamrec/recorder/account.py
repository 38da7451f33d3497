"""How far one channel's time is told, and the outage that is going on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from streamrec.models import GapReason
from streamrec.recorder.facts import GapNoted


@dataclass(slots=True)
class _Outage:
    start: datetime
    reason: GapReason
    detail: str
    is_caused: bool = False  # it ended media that was good: its reason stays, whatever later attempts meet
    uuid: UUID = field(default_factory=uuid4)
    is_noted: bool = False


class Account:
    """Up to `covered_until` every second is recorded or a gap; from there on an outage, or a run, goes on.

    One outage is one gap, however many attempts fail in it. Its reason is what ended the media before it, or the
    latest attempt's where there was none; its detail is the latest attempt's. Time before this capture began
    (`recorder_down`) stays a gap of its own once an attempt has failed.
    """

    def __init__(
        self,
        channel_id: int,
        *,
        covered_until: datetime,
        began: datetime,
        reason: GapReason,
        told: Sequence[GapNoted] = (),
    ) -> None:
        """`told` are the gaps that an earlier recorder told of, without a break from the archive's end on."""
        self.covered_until = covered_until
        self._channel_id = channel_id
        self._began = began
        is_down = reason is GapReason.RECORDER_DOWN
        detail = "No recorder was running." if is_down else "The capture has not begun yet."
        self._outage: _Outage | None = _Outage(covered_until, reason, detail)
        self._told = list(told)  # complete gaps between the archive's end and the outage that goes on
        self._last: tuple[_Outage, datetime] | None = None  # the outage before this recording, and its end

    @property
    def is_out(self) -> bool:
        """Whether nothing is being recorded."""
        return self._outage is not None

    @property
    def archived_until(self) -> datetime:
        """Where the archive's last media ends: the outage that goes on began there."""
        if self._told:
            return self._told[0].start_time
        return self._outage.start if self._outage is not None else self.covered_until

    def lose(self, reason: GapReason, detail: str) -> GapNoted | None:
        """Nothing is recorded from `covered_until` on; the gap that this completes, if it does."""
        before = self._outage or self._unbroken()
        if before is None:
            self._outage = _Outage(self.covered_until, reason, detail, is_caused=True)
            return None
        self._outage = before
        if before.reason is not GapReason.RECORDER_DOWN:
            before.reason, before.detail = before.reason if before.is_caused else reason, detail
            return None
        completed = None
        if self._began > before.start:
            completed = self._gap(before, self._began)
            self._told.append(completed)
            self.covered_until = self._began
        self._outage = _Outage(self.covered_until, reason, detail)
        return completed

    def _unbroken(self) -> _Outage | None:
        """The last outage, if nothing of what was recorded after it was kept, as when the disk is full."""
        return self._last[0] if self._last is not None and self.covered_until <= self._last[1] else None

    def note(self, until: datetime) -> GapNoted | None:
        """The outage so far, if there is one and it has a length."""
        if self._outage is None or until <= self._outage.start:
            return None
        self._outage.is_noted = True
        return self._gap(self._outage, until)

    def resumption(self, at: datetime) -> GapNoted | None:
        """The final bounds of the outage if media is recorded from `at` on, never before `covered_until`."""
        assert at >= self.covered_until, f"{at} is told already, up to {self.covered_until}"
        outage = self._outage
        if outage is None or (at == outage.start and not outage.is_noted):
            return None
        return self._gap(outage, at)

    def rejoining(self) -> list[GapNoted]:
        """What must be withdrawn if media is recorded from `archived_until` on, because nothing is missing."""
        withdrawn = [replace(gap, end_time=gap.start_time) for gap in self._told]
        if self._outage is not None and self._outage.is_noted:
            withdrawn.append(self._gap(self._outage, self._outage.start))
        return withdrawn

    def resume(self, at: datetime) -> None:
        """The outage is over: media is recorded from `at` on."""
        self._last = (self._outage, at) if self._outage is not None else None
        self._outage, self._told, self.covered_until = None, [], at

    def recorded(self, until: datetime) -> None:
        """Media is recorded up to `until`; its file's end will say so exactly."""
        self.covered_until = max(self.covered_until, until)

    def archived(self, until: datetime) -> None:
        """The last file of a run ends at `until`, which may be a little off what `recorded` said."""
        self.covered_until = until

    def finish(self, until: datetime, reason: GapReason, detail: str) -> GapNoted | None:
        """The channel was wanted up to `until`; the gap from the last recorded media to there."""
        if self._outage is None:
            self._outage = _Outage(self.covered_until, reason, detail)
        return self.note(until)

    def _gap(self, outage: _Outage, until: datetime) -> GapNoted:
        return GapNoted(outage.uuid, self._channel_id, outage.start, until, outage.reason, outage.detail)
