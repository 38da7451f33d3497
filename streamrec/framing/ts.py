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
_MOST_GATHERED = 1 << 20
_MOST_BEFORE = 1 << 20  # bytes before the first picture
_STEP = 90_000  # ticks between pictures that need no explanation
_FIRST_STEP = 10 * 90_000
_GUESS = 3_600  # ticks of a picture of which nothing is known: 25 a second


class TsFramer:
    """A unit is one picture, or packet of audio, with everything that is multiplexed up to the next one.

    Tables directly before a picture belong to it. Files can begin at key pictures; where tables do not stand
    before one already, its unit brings the latest as `header`. What it gathers are the pictures up to the next key
    picture, which is none, as far as they are given to `feed` together.
    """

    def __init__(self, awaits_cut: bool = True) -> None:
        self.dropped = 0
        self.gathers = False
        self._tables = Tables()
        self._buffer = b""
        self._is_synced = False
        self._unit: list[bytes | memoryview] = []  # rows of packets, joined once: it is as long as a segment
        self._length = 0  # bytes of the unit
        self._whole = 0  # rows of the unit that are whole pictures, because more were gathered
        self._gathered = 0  # ticks of these
        self._tables_at = -1  # the row of the unit with which the tables at its end begin
        self._has_master = False  # whether the unit has its picture
        self._is_cut = self._is_marked = False
        self._has_begun = not awaits_cut
        self._header = b""
        self._next_header = b""  # of the picture behind what was gathered
        self._time: int | None = None  # ticks
        self._usual: int | None = None  # ticks of the picture before
        self._skipped = 0  # ticks before the unit
        self._next_skipped = 0

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
        self._emit_gathered(units)
        self._unit = [*map(bytes, self._unit)]  # what was given is not to be kept for the sake of its end
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
        view = memoryview(buffer)
        while index < count:
            if table is not self._tables.notable:
                table = self._tables.notable
                notable = seconds.translate(table)
            following = notable.find(1, index)
            while following >= 0 and self._only_goes_on(buffer, position + following * PACKET):
                following = notable.find(1, following + 1)
            following = count if following < 0 else following
            if following > index:
                self._pass(view[position + index * PACKET : position + following * PACKET])
            if following < count:
                self._take(buffer[position + following * PACKET : position + (following + 1) * PACKET], units)
            index = following + 1
        return position + count * PACKET

    def _only_goes_on(self, buffer: bytes, at: int) -> bool:
        """Whether the packet there begins nothing of the picture's: most that are notable are sound."""
        second = buffer[at + 1]
        pid = (second & 0x1F) << 8 | buffer[at + 2]
        return not (second & 0x80 or pid == self._tables.master_pid or self._tables.is_table(pid))

    def _pass(self, packets: memoryview) -> None:
        """Packets that begin nothing and are no tables."""
        self._tables_at = -1
        self._add(packets)

    def flush(self) -> list[Unit]:
        units: list[Unit] = []
        for at in range(0, len(self._buffer) - PACKET + 1, PACKET):  # too few to prove that they are in step
            if self._buffer[at] != _SYNC:
                break
            self._take(self._buffer[at : at + PACKET], units)
            self.dropped -= PACKET
        self._emit_gathered(units)
        self.dropped += len(self._buffer)
        self._buffer = b""
        left = self._cut_off(len(self._unit))
        whole = pes.whole_length(left) if self._has_master else 0
        self.dropped += len(left) - whole
        unit = left[:whole]
        if any(pid_of(unit[at : at + 3]) == self._tables.master_pid for at in range(0, whole, PACKET)):
            self._emit(unit, self._advance(None), units)
        else:
            self.dropped += whole
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
        self._add(packet)

    def _begin(self, packet: bytes, units: list[Unit]) -> None:
        """A picture begins: the one before is over, and its length known."""
        time = pes.decoding_time(packet)
        is_marked = pes.is_random_access(packet)
        is_gathered = False
        if not self._has_master:
            self._emit_gathered(units)
        else:
            ticks = self._advance(time)
            split = self._tables_at if self._tables_at >= 0 else len(self._unit)
            is_gathered = not is_marked and self._may_gather()
            if is_gathered:
                self._whole, self._gathered = split, self._gathered + ticks
            else:
                self._emit(self._cut_off(split), self._gathered + ticks, units)
                self._whole = self._gathered = 0
        before = b"".join(self._unit[self._whole :])
        header = b"" if before and self._tables.are_in(before) else self._tables.packets
        if is_gathered:
            self._next_header = header
        else:
            self._header = header
            self._is_marked = self._is_marked or is_marked
            self._is_cut = is_marked or not self._tables.is_video
        self._has_master = True
        self._time = self._time if time is None else time

    def _may_gather(self) -> bool:
        """Whether the picture that ends here and one without a mark behind it may be one unit."""
        is_known = self._is_marked and self._tables.is_video and not self._next_skipped
        return self.gathers and is_known and self._length < _MOST_GATHERED

    def _cut_off(self, rows: int) -> bytes:
        """The unit's beginning, which is taken out of it."""
        data = b"".join(self._unit[:rows])
        del self._unit[:rows]
        self._length -= len(data)
        self._tables_at = max(-1, self._tables_at - rows)
        return data

    def _emit_gathered(self, units: list[Unit]) -> None:
        """Keep nothing back but the picture of which the end is not known."""
        if self._whole:
            self._emit(self._cut_off(self._whole), self._gathered, units)
            self._whole = self._gathered = 0
            self._is_cut, self._header = False, self._next_header

    def _emit(self, data: bytes, ticks: int, units: list[Unit]) -> None:
        tables = self._tables
        is_cut = self._is_cut or (
            not self._is_marked and pes.is_key_picture(data, tables.master_pid, tables.master_type)
        )
        skipped, self._skipped, self._next_skipped = self._skipped, self._next_skipped, 0
        if is_cut or self._has_begun:
            self._has_begun = True
            units.append(Unit(data, ticks * _TICK, is_cut, self._header, skipped * _TICK))
        else:
            self.dropped += len(data)

    def _advance(self, next_time: int | None) -> int:
        """The ticks from this picture to the next; a jump of the time stamps is not media."""
        usual = _GUESS if self._usual is None else self._usual
        if self._time is None or next_time is None:
            return usual
        step = (next_time - self._time) % _WRAP
        if step == 0:
            return usual  # some stations stamp nothing but zeros; what comes is media all the same
        if step <= (_FIRST_STEP if self._usual is None else max(_STEP, 4 * usual)):
            self._usual = step
            return step
        if step < _WRAP // 2:
            self._next_skipped = step - usual
        return usual

    def _add(self, packets: bytes | memoryview) -> None:
        self._unit.append(packets)
        self._length += len(packets)
        if self._length <= (_MOST if self._has_master else _MOST_BEFORE):
            return
        excess = sum(map(len, self._unit[self._whole :]))
        self.dropped += excess  # no picture is as long as this: wait for the next one
        del self._unit[self._whole :]
        self._length -= excess
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
