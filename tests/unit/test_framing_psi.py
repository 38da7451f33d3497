"""Tables of transport streams, made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.framing import pes, psi


def crc(data: bytes) -> bytes:
    """CRC-32/MPEG-2, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = value >> 31 ^ byte >> bit & 1
            value = value << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if top else 0)
    return value.to_bytes(4, "big")


def section(table: int, body: bytes) -> bytes:
    head = bytes([table]) + (0xB000 | len(body) + 9).to_bytes(2, "big") + b"\x00\x01\xc1\x00\x00"
    return head + body + crc(head + body)


def in_packets(pid: int, data: bytes) -> list[bytes]:
    """A section in as many packets as it needs."""
    payload, packets = b"\0" + data, []
    while payload:
        start = 0x40 if not packets else 0
        head = bytes([0x47, start | pid >> 8, pid & 255, 0x10])
        packets.append((head + payload[:184]).ljust(188, b"\xff"))
        payload = payload[184:]
    return packets


PAT = in_packets(0, section(0, b"\x00\x00\xe0\x10" + b"\x00\x01\xe1\x00"))  # network information, programme 1


def stream(stream_type: int, pid: int, descriptors: bytes = b"") -> bytes:
    return bytes([stream_type, 0xE0 | pid >> 8, pid & 255, 0xF0, len(descriptors)]) + descriptors


def tables(*streams: bytes) -> psi.Tables:
    found = psi.Tables()
    body = b"\xe1\x01\xf0\x00" + b"".join(streams)
    for packet in [*PAT, *in_packets(0x100, section(2, body))]:
        found.take(psi.pid_of(packet), packet)
    return found


SUBTITLES = stream(6, 0x30, b"\x59\x01\x00")
SURROUND = stream(6, 0x31, b"\x0a\x01\x00\x6a\x01\x00")
SPLICES = stream(0x86, 0x32)


@pytest.mark.parametrize(
    ("streams", "master", "is_video"),
    [
        ([stream(0x0F, 0x20), stream(0x1B, 0x21)], 0x21, True),
        ([SUBTITLES, stream(0x0F, 0x20), SPLICES], 0x20, False),
        ([SUBTITLES, SURROUND], 0x31, False),
        ([SUBTITLES, SPLICES], -1, False),
        ([], -1, False),
    ],
)
def test_the_clock_is_the_video_else_the_audio(streams: list[bytes], master: int, is_video: bool) -> None:
    found = tables(*streams)

    assert (found.master_pid, found.is_video) == (master, is_video)
    assert found.pmt_pid == 0x100


def test_a_table_may_take_several_packets() -> None:
    many = [stream(6, 0x200 + index, b"\x59\x14" + bytes(20)) for index in range(20)]

    found = tables(*many, stream(0x24, 0x21))

    assert (found.master_pid, found.is_video) == (0x21, True)
    assert len(found.packets) == 5 * psi.PACKET


def test_a_table_whose_sum_is_wrong_is_not_believed() -> None:
    found = tables(stream(0x1B, 0x21))
    broken = bytearray(in_packets(0x100, section(2, b"\xe1\x01\xf0\x00" + stream(0x1B, 0x22)))[0])
    broken[20] ^= 1

    found.take(0x100, bytes(broken))

    assert found.master_pid == 0x21


def test_another_map_is_followed() -> None:
    found = tables(stream(0x1B, 0x21))

    for packet in in_packets(0x100, section(2, b"\xe1\x01\xf0\x00" + stream(0x24, 0x22))):
        found.take(0x100, packet)

    assert found.master_pid == 0x22


@given(data=st.lists(st.binary(min_size=184, max_size=184), max_size=6), start=st.booleans())
def test_any_table_packets_are_survived(data: list[bytes], start: bool) -> None:
    found = tables(stream(0x1B, 0x21))

    for payload in data:
        for pid in (0, 0x100):
            found.take(pid, bytes([0x47, 0x40 * start | pid >> 8, pid & 255, 0x10]) + payload)


@given(packet=st.binary(min_size=184, max_size=184), control=st.integers(0, 3))
def test_any_packet_is_survived(packet: bytes, control: int) -> None:
    whole = bytes([0x47, 0x40, 0x21, control << 4]) + packet

    pes.is_random_access(whole)
    pes.decoding_time(whole)
    pes.is_key_picture(whole, 0x21, 0x1B)
    assert 0 <= pes.whole_length(whole) <= 188


def test_video_of_an_unknown_kind_may_begin_anywhere() -> None:
    assert pes.is_key_picture(bytes(188), 0x21, 0xEA)
