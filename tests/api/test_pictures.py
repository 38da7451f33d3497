"""Waveforms over HTTP, from real files decoded in real children."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import imageio_ffmpeg
import pytest

from streamrec import db
from streamrec.models import FileFormat
from streamrec.settings import Settings
from tests import factories as make

SECONDS = 10


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "loud.mp3"
    source = ["-f", "lavfi", "-i", f"sine=d={SECONDS},volume=8"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True)
    return path.read_bytes()


@pytest.fixture
def channel_id(api: httpx.Client) -> int:
    with db.Session.begin() as session:
        return make.channel(session).id


def recorded(settings: Settings, channel_id: int, start: float, data: bytes) -> Path:
    """A recording of SECONDS, `start` seconds after T0."""
    key = f"gr-rstpk-1/2026/11/01/20261101T12{int(start) // 60:02d}{int(start) % 60:02d}.000Z-0123456789ab.mp3"
    path = settings.archive_dir / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with db.Session.begin() as session:
        make.captured(
            session, channel_id, start, start + SECONDS, path=key, size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(), format=FileFormat.MP3,
        )  # fmt: skip
    return path


def asked(api: httpx.Client, channel_id: int, start: float, end: float, **more: Any) -> httpx.Response:
    times = {
        "from": (make.T0 + timedelta(seconds=start)).isoformat(),
        "to": (make.T0 + timedelta(seconds=end)).isoformat(),
    }
    return api.get(f"/channel/{channel_id}/waveform", params={**times, **more})


def test_a_waveform_is_loud_where_it_was_recorded_and_flat_in_a_gap(
    api: httpx.Client, settings: Settings, channel_id: int, loud: bytes
) -> None:
    recorded(settings, channel_id, 0, loud)
    recorded(settings, channel_id, 20, loud)

    answer = asked(api, channel_id, 0, 30, pixels=30)

    found = answer.json()
    assert (found["length"], found["samples_per_pixel"] / found["sample_rate"]) == (30, 1.0)
    highs = found["data"][1::2]
    assert min(highs[1:9] + highs[21:29]) > 60
    assert max(highs[11:19]) == 0


def test_peaks_are_kept_for_the_next_time(
    api: httpx.Client, settings: Settings, channel_id: int, loud: bytes
) -> None:
    recorded(settings, channel_id, 0, loud)

    first = asked(api, channel_id, 0, 10, pixels=10).json()

    assert len(list((settings.cache_dir / "peaks").rglob("*"))) == 2
    assert asked(api, channel_id, 0, 10, pixels=10).json() == first


def test_a_file_that_is_gone_or_broken_is_flat(api: httpx.Client, settings: Settings, channel_id: int) -> None:
    recorded(settings, channel_id, 0, b"junk" * 500)
    recorded(settings, channel_id, 10, b"x").unlink()

    assert set(asked(api, channel_id, 0, 20, pixels=20).json()["data"]) == {0}


def test_a_waveform_is_drawn_as_svg_and_png(
    api: httpx.Client, settings: Settings, channel_id: int, loud: bytes
) -> None:
    recorded(settings, channel_id, 0, loud)

    svg = asked(api, channel_id, 0, 10, pixels=100, format="svg")
    png = asked(api, channel_id, 0, 10, pixels=100, format="png")

    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert ElementTree.fromstring(svg.text).tag.endswith("svg")
    assert png.headers["content-type"] == "image/png"
    assert png.content.startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("start", "end", "more", "field"),
    [(0, 90_000, {}, "to"), (0, 5, {"pixels": 501}, "pixels"), (5, 5, {}, "to"), (0, 9, {"pixels": 0}, "pixels")],
)
def test_a_range_that_does_not_fit_is_refused(
    api: httpx.Client, channel_id: int, start: float, end: float, more: dict[str, int], field: str
) -> None:
    refused = asked(api, channel_id, start, end, **more)

    assert (refused.status_code, refused.json()["field"]) == (400, field)


def test_a_channel_that_is_not_there_has_no_waveform(api: httpx.Client) -> None:
    assert api.get("/channel/999/waveform").status_code == 404
