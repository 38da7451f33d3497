"""One listener's bytes: the burst, then frame after frame as each has been on air, and what faults make of it."""

from __future__ import annotations

import random
import time
from itertools import count

from tests.station.mount import ONCE, PAGE, Fault, Mount, Part

TICK_SECONDS = 0.1
_FLIPPED_SHARE = 1e-5
_FAST = 10
_SLOW = 1 / 3
_FLOOD_FRAMES = 2000
_DRIP_TICKS = round(1 / TICK_SECONDS)
_numbers = count(1)


class Listener:
    """Where in a mount's programme one connection is."""

    def __init__(self, mount: Mount) -> None:
        self.number = next(_numbers)
        self.mount = mount
        self.fault: Fault | None = None
        """What is done to this listener alone."""
        self.hang_ups = mount.hang_ups
        self._part: Part = mount.part
        self._position = self._part.live(time.time()) - mount.burst_frames
        self._random = random.Random(self._position)
        self._ticks = 0

    @property
    def is_dropped(self) -> bool:
        """Whether the mount has hung up on it."""
        return self.hang_ups != self.mount.hang_ups

    def next(self) -> bytes:
        """What is to be sent now, called once a tick."""
        self._ticks += 1
        fault = self.fault or self.mount.fault
        if fault in {Fault.STALL, Fault.DRIP, Fault.GARBAGE}:
            self._skip()
            return self._instead(fault)
        if fault in {Fault.FAST, Fault.FLOOD}:
            frames = _FLOOD_FRAMES
            if fault is Fault.FAST:
                frames = round(_FAST * TICK_SECONDS / self._part.programme.frame_seconds)
            self._position += frames
            return self._part.programme.looped(self._position - frames, self._position)
        if fault is Fault.SLOW:
            return self._crept()
        data = self._played()
        if fault in ONCE and len(data) > 1:
            self.fault = self.mount.fault = None
        return self._spoiled(data, fault)

    def _instead(self, fault: Fault | None) -> bytes:
        if fault is Fault.GARBAGE:
            return b"<html><body>Back soon.</body></html>" * 20
        return b"\0" if fault is Fault.DRIP and self._ticks % _DRIP_TICKS == 0 else b""

    def _skip(self) -> None:
        """What is on air meanwhile is not sent later."""
        self._part = self.mount.part
        self._position = self._part.live(time.time())

    def _crept(self) -> bytes:
        """Frame after frame, ever further behind what is on air; nothing is left out."""
        part, first = self._part, self._position
        self._position += round(_SLOW * TICK_SECONDS / part.programme.frame_seconds)
        self.mount.journal.sent(self.mount.name, self.number, part.number, max(0, first), self._position)
        return part.programme.frames(first, self._position)

    def _played(self) -> bytes:
        """Everything up to now, over the end of one part into the next."""
        now, data = time.time(), b""
        while True:
            part, live = self._part, self._part.live(now)
            data += part.programme.frames(self._position, live)
            self.mount.journal.sent(self.mount.name, self.number, part.number, max(0, self._position), live)
            self._position = max(self._position, live)
            if part.end is None or live < part.end or part is self.mount.part:
                return data
            self._part, self._position = self.mount.parts[part.number + 1], 0

    def _spoiled(self, data: bytes, fault: Fault | None) -> bytes:
        if fault is Fault.FLIP:
            return self._flipped(data)
        if fault in ONCE and len(data) > 1:
            frame = self._part.programme.frames(self._position - 1, self._position)
            kept = len(data) - len(frame) // 2
            self.mount.journal.note(self.mount.name, "spoiled", frame=self._position - 1, fault=fault.name)
            return data[:kept] + (PAGE + data[kept:] if fault is Fault.PAGE else b"")
        return data

    def _flipped(self, data: bytes) -> bytes:
        spoiled = bytearray(data)
        for position in range(len(data)):
            if self._random.random() < 8 * _FLIPPED_SHARE:
                spoiled[position] ^= 1 << self._random.randrange(8)
                self.mount.journal.note(self.mount.name, "flip", listener=self.number)
        return bytes(spoiled)
