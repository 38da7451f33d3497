"""Pictures and peaks out of recorded bytes, from real decoders in real children."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from streamrec.media import keypicture
from streamrec.media.decoders import Decoders, Undecodable
from streamrec.media.stretches import Stretch, Stretches
from tests import samples


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of television, red and then blue, whose sound is silent and then loud; and the sound alone."""
    made = tmp_path_factory.mktemp("media")
    sources = (
        "color=red:s=320x180:r=25:d=5[r];color=blue:s=320x180:r=25:d=5[b];[r][b]concat=n=2:v=1:a=0[v];"
        "anullsrc=r=48000:cl=stereo:d=5[s];sine=f=1000:r=48000:d=5,volume=8,aformat=channel_layouts=stereo[l];"
        "[s][l]concat=n=2:v=0:a=1[a]"
    )
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-filter_complex", sources]
    video = ["-map", "[v]", "-map", "[a]", "-c:v", "libx264", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run([*ffmpeg, *video, str(made / "tv.ts")], check=True)
    tv = ["-i", str(made / "tv.ts")]
    plain = [ffmpeg[0], "-v", "error", *tv]
    subprocess.run([*plain, "-c", "copy", "-bsf:a", "aac_adtstoasc", "-movflags", "frag_keyframe+empty_moov",
                    str(made / "tv.mp4")], check=True)  # fmt: skip
    subprocess.run([*plain, "-vn", "-b:a", "128k", str(made / "radio.mp3")], check=True)
    subprocess.run([*plain, "-vn", "-c:a", "copy", str(made / "radio.aac")], check=True)
    return made


def whole(path: Path) -> list[Stretch]:
    return [Stretch(path, 0, path.stat().st_size)]


def colour(jpeg: bytes, x: int = 10, y: int = 10) -> str:
    with av.open(io.BytesIO(jpeg), format="mjpeg") as picture:
        pixels = next(picture.decode(video=0)).to_ndarray(format="rgb24")
    red, _, blue = (int(value) for value in pixels[y, x])
    return "red" if red > 150 else "blue" if blue > 150 else "black"


@pytest.mark.parametrize("name", ["tv.ts", "tv.mp4"])
@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "red"), (4.5, "red"), (5.5, "blue"), (60.0, "blue")])
def test_a_thumbnail_shows_the_moment(
    decoders: Decoders, folder: Path, name: str, seconds: float, expected: str
) -> None:
    jpeg = decoders.thumbnail((whole(folder / name), name.rpartition(".")[2], seconds), 160)

    assert colour(jpeg) == expected


@pytest.mark.parametrize("name", ["tv.ts", "hevc.ts", "mpeg2.ts"])
def test_the_first_picture_by_our_own_framing_is_libavformats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(samples.sample(name))
    with av.open(str(path)) as media:
        expected = next(media.decode(video=0)).to_ndarray(format="gray")

    with Stretches(whole(path)) as file:
        found = keypicture.first_picture(file, 2 * expected.size)

    assert found is not None
    assert (found.to_ndarray(format="gray") == expected).all()


@pytest.mark.parametrize(("most", "cut"), [(160 * 90 - 1, 1 << 20), (2 * 160 * 90, 1880)], ids=["large", "torn"])
def test_a_first_picture_too_large_or_torn_is_none(tmp_path: Path, most: int, cut: int) -> None:
    path = tmp_path / "tv.ts"
    path.write_bytes(samples.sample("tv.ts")[:cut])

    with Stretches(whole(path)) as file:
        assert keypicture.first_picture(file, most) is None


def test_a_thumbnail_is_no_wider_than_asked_for_nor_than_the_picture(decoders: Decoders, folder: Path) -> None:
    moment = (whole(folder / "tv.ts"), "ts", 0.0)

    sizes = []
    for width in (160, 4000):
        with av.open(io.BytesIO(decoders.thumbnail(moment, width)), format="mjpeg") as picture:
            frame = next(picture.decode(video=0))
        sizes.append((frame.width, frame.height))

    assert sizes == [(160, 90), (320, 180)]


def test_a_strip_has_each_moment_in_its_place_and_black_for_none(decoders: Decoders, folder: Path) -> None:
    moments = [(whole(folder / "tv.ts"), "ts", seconds) for seconds in (0.0, 6.0)]

    jpeg = decoders.strip([moments[0], None, moments[1]], 80, 44)

    assert [colour(jpeg, x, 20) for x in (40, 120, 200)] == ["red", "black", "blue"]


@pytest.mark.parametrize("name", ["tv.ts", "tv.mp4", "radio.mp3", "radio.aac"])
def test_peaks_are_flat_where_it_is_silent_and_high_where_it_is_loud(
    decoders: Decoders, folder: Path, name: str
) -> None:
    found = memoryview(decoders.peaks(whole(folder / name), name.rpartition(".")[2])).cast("b")

    highs = list(found[1::2])
    assert 990 <= len(highs) <= 1020
    assert max(highs[:480]) <= 2
    assert min(highs[540:960]) > 75


@pytest.mark.parametrize("data", [b"", b"junk" * 2000, b"\x47" * 1880], ids=["empty", "junk", "sync bytes"])
@pytest.mark.parametrize("container", ["mp3", "aac", "ts", "mp4"])
def test_what_is_no_media_is_refused(decoders: Decoders, tmp_path: Path, data: bytes, container: str) -> None:
    path = tmp_path / "junk"
    path.write_bytes(data)

    with pytest.raises(Undecodable):
        decoders.thumbnail((whole(path), container, 0.0), 160)
    with pytest.raises(Undecodable):
        decoders.peaks(whole(path), container)


def test_a_playlist_in_disguise_opens_nothing(decoders: Decoders, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 100)
    path = tmp_path / "list.ts"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret\nffconcat version 1.0\nfile secret\n")

    with pytest.raises(Undecodable):
        decoders.thumbnail((whole(path), "ts", 0.0), 160)


def test_stretches_read_as_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))

    with Stretches([Stretch(path, 10, 5), Stretch(path, 50, 0), Stretch(path, 90, 10)]) as file:
        assert file.size == 15
        assert b"".join(iter(lambda: file.read(4), b"")) == bytes([*range(10, 15), *range(90, 100)])
        file.seek(-3, io.SEEK_END)
        assert file.read() == bytes([97, 98, 99])
        file.seek(5)
        assert file.read(2) == bytes([90, 91])


def test_a_decoder_can_neither_connect_nor_write_nor_start_anything(decoders: Decoders, folder: Path) -> None:
    """Whoever takes it over has what it was given."""
    decoders.peaks(whole(folder / "radio.mp3"), "mp3")
    pool = decoders._pool._pool_manager.worker_manager.workers
    (pid,) = list(pool)

    status = Path(f"/proc/{pid}/status").read_text()
    limits = Path(f"/proc/{pid}/limits").read_text()

    assert {"NoNewPrivs:\t1", "Seccomp:\t2"} <= set(status.splitlines())
    assert re.search(r"Max file size +0 +0", limits)
