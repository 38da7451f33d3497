"""ffmpeg's command lines."""

from __future__ import annotations

import shlex

import pytest

from streamrec.media import ffmpeg
from streamrec.models import FileFormat


def after(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def capture(url: str = "http://h/x", **changes: object) -> list[str]:
    wanted = {"file_format": FileFormat.MP3, "video": None, "audio": "mp3", **changes}
    return ffmpeg.capture_command("ffmpeg", ffmpeg.Input(url), **wanted)


@pytest.mark.parametrize(
    ("video", "audio", "expected"),
    [
        (None, "mp3", FileFormat.MP3),
        (None, "aac", FileFormat.AAC),
        (None, "ac3", FileFormat.TS),
        (None, "opus", FileFormat.MP4),
        (None, "vorbis", FileFormat.MP4),
        (None, "flac", FileFormat.MP4),
        ("h264", "aac", FileFormat.TS),
        ("h264", None, FileFormat.TS),
        ("hevc", "ac3", FileFormat.TS),
        ("h264", "opus", FileFormat.MP4),
        ("av1", "aac", FileFormat.MP4),
        ("vp8", "vorbis", None),
        (None, "pcm_s16le", None),
        (None, None, None),
    ],
)
def test_the_container_follows_from_the_codecs(video, audio, expected):
    """What ffmpeg can copy into a file that plays is kept; the rest is refused."""
    assert ffmpeg.format_for(video, audio) is expected


@pytest.mark.parametrize("scheme", ["http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "udp"])
def test_every_scheme_is_pinned(scheme):
    """No scheme lets ffmpeg open files, playlists of files or other protocols."""
    told = ffmpeg.Input(f"{scheme}://h:1/x").script
    words = shlex.split(told.decode()) if told else [w.removeprefix("-") for w in capture(f"{scheme}://h:1/x")]

    opened = set(after(words, "protocol_whitelist").split(","))
    assert not opened & {"file", "concat", "data", "subfile", "pipe", "ftp", "gopher"}
    assert not set(after(words, "format_whitelist").split(",")) & {"dash", "sdp", "concat", "image2"}


@pytest.mark.parametrize(
    "url",
    [
        "rtmp://ann:secret@h/live/x",
        "rtmps://h/live/secret",
        "rtsp://ann:secret@h/tv",
        "rtsps://h/tv?token=secret",
        "srt://h:9?passphrase=secret1234",
        "srt://h:9?Streamid=secret",
    ],
)
def test_what_may_be_secret_is_on_no_command_line(url):
    """A list of processes shows ffmpeg's limits; the script has the address, and opens no other."""
    command = capture(url)

    assert not [word for word in command if "secret" in word or "://" in word]
    assert (after(command, "-protocol_whitelist"), after(command, "-format_whitelist")) == ("pipe", "concat")
    assert f"file '{url}'\n" in (ffmpeg.Input(url).script or b"").decode()


@pytest.mark.parametrize("url", ["udp://239.1.2.3:5000", "srt://h:9?latency=200000", "http://h/x"])
def test_what_has_no_secret_keeps_its_place(url):
    """MPEG-TS whose time stamps jump is mended by ffmpeg there, and by no script."""
    assert ffmpeg.Input(url).script is None
    assert url in capture(url)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_rtsp_comes_through_its_own_connection(scheme):
    """UDP would open ports of ours to anyone."""
    assert b"option rtsp_transport 'tcp'\n" in (ffmpeg.Input(f"{scheme}://h/x").script or b"")


def test_another_scheme_never_reaches_ffmpeg():
    """There is no default."""
    with pytest.raises(KeyError):
        capture("file:///etc/passwd")


def test_nothing_waits_in_ffmpegs_buffers():
    """Every packet is flushed, to stdout."""
    command = capture()

    assert (after(command, "-flush_packets"), command[-1]) == ("1", "pipe:1")


def test_a_radio_takes_no_picture():
    """A cover in the stream must not become a video track."""
    assert "-vn" in capture()


def test_aac_in_mp4_gets_its_header():
    """Without the filter ffmpeg stops at once."""
    assert after(capture(file_format=FileFormat.MP4, video="av1", audio="aac"), "-bsf:a") == "aac_adtstoasc"


def test_a_url_is_always_the_value_of_an_option():
    """Even one that looks like an option."""
    url = "http://-f/-y"

    command = capture(url)

    assert command[command.index(url) - 1] == "-i"
