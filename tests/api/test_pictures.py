"""Pictures and waveforms over HTTP, from real files decoded in real children."""

from __future__ import annotations

import hashlib
import io
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import av
import httpx
import imageio_ffmpeg
import pytest

from streamrec import db, indexes
from streamrec.archive.pieces import Builder, Index
from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS
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


# --- thumbnails -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def television(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Five seconds red, five seconds blue, a key picture every two."""
    path = tmp_path_factory.mktemp("picture") / "tv.ts"
    source = "color=red:s=320x180:r=25:d=5[r];color=blue:s=320x180:r=25:d=5[b];[r][b]concat"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-filter_complex", source]
    subprocess.run([*command, "-c:v", "libx264", "-g", "50", "-pix_fmt", "yuv420p", str(path)], check=True)
    return path.read_bytes()


def televised(settings: Settings, channel_id: int, data: bytes, *, has_index: bool) -> Path:
    """A recording of SECONDS from T0 on."""
    key = "gr-rstpk-1/2026/11/01/20261101T120000.000Z-0123456789ab.ts"
    path = settings.archive_dir / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with db.Session.begin() as session:
        made = make.captured(
            session, channel_id, 0, SECONDS, path=key, size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(), format=FileFormat.TS, codecs="h264",
        )  # fmt: skip
        if has_index:
            indexes.add_all(
                session, [indexes.New(made.id, channel_id, made.run_id, made.start_time, index_of(data))]
            )
    return path


def index_of(data: bytes) -> Index:
    """A piece for each key picture."""
    framer = framer_for(FileFormat.TS)
    units = [*framer.feed(data), *framer.flush()]
    builder, size, media = Builder(make.T0), 0, 0
    for unit in units:
        if unit.is_cut and size:
            builder.end_piece(size, make.T0 + timedelta(seconds=media / FLICKS))
        size, media = size + len(unit.data), media + unit.duration
    builder.end_piece(size, make.T0 + timedelta(seconds=media / FLICKS))
    return builder.index()


def colour(jpeg: bytes, x: int = 10, y: int = 10) -> str:
    with av.open(io.BytesIO(jpeg), format="mjpeg") as picture:
        pixels = next(picture.decode(video=0)).to_ndarray(format="rgb24")
    red, _, blue = (int(value) for value in pixels[y, x])
    return "red" if red > 150 else "blue" if blue > 150 else "black"


def shown(api: httpx.Client, channel_id: int, seconds: float | None, **more: Any) -> httpx.Response:
    at = {} if seconds is None else {"at": (make.T0 + timedelta(seconds=seconds)).isoformat()}
    return api.get(f"/channel/{channel_id}/thumbnail", params={**at, **more})


@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "red"), (4.9, "red"), (5.1, "blue"), (9.9, "blue")])
def test_a_thumbnail_shows_the_very_moment(
    api: httpx.Client, settings: Settings, channel_id: int, television: bytes,
    seconds: float, expected: str, *, has_index: bool,
) -> None:  # fmt: skip
    televised(settings, channel_id, television, has_index=has_index)

    answer = shown(api, channel_id, seconds)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert colour(answer.content) == expected


def test_without_a_moment_the_latest_picture_is_shown(
    api: httpx.Client, settings: Settings, channel_id: int, television: bytes
) -> None:
    televised(settings, channel_id, television, has_index=True)

    assert colour(shown(api, channel_id, None).content) == "blue"


def test_a_file_that_is_being_written_is_shown_too(
    api: httpx.Client, settings: Settings, channel_id: int, television: bytes
) -> None:
    key = "gr-rstpk-1/2026/11/01/20261101T130000.000Z-0123456789ab.ts"
    path = settings.archive_dir / f"{key}.part"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(television)
    growing = indexes.Growing(
        uuid4(), uuid4(), key, FileFormat.TS, "h264", make.T0, index_of(television).encoded()
    )
    with db.Session.begin() as session:
        indexes.grow(session, [(channel_id, growing)])

    assert colour(shown(api, channel_id, 1).content) == "red"
    assert colour(shown(api, channel_id, None).content) == "blue"


def test_where_there_is_no_picture_it_is_not_found(
    api: httpx.Client, settings: Settings, channel_id: int, television: bytes, loud: bytes
) -> None:
    assert shown(api, channel_id, None).status_code == 404
    recorded(settings, channel_id, 20, loud)
    assert shown(api, channel_id, 25).status_code == 404
    path = televised(settings, channel_id, television, has_index=True)
    assert shown(api, channel_id, 15).status_code == 404
    path.write_bytes(b"junk" * 5000)
    assert shown(api, channel_id, 5).status_code == 404
    path.unlink()
    assert shown(api, channel_id, 5).status_code == 410


def test_a_strip_shows_a_range_and_black_where_nothing_was_recorded(
    api: httpx.Client, settings: Settings, channel_id: int, television: bytes
) -> None:
    televised(settings, channel_id, television, has_index=True)
    times = {"from": make.T0.isoformat(), "to": (make.T0 + timedelta(seconds=30)).isoformat()}

    answer = api.get(f"/channel/{channel_id}/thumbnails", params={**times, "count": 4, "width": 80, "height": 46})

    assert [colour(answer.content, x, 20) for x in (40, 120, 200, 280)] == ["red", "blue", "black", "black"]
