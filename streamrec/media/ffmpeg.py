"""ffmpeg's command lines, built with ffmpeg-python and never through a shell. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import ffmpeg

from streamrec.media.script import script
from streamrec.models import FileFormat

IO_SECONDS: Final = 5  # no byte for so long ends a read; the media watchdog is there for the rest
ANALYZE_SECONDS: Final = 3
MOST_PIXELS: Final = 50_000_000  # of a picture; 8K has 35 million
# What the first look at a stream may cost. A header can claim any size.
_BOUNDS: Final[dict[str, Any]] = {
    "max_streams": 32,
    "max_alloc": 1 << 29,  # bytes at a time
    "max_pixels": MOST_PIXELS,
    "probesize": 5_000_000,  # bytes
    "analyzeduration": ANALYZE_SECONDS * 1_000_000,
    "threads": 1,
}
# ICY titles are told at "verbose" and nowhere else.
_QUIET: Final = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+verbose")

# What each scheme may open. A redirect or playlist must not lead ffmpeg to file:, concat:, data: and the like.
_PROTOCOLS: Final = {
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "https": "http,https,httpproxy,tcp,tls,crypto",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tls,tcp",
    "srt": "srt",
    "udp": "udp",
}
# No dash, sdp, concat or image formats: they open other addresses, ports or files by themselves.
_HTTP_FORMATS: Final = "mp3,aac,ac3,eac3,loas,flac,ogg,hls,mpegts,mov,matroska,flv,live_flv,wav,asf"
_FORMATS: Final = {
    "http": _HTTP_FORMATS,
    "https": _HTTP_FORMATS,
    "rtmp": "flv,live_flv",
    "rtmps": "flv,live_flv",
    "rtsp": "rtsp,mpegts,asf",
    "rtsps": "rtsp,mpegts,asf",
    "srt": "mpegts",
    "udp": "mpegts",
}
# Nothing that names other files or addresses: a byte stream is all there is.
_PIPE_FORMATS: Final = "mp3,aac,ac3,eac3,loas,flac,ogg,mpegts,mov,matroska,flv,live_flv,wav,asf"

_TS_VIDEO: Final = frozenset({"h264", "hevc", "mpeg2video", "mpeg1video"})
_MP4_VIDEO: Final = _TS_VIDEO | {"vp9", "av1", "mpeg4"}
_TS_AUDIO: Final = frozenset({"aac", "aac_latm", "ac3", "eac3", "mp1", "mp2", "mp3"})
_MP4_AUDIO: Final = (_TS_AUDIO - {"aac_latm", "mp1"}) | {"opus", "vorbis", "flac", "alac"}

# -flush_packets 1 on each: without it ffmpeg holds up to 256 KiB, half a minute of a radio.
_OUTPUT: Final[dict[FileFormat, dict[str, Any]]] = {
    FileFormat.MP3: {"f": "mp3", "write_xing": 0, "id3v2_version": 0},
    FileFormat.AAC: {"f": "adts"},
    FileFormat.TS: {
        "f": "mpegts",
        # Seconds. ffmpeg repeats the tables ten times a second and gives each audio frame a PES packet of its own
        # where nothing may wait: a sixth more bytes. Key frames have tables before them anyway.
        "pat_period": 1,
        "sdt_period": 10,
        "muxdelay": 0.1,
        "muxpreload": 0,
    },
    FileFormat.MP4: {
        "f": "mp4",
        "movflags": "+empty_moov+default_base_moof+frag_keyframe",
        "frag_duration": 1_000_000,  # microseconds
    },
}


class Input(NamedTuple):
    """Where ffmpeg reads, and for http and https the proxy that is its only way there."""

    url: str
    proxy: str | None = None

    @property
    def scheme(self) -> str:
        """In lower case."""
        return self.url.partition("://")[0].lower()

    @property
    def is_told_apart(self) -> bool:
        """Whether the address has no place on the command line: it may have a password, a key or a token in it.

        An srt address without a secret has, because a script of ffmpeg's does not mend jumps of its time stamps.
        """
        if self.scheme == "srt":
            return any(word in self.url.lower() for word in _SECRETS)
        return self.scheme in _TOLD_APART

    @property
    def script(self) -> bytes | None:
        """What ffmpeg is to find on its stdin, if anything."""
        if not self.is_told_apart:
            return None
        look = {name: _BOUNDS[name] for name in ("max_streams", "probesize", "analyzeduration")}
        return script(self.url, look | _way_options(self))


_TOLD_APART: Final = frozenset({"rtmp", "rtmps", "rtsp", "rtsps"})
_SECRETS: Final = ("@", "passphrase", "streamid")

PIPE: Final = Input("pipe:0")
"""The input of an ffmpeg that we feed, and that opens nothing itself."""


def format_for(video: str | None, audio: str | None) -> FileFormat | None:
    """The container in which these codecs (ffmpeg's names) are kept as they are, or None if there is none."""
    if video is None:
        single = {"mp3": FileFormat.MP3, "aac": FileFormat.AAC}
        if audio is None or audio in single:
            return single.get(audio or "")
        if audio in _TS_AUDIO:
            return FileFormat.TS
        return FileFormat.MP4 if audio in _MP4_AUDIO else None
    if video in _TS_VIDEO and (audio is None or audio in _TS_AUDIO):
        return FileFormat.TS
    if video in _MP4_VIDEO and (audio is None or audio in _MP4_AUDIO):
        return FileFormat.MP4
    return None


def probe_command(executable: str, given: Input) -> list[str]:
    """Read the first packets as a capture would, and say on stderr what they are.

    The same selection of streams applies as in `capture_command`.
    """
    return _command(executable, given, {"f": "null", "c": "copy", "t": "0.1"}, [])


def capture_command(
    executable: str,
    given: Input,
    *,
    file_format: FileFormat,
    video: str | None,
    audio: str | None,
) -> list[str]:
    """Copy the best picture and the best sound, unchanged, to stdout as `file_format`."""
    options: dict[str, Any] = {"c": "copy", "flush_packets": 1, "map_metadata": -1, **_OUTPUT[file_format]}
    if file_format is FileFormat.MP4 and audio == "aac":
        options["bsf:a"] = "aac_adtstoasc"  # with empty_moov, ffmpeg stops at once without it
    if video == "hevc" and file_format is FileFormat.MP4:
        options["tag:v"] = "hvc1"
    unwanted = ["-sn", "-dn"]
    if video is None:
        unwanted.append("-vn")  # a cover picture is not television
    if audio is None:
        unwanted.append("-an")
    return _command(executable, given, options, unwanted)


def _command(executable: str, given: Input, options: dict[str, Any], flags: list[str]) -> list[str]:
    built: list[str] = ffmpeg.compile(ffmpeg.output(_opened(given), "pipe:1", **options), cmd=executable)
    return [built[0], *_QUIET, *built[1:-1], *flags, built[-1]]


def _opened(given: Input) -> Any:
    if given.is_told_apart:
        # What the entry may open, the script says; nothing is looked at twice.
        options = {"f": "concat", "safe": 0, "auto_convert": 0, "nofind_stream_info": None}
        return ffmpeg.input(PIPE.url, **_BOUNDS, **options, protocol_whitelist="pipe", format_whitelist="concat")
    return ffmpeg.input(given.url, **_BOUNDS, **_way_options(given))


def _way_options(given: Input) -> dict[str, Any]:
    """What an address may lead to, and how long it may be silent."""
    if given == PIPE:
        return {"protocol_whitelist": "pipe", "format_whitelist": _PIPE_FORMATS}
    scheme = given.scheme
    options: dict[str, Any] = {"protocol_whitelist": _PROTOCOLS[scheme], "format_whitelist": _FORMATS[scheme]}
    if scheme.startswith("rtsp"):
        # UDP would open ports of ours to anyone; "timeout" because rw_timeout does not reach RTSP's socket.
        return options | {"rtsp_transport": "tcp", "timeout": IO_SECONDS * 1_000_000}
    if scheme == "udp":  # which puts its own option in rw_timeout's place
        return options | {"timeout": IO_SECONDS * 1_000_000}
    if given.proxy is not None and scheme.startswith("http"):
        options["http_proxy"] = given.proxy
    return options | {"rw_timeout": IO_SECONDS * 1_000_000}
