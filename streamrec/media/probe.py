"""Finding out what a URL is, by the same ffmpeg, options and choice of streams that a capture uses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from streamrec import egress
from streamrec.clock import Clock, SystemClock
from streamrec.egress import Credentials
from streamrec.errors import EgressDenied, Invalid
from streamrec.media import ffmpeg
from streamrec.media.confinement import CONNECTING
from streamrec.media.process import Child
from streamrec.media.report import Failure, Lines, Report
from streamrec.models import FileFormat, GapReason

_TICK_SECONDS = 0.02
_READ_BYTES = 262_144
# What a scheme brings, where ffmpeg was told the address by a script and names the script.
_INSIDE = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp", "srt": "mpegts"}


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a URL is, or why it cannot be recorded. Texts come from the station and are hostile."""

    protocol: str
    recordable: bool
    container: str | None = None  # ffmpeg's name of the input format
    format: FileFormat | None = None  # what it would be recorded as
    video_codec: str | None = None
    audio_codec: str | None = None
    bit_rate: int | None = None  # bit/s, as the stream says
    sample_rate: int | None = None  # Hz
    channels: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    station: str | None = None
    title: str | None = None
    reason: GapReason | None = None
    detail: str | None = None  # one sentence; no credentials

    @property
    def codecs(self) -> str:
        """ffmpeg's names, video first: "h264+aac"."""
        return "+".join(name for name in (self.video_codec, self.audio_codec) if name)


async def probe_async(
    url: str,
    credentials: Credentials | None = None,
    *,
    executable: str,
    allow: Iterable[str] = (),
    timeout_seconds: float = 10.0,
    register: Path | None = None,
    clock: Clock | None = None,
    way: ffmpeg.Input | None = None,
) -> MediaInfo:
    """Connect once, read the first packets and describe them; never raises for what the URL does.

    `way` is what ffmpeg is given for an http or https address: it leads there, and knows the credentials.
    """
    protocol = url.partition("://")[0].lower()
    try:
        await asyncio.to_thread(egress.check, url, tuple(allow))
    except EgressDenied as exc:
        return _failed(protocol, Failure(GapReason.EGRESS_DENIED, exc.detail))
    except Invalid as exc:
        return _failed(protocol, Failure(GapReason.UNSUPPORTED, exc.detail))
    secrets = (credentials.username, credentials.password) if credentials else ()
    report = Report(tuple(filter(None, secrets)), protocol)
    given = way or ffmpeg.Input(egress.with_credentials(url, credentials))
    command = ffmpeg.probe_command(executable, given)
    status = await _run(command, given.script, report, timeout_seconds, register, clock or SystemClock())
    return describe(protocol, report, status)


async def _run(
    command: list[str],
    told: bytes | None,
    report: Report,
    timeout_seconds: float,
    register: Path | None,
    clock: Clock,
) -> int | None:
    """Let the child talk until it has said what it maps, ends, or runs out of time; its status if it ended."""
    child = Child(command, register=register, limits=CONNECTING, told=told)
    lines, deadline = Lines(), clock.monotonic() + timeout_seconds
    try:
        while not (report.is_mapped or report.must_end) and clock.monotonic() < deadline:
            said = child.read_errors(_READ_BYTES)
            if said == b"":
                return await child.ended(clock, 1.0)
            for line in lines.feed(said or b""):
                report.read(line)
            await clock.sleep(_TICK_SECONDS)
        return None
    finally:
        child.kill()
        await child.finish(clock)


def _failed(protocol: str, failure: Failure) -> MediaInfo:
    return MediaInfo(protocol, recordable=False, reason=failure.reason, detail=failure.detail)


def describe(protocol: str, report: Report, status: int | None) -> MediaInfo:
    """What an ffmpeg has said of a stream reached over `protocol`; `status` if it ended by itself. Pure."""
    if not report.is_mapped or report.must_end:
        return _failed(protocol, report.failure or _silent(status))
    video, audio = report.video, report.audio
    info = MediaInfo(
        protocol="hls" if report.container == "hls" else protocol,
        recordable=True,
        container=_INSIDE.get(protocol) if report.container == "concat" else report.container,
        format=ffmpeg.format_for(video.codec if video else None, audio.codec if audio else None),
        video_codec=video.codec if video else None,
        audio_codec=audio.codec if audio else None,
        bit_rate=report.bit_rate or sum(s.bit_rate or 0 for s in (video, audio) if s) or None,
        sample_rate=audio.sample_rate if audio else None,
        channels=audio.channels if audio else None,
        width=video.width if video else None,
        height=video.height if video else None,
        frame_rate=video.frame_rate if video else None,
        station=report.station,
        title=report.title,
    )
    if info.format is not None:
        return info
    what = f"{info.codecs} cannot be kept in a file" if info.codecs else "there is no sound and no picture in it"
    reason = GapReason.UNSUPPORTED if info.codecs else GapReason.NOT_MEDIA
    return replace(info, recordable=False, reason=reason, detail=f"It cannot be recorded: {what}.")


def _silent(status: int | None) -> Failure:
    if status is None:
        return Failure(GapReason.STALLED, "The server did not say in time what it sends.")
    if status < 0:
        return Failure(GapReason.CAPTURE_CRASHED, f"ffmpeg was ended by signal {-status}.")
    return Failure(GapReason.UNKNOWN, "ffmpeg ended without a word.")
