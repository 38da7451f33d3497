"""MPEG transport streams, cut before each picture, or before each packet of audio where there is none. Pure."""

from __future__ import annotations

from streamrec.framing import pes
from streamrec.framing.psi import PACKET, Tables, pid_of, starts_payload
from streamrec.framing.units import FLICKS, Unit

_SYNC = 0x47
_SYNCS = bytes([_SYNC])
_TICK = FLICKS // 90_000
_WRAP = 1 << 33
_CHECKED = 2 * PACKET + 1  # bytes in which three sync bytes stand
_MOST = 16 << 20  # bytes of one unit; a picture of a studio's 4K is a quarter of it
_MOST_BEFORE = 1 << 20  # bytes before the first picture
_STEP = 90_000  # ticks between pictures that need no explanation
_FIRST_STEP = 10 * 90_000
_GUESS = 3_600  # ticks of a picture of which nothing is known: 25 a second


class TsFramer:
    """A unit is one picture, or packet of audio, with everything that is multiplexed up to the next one.

    Tables directly before a picture belong to it. Files can begin at key pictures; where tables do not stand
    before one already, its unit brings the latest as `header`.
    """

    def __init__(self, awaits_cut: bool = True) -> None:
        self.dropped = 0
        self.gathers = False
        self._tables = Tables()
        self._buffer = b""
        self._is_synced = False
        self._unit = bytearray()
        self._tables_at = -1  # where in the unit the tables at its end begin
        self._has_master = False  # whether the unit has its picture
        self._is_cut = self._is_marked = False
        self._has_begun = not awaits_cut
        self._header = b""
        self._time: int | None = None  # ticks
        self._usual: int | None = None  # ticks of the picture before
        self._skipped = 0  # ticks

    def feed(self, data: bytes) -> list[Unit]:
        units: list[Unit] = []
        buffer = self._buffer + data
        position, last = 0, len(buffer) - PACKET
        while position <= last:
            if buffer[position] == _SYNC and self._is_synced:
                position = self._walk(buffer, position, units)
            else:
                found = _resynced(buffer, position)
                self.dropped += found - position
                self._is_synced = found + _CHECKED <= len(buffer)
                position = found
                if not self._is_synced:
                    break
        self._buffer = buffer[position:]
        return units

    def _walk(self, buffer: bytes, position: int, units: list[Unit]) -> int:
        """Take the packets that are in step; where the next byte is.

        Most packets only go on with what others began. They are passed over by the row, because Python's price is
        by the step.
        """
        count = (len(buffer) - position) // PACKET
        marks = buffer[position : position + count * PACKET : PACKET]
        count -= len(marks.lstrip(_SYNCS))
        seconds = buffer[position + 1 : position + count * PACKET : PACKET]
        index, notable, table = 0, b"", b""
        while index < count:
            if table is not self._tables.notable:
                table = self._tables.notable
                notable = seconds.translate(table)
            following = notable.find(1, index)
            following = count if following < 0 else following
            if following > index:
                self._pass(buffer[position + index * PACKET : position + following * PACKET])
            if following < count:
                self._take(buffer[position + following * PACKET : position + (following + 1) * PACKET], units)
            index = following + 1
        return position + count * PACKET

    def _pass(self, packets: bytes) -> None:
        """Packets that begin nothing and are no tables."""
        self._tables_at = -1
        self._unit += packets
        self._limit()

    def flush(self) -> list[Unit]:
        units: list[Unit] = []
        for at in range(0, len(self._buffer) - PACKET + 1, PACKET):  # too few to prove that they are in step
            if self._buffer[at] != _SYNC:
                break
            self._take(self._buffer[at : at + PACKET], units)
            self.dropped -= PACKET
        self.dropped += len(self._buffer)
        self._buffer = b""
        whole = pes.whole_length(bytes(self._unit)) if self._has_master else 0
        self.dropped += len(self._unit) - whole
        unit = bytes(self._unit[:whole])
        if any(pid_of(unit[at : at + 3]) == self._tables.master_pid for at in range(0, whole, PACKET)):
            self._emit(unit, None, units)
        else:
            self.dropped += whole
        self._unit.clear()
        self._has_master = False
        return units

    def _take(self, packet: bytes, units: list[Unit]) -> None:
        pid = pid_of(packet)
        if packet[1] & 0x80:  # the demodulator says that it is damaged
            pid = -1
        is_table = self._tables.is_table(pid)
        if is_table:
            self._tables.take(pid, packet)
        elif pid == self._tables.master_pid and starts_payload(packet):
            self._begin(packet, units)
        if not is_table:
            self._tables_at = -1
        elif self._tables_at < 0:
            self._tables_at = len(self._unit)
        self._unit += packet
        self._limit()

    def _begin(self, packet: bytes, units: list[Unit]) -> None:
        """A picture begins: the one before is over, and its length known."""
        time = pes.decoding_time(packet)
        split = self._tables_at if self._tables_at >= 0 else len(self._unit)
        if self._has_master and split == len(self._unit):
            self._emit(bytes(self._unit), time, units)
            self._unit.clear()
        elif self._has_master:
            self._emit(bytes(self._unit[:split]), time, units)
            del self._unit[:split]
        is_marked = pes.is_random_access(packet)
        self._is_marked = self._is_marked or is_marked
        self._is_cut = is_marked or not self._tables.is_video
        has_tables = bool(self._unit) and self._tables.are_in(bytes(self._unit))
        self._header = b"" if has_tables else self._tables.packets
        self._has_master = True
        self._time = self._time if time is None else time

    def _emit(self, data: bytes, next_time: int | None, units: list[Unit]) -> None:
        tables = self._tables
        is_cut = self._is_cut or (
            not self._is_marked and pes.is_key_picture(data, tables.master_pid, tables.master_type)
        )
        skipped, duration = self._skipped, self._advance(next_time)
        if is_cut or self._has_begun:
            self._has_begun = True
            units.append(Unit(data, duration * _TICK, is_cut, self._header, skipped * _TICK))
        else:
            self.dropped += len(data)

    def _advance(self, next_time: int | None) -> int:
        """The ticks from this picture to the next; a jump of the time stamps is not media."""
        usual = _GUESS if self._usual is None else self._usual
        self._skipped = 0
        if self._time is None or next_time is None:
            return usual
        step = (next_time - self._time) % _WRAP
        if step <= (_FIRST_STEP if self._usual is None else max(_STEP, 4 * usual)):
            self._usual = step
            return step
        if step < _WRAP // 2:
            self._skipped = step - usual
        return usual

    def _limit(self) -> None:
        """No picture is as long as this: wait for the next one."""
        if len(self._unit) <= (_MOST if self._has_master else _MOST_BEFORE):
            return
        self.dropped += len(self._unit)
        self._unit.clear()
        self._tables_at = -1
        self._has_master = False


def _resynced(buffer: bytes, position: int) -> int:
    """Where three packets in a row begin, or where they might with more bytes."""
    while True:
        position = buffer.find(_SYNC, position)
        if position < 0:
            return len(buffer)
        if all(buffer[at] == _SYNC for at in range(position, min(position + _CHECKED, len(buffer)), PACKET)):
            return position
        position += 1
