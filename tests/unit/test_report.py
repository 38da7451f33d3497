"""Reading ffmpeg's stderr, every line of which a station may have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.media.report import DETAIL_LENGTH, LINE_BYTES, Lines, Report
from streamrec.models import GapReason

TELEVISION = """\
[info] Input #0, mpegts, from 'http://u:secret@127.0.0.1:8599/tv.ts':
[info]   Duration: N/A, start: 1.400000, bitrate: 900 kb/s
[info]   Program 1
[info]     Metadata:
[info]       service_name    : Noise TV
[info]   Stream #0:0[0x100]: Video: h264 (High), yuv420p(progressive, left), 320x180 [SAR 1:1 DAR 16:9], 25 fps
[info]   Stream #0:1[0x101]: Audio: aac (LC) ([15][0][0][0] / 0x000F), 48000 Hz, stereo, fltp, 66 kb/s
[info]   Stream #0:2[0x102]: Audio: aac (LC) ([15][0][0][0] / 0x000F), 48000 Hz, 5.1, fltp, 66 kb/s
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (copy)
[info]   Stream #0:2 -> #0:1 (copy)
[info] Output #0, null, to 'pipe:':
[info]   Stream #0:0: Video: theora, 1x1
"""


def told(text: str, **options: object) -> Report:
    report = Report(**options)
    for line in text.splitlines():
        report.read(line)
    return report


def test_the_streams_that_ffmpeg_maps_are_the_ones_that_count():
    """Two sounds are offered, and the better one is taken."""
    report = told(TELEVISION)

    assert (report.container, report.station, report.bit_rate) == ("mpegts", "Noise TV", 900_000)
    assert (report.video.codec, report.video.width, report.video.height, report.video.frame_rate) == (
        "h264", 320, 180, 25.0)  # fmt: skip
    assert (report.audio.codec, report.audio.sample_rate, report.audio.channels) == ("aac", 48000, 6)


def test_a_cover_picture_is_no_television():
    """An MP3 with artwork stays a radio."""
    text = TELEVISION.replace("Video: h264 (High)", "Video: mjpeg (Baseline)")

    assert told(text).video is None


def test_a_title_is_read_wherever_it_is_announced():
    """The prefix differs between releases."""
    report = Report()

    titles = [
        report.read("[mp3 @ 0x55d52a1ab1c0] [verbose] Metadata update for StreamTitle: Bach: BWV 1"),
        report.read("[verbose] Metadata update for StreamTitle: "),
        report.read("[verbose] Metadata update for StreamUrl: http://x"),
    ]

    assert titles == ["Bach: BWV 1", "", None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[tcp @ 0x1] [error] Failed to resolve hostname x: Name or service not known", GapReason.DNS),
        ("[tcp @ 0x1] [error] Connection to tcp://h:1 failed: Connection refused", GapReason.SOURCE_REFUSED),
        ("[tcp @ 0x1] [error] Connection to tcp://h:1 failed: No route to host", GapReason.SOURCE_REFUSED),
        ("[http @ 0x1] [warning] HTTP error 404 File not found", GapReason.SOURCE_DENIED),
        ("[http @ 0x1] [warning] HTTP error 451 ", GapReason.SOURCE_DENIED),
        ("[http @ 0x1] [warning] HTTP error 503 Service Unavailable", GapReason.SOURCE_ERROR),
        ("[rtsp @ 0x1] [error] method DESCRIBE failed: 404 Not Found", GapReason.SOURCE_DENIED),
        ("[tls @ 0x1] [error] error:0A000086:SSL routines::certificate verify failed", GapReason.TLS),
        (
            "[in#0 @ 0x1] [error] Error opening input: Invalid data found when processing input",
            GapReason.NOT_MEDIA,
        ),
        ("[http @ 0x1] [error] Protocol 'file' not on whitelist 'http,tcp'!", GapReason.UNSUPPORTED),
        ("[in#0/mp3 @ 0x1] [error] Error during demuxing: Connection timed out", GapReason.STALLED),
        ("[in#0/rtsp @ 0x1] [error] Error during demuxing: Resource temporarily unavailable", GapReason.STALLED),
        ("[in#0/mp3 @ 0x1] [error] Error during demuxing: Connection reset by peer", GapReason.SOURCE_ENDED),
        ("[in#0/concat @ 0x1] [error] Error during demuxing: Input/output error", GapReason.SOURCE_ENDED),
        ("[in#0 @ 0x1] [error] Error opening input: Protocol not found", GapReason.UNSUPPORTED),
        ("[udp @ 0x1] [error] bind failed: Address already in use", GapReason.SOURCE_REFUSED),
        (
            "[srt @ 0x1] [error] Connection to srt://h:1?passphrase=x failed: Input/output error",
            GapReason.SOURCE_REFUSED,
        ),
        (
            "15:37:51.745278/SRT:RcvQ:w1!W:SRT.cn: @3: rejecting per reception: ERROR:BADSECRET",
            GapReason.SOURCE_DENIED,
        ),
        ("[rtsp @ 0x1] [info] Status 302: Redirecting to rtsp://10.0.0.1/x", GapReason.EGRESS_DENIED),
        ("[error] Something nobody has seen yet", GapReason.UNKNOWN),
    ],
)
def test_what_ffmpeg_complains_of_becomes_a_reason(line, reason):
    """One line is enough."""
    assert told(line).failure.reason is reason


def test_an_exact_failure_is_not_replaced_by_general_last_words():
    """The look-up failed; the input/output error only follows from it."""
    report = told(
        "[tcp @ 0x1] [error] Failed to resolve hostname x: Name or service not known\n"
        "[in#0 @ 0x1] [error] Error opening input: Input/output error\n"
        "[fatal] Error opening input files: Input/output error"
    )

    assert report.failure.reason is GapReason.DNS


@pytest.mark.parametrize("protocol", ["udp", "srt"])
@pytest.mark.parametrize("what", ["Error during demuxing", "Error opening input"])
def test_an_error_of_input_is_a_silence_where_there_is_no_connection(protocol, what):
    """A time-out has no other name there."""
    assert (
        told(f"[in#0 @ 0x1] [error] {what}: Input/output error", protocol=protocol).failure.reason
        is GapReason.STALLED
    )


@pytest.mark.parametrize(
    "line",
    [
        "15:37:51.745278/SRT:RcvQ:w1!W:SRT.cn: @3: rejecting per reception: ERROR:BADSECRET",
        "[rtsp @ 0x1] [info] Status 302: Redirecting to rtsp://10.0.0.1/x",
        "[vost#0:0/copy @ 0x1] [warning] Non-monotonic DTS; previous: 751380, current: -3621120; changing to 7.",
        "[mpegts @ 0x1] [warning] Non-monotonous DTS in output stream 0:0; previous: 751380, current: 3; x",
    ],
)
def test_what_follows_from_a_last_word_does_not_replace_it(line):
    """That a connection failed, or was refused, is what comes of it."""
    assert (
        told(f"{line}\n[tcp @ 0x1] [error] Connection to tcp://h:1 failed: Connection refused").failure
        == told(line).failure
    )


def test_time_stamps_in_some_disorder_are_no_jump():
    """At a seam that ffmpeg mends, some of them are late by hundredths of a second."""
    report = told(
        "[aost#0:1/copy @ 0x1] [warning] Non-monotonic DTS; previous: 766080, current: 763740; changing to 766081."
    )

    assert (report.must_end, report.failure) == (False, None)


def test_media_forgives_a_failure_but_not_the_last():
    """What was held back comes out after ffmpeg has said why it ends."""
    report = told("[tcp @ 0x1] [error] Connection timed out")
    report.recover()
    assert report.failure is None

    report.read("[in#0/rtsp @ 0x1] [error] Error during demuxing: Connection timed out")
    report.recover()

    assert report.failure.reason is GapReason.STALLED


def test_no_address_and_no_credentials_are_in_a_detail():
    """ffmpeg repeats the URL; we do not."""
    report = told(
        "[error] Error opening input file http://u:s3cret@host/x?token=1 (s3cret)", secrets=("u-ser", "s3cret")
    )

    assert report.failure.detail == "ffmpeg: Error opening input file <url> (***)"


@given(st.binary(max_size=200), st.integers(1, 7))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data, size):
    """Cut anywhere, the same lines come out."""
    whole, pieces = Lines(), Lines()

    lines = [line for start in range(0, len(data), size) for line in pieces.feed(data[start : start + size])]

    assert lines == whole.feed(data)


def test_an_endless_line_is_cut_and_memory_stays_small():
    """A megabyte without a line feed is one short line, and the next line is whole again."""
    lines = Lines()

    got = [line for _ in range(256) for line in lines.feed(b"x" * 4096)] + lines.feed(b"\nnext\n")

    assert got == ["x" * LINE_BYTES, "next"]


@given(st.text())
def test_no_line_can_break_the_report(text):
    """Whatever a station makes ffmpeg print."""
    report = told(TELEVISION + text)

    assert report.failure is None or len(report.failure.detail) <= DETAIL_LENGTH
    assert report.video.codec == "h264"


@given(st.sampled_from(["[info] ", "[error] ", "[verbose] "]), st.text(max_size=300))
def test_details_are_short_and_printable(level, text):
    """They go into rows, pages and logs."""
    report = told(level + text)

    assert report.failure is None or report.failure.detail.isprintable()


def test_titles_that_are_no_utf_8_are_read_as_icecast_sends_them():
    """Icecast announces the titles of an MP3 mount in ISO-8859-1 unless it is told otherwise."""
    assert Lines().feed("Ævintýr\n".encode("latin-1")) == ["Ævintýr"]
