"""What a segment is, told by its bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.hls import keys
from streamrec.recorder.hls.contents import contents
from tests import samples

CODECS = {
    "tv.ts": "h264+aac",
    "hevc.ts": "hevc+ac3",
    "mpeg2.ts": "mpeg2video+mp2",
    "radio.ts": "ac3",
    "tv.mp4": "h264+aac",
    "opus.mp4": "opus",
    "flac.mp4": "flac",
    "mp3.mp3": "mp3",
    "aac.aac": "aac",
}


@pytest.mark.parametrize("name", CODECS)
def test_a_segment_tells_its_format_and_its_codecs(name: str) -> None:
    found = contents(samples.sample(name), b"")

    assert (found.format, found.codecs) == (samples.format_of(name), CODECS[name])


def test_a_segment_behind_its_header_is_what_the_header_says() -> None:
    unit = samples.units_of("tv.mp4")[0]

    assert contents(unit.data, unit.header).codecs == "h264+aac"


def test_an_encrypted_track_is_refused() -> None:
    header = samples.units_of("tv.mp4")[0].header.replace(b"avc1", b"encv")

    with pytest.raises(Refused) as refusal:
        contents(b"", header)

    assert refusal.value.reason is GapReason.DRM


@pytest.mark.parametrize("data", [b"", b"<html>", b"WEBVTT\n", b"G" * 50, bytes(4) + b"styp" + bytes(90)])
def test_what_is_no_sound_and_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        contents(data, b"")


@given(st.binary(max_size=600), st.sampled_from(list(CODECS)), st.integers(0, 3000), st.binary(max_size=64))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, name: str, at: int, noise: bytes) -> None:
    """Random ones, and real ones with a hole in them."""
    sample = samples.sample(name)[:8000]
    for each in (data, b"\x47" + data, sample[:at] + noise + sample[at + len(noise) :]):
        for init in (b"", each):
            with contextlib.suppress(Refused):
                contents(each, init)


def test_a_key_of_another_length_and_a_torn_segment_are_refused() -> None:
    for data, key in ((bytes(32), bytes(15)), (bytes(31), bytes(16)), (bytes(32), bytes(16))):
        with pytest.raises(Refused):
            keys.decrypted(data, key, bytes(16))
