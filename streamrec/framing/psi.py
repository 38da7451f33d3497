"""The tables of an MPEG transport stream: which packets carry what. Pure.

ISO/IEC 13818-1: packets in section 2.4.3.2, sections in 2.4.4, stream types in table 2-34.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PACKET = 188
NULL_PID = 0x1FFF
_PAT_PID, _SDT_PID = 0x0000, 0x0011
_PAT, _PMT = 0x00, 0x02
H264, HEVC, MPEG1_VIDEO, MPEG2_VIDEO = 0x1B, 0x24, 0x01, 0x02
_VIDEO = {MPEG1_VIDEO, MPEG2_VIDEO, H264, HEVC, 0x10, 0x33, 0x42, 0xD1, 0xEA}
_AUDIO = {0x03, 0x04, 0x0F, 0x11, 0x1C, 0x2D, 0x2E, 0x80, 0x81, 0x82, 0x84, 0x85, 0x87}
_PRIVATE = 0x06
_TEXT_DESCRIPTORS = {0x45, 0x46, 0x56, 0x59}  # VBI data, VBI teletext, teletext, subtitles: ETSI EN 300 468


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def starts_payload(packet: bytes) -> bool:
    return bool(packet[1] & 0x40)


def payload_of(packet: bytes) -> bytes:
    """What is behind the header and the adaptation field; empty if there is nothing."""
    control = packet[3] >> 4 & 3
    if control == 1:
        return packet[4:]
    return packet[5 + packet[4] :] if control == 3 else b""


def _is_repeated(packet: bytes, before: bytes) -> bool:
    """Whether all but the continuity counter is the same."""
    return packet[4:] == before[4:] and packet[:3] == before[:3] and packet[3] >> 4 == before[3] >> 4


@dataclass(slots=True)
class _Section:
    """One table's section, put together from its packets."""

    packets: bytes = b""  # of the last whole section
    body: bytes = b""
    _gathered: bytes = b""
    _parts: list[bytes] = field(default_factory=list)

    def add(self, packet: bytes) -> bool:
        """Whether the packet completes a section that differs from the last one."""
        if _is_repeated(packet, self.packets):
            self.packets, self._parts = packet, []
            return False
        payload = payload_of(packet)
        if starts_payload(packet):
            self._gathered, self._parts = payload[1 + payload[0] :] if payload else b"", [packet]
        elif self._parts:
            self._gathered += payload
            self._parts.append(packet)
        if len(self._gathered) < 3 or len(self._parts) > 8:
            return False
        end = 3 + ((self._gathered[1] & 0x0F) << 8 | self._gathered[2])
        if len(self._gathered) < end:
            return False
        body = self._gathered[:end]
        if body != self.body and _crc(body) != 0:
            return False
        self.packets = b"".join(self._parts)
        is_new, self.body = body != self.body, body
        self._gathered, self._parts = b"", []
        return is_new


class Tables:
    """The latest tables of the first programme, and the stream that gives it its time."""

    def __init__(self) -> None:
        self.pmt_pid = -1
        self.packets = b""
        """What a file needs at its beginning: the association and the map table."""
        self._pids = _pids(self.pmt_pid)
        self.notable = _notable(self._pids)
        """By a packet's second byte: 1 where it may begin something, be damaged or be a table (`is_table`)."""
        self.master_pid = -1  # of the video, else of the audio
        self.master_type = 0
        self.is_video = False
        self.streams: list[tuple[int, int, bytes]] = []
        """Packet identifier, stream type and descriptors of each."""
        self._pat = _Section()
        self._pmt = _Section()

    def is_table(self, pid: int) -> bool:
        """Whether packets of this kind go with what follows them."""
        return pid in self._pids

    def take(self, pid: int, packet: bytes) -> None:
        """Look at a packet that may be part of a table."""
        if pid == _PAT_PID and self._pat.add(packet):
            self._read_pat(self._pat.body)
        elif pid == self.pmt_pid and self._pmt.add(packet):
            self._read_pmt(self._pmt.body)
        self.packets = self._pat.packets + self._pmt.packets

    def are_in(self, packets: bytes) -> bool:
        """Whether both tables are among these packets."""
        pids = {pid_of(packets[at : at + 3]) for at in range(0, len(packets), PACKET)}
        return _PAT_PID in pids and self.pmt_pid in pids

    def _read_pat(self, body: bytes) -> None:
        if body[0] != _PAT:
            return
        for at in range(8, len(body) - 7, 4):
            programme, pid = int.from_bytes(body[at : at + 2], "big"), pid_of(body[at + 1 : at + 4])
            if programme != 0:
                if pid != self.pmt_pid:
                    self.pmt_pid, self._pmt = pid, _Section()
                    self._pids = _pids(pid)
                    self.notable = _notable(self._pids)
                return

    def _read_pmt(self, body: bytes) -> None:
        if body[0] != _PMT or len(body) < 16:
            return
        streams = []
        self.streams = []
        at = 12 + _length(body, 10)
        while at + 5 <= len(body) - 4:
            end = at + 5 + _length(body, at + 3)
            pid, descriptors = pid_of(body[at : at + 3]), body[at + 5 : end]
            streams.append((_rank(body[at], descriptors), pid, body[at]))
            self.streams.append((pid, body[at], descriptors))
            at = end
        rank, pid, stream_type = min(streams, default=(_NEVER, -1, 0))
        if rank < _NEVER:
            self.master_pid, self.master_type, self.is_video = pid, stream_type, rank == _FIRST


def _pids(pmt_pid: int) -> frozenset[int]:
    return frozenset({_PAT_PID, pmt_pid, _SDT_PID, NULL_PID} - {-1})


def _notable(pids: frozenset[int]) -> bytes:
    tables = {pid >> 8 for pid in pids}
    return bytes(byte & 0xC0 != 0 or byte & 0x1F in tables for byte in range(256))


_FIRST, _NEVER = 0, 3


def _rank(stream_type: int, descriptors: bytes) -> int:
    """How well a stream serves as the programme's clock: video, then audio, then what may be audio."""
    if stream_type in _VIDEO:
        return _FIRST
    if stream_type in _AUDIO:
        return 1
    return 2 if stream_type == _PRIVATE and not _TEXT_DESCRIPTORS & set(_tags(descriptors)) else _NEVER


def _tags(descriptors: bytes) -> list[int]:
    tags, at = [], 0
    while at + 2 <= len(descriptors):
        tags.append(descriptors[at])
        at += 2 + descriptors[at + 1]
    return tags


def _length(body: bytes, at: int) -> int:
    return (body[at] & 0x0F) << 8 | body[at + 1]


def _crc(data: bytes) -> int:
    """CRC-32/MPEG-2; zero over a section with its own check sum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1
        crc &= 0xFFFFFFFF
    return crc
