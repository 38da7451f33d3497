"""Reading what ffmpeg says on stderr: streams, titles and why it ended. Pure; every line is hostile text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from streamrec.models import GapReason

LINE_BYTES: Final = 4096
DETAIL_LENGTH: Final = 300


class Lines:
    """Splits a byte stream into lines, keeping at most LINE_BYTES of each."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *whole, rest = (self._rest + data).split(b"\n")
        if whole and self._is_skipping:
            whole = whole[1:]
            self._is_skipping = False
        if len(rest) > LINE_BYTES:
            if not self._is_skipping:
                whole.append(rest)
            rest, self._is_skipping = b"", True
        self._rest = rest
        return [_text(line[:LINE_BYTES]).rstrip("\r") for line in whole]


def _text(line: bytes) -> str:
    """UTF-8, or else what most stations mean that send no UTF-8: Icecast announces MP3 titles in ISO-8859-1."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt came to nothing, as a gap reason and a sentence."""

    reason: GapReason
    detail: str


@dataclass(frozen=True, slots=True)
class Stream:
    """One elementary stream as ffmpeg lists it."""

    kind: str  # Audio, Video, Subtitle, Data
    codec: str  # ffmpeg's name
    is_picture: bool = False  # a cover, not a moving picture
    bit_rate: int | None = None  # bit/s
    sample_rate: int | None = None  # Hz
    channels: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None


_LINE = re.compile(r"(?:\[(?P<context>[^\]]* @ 0x[0-9a-f]+)\] )?\[(?P<level>[a-z]+)\] (?P<text>.*)", re.DOTALL)
_INPUT = re.compile(r"Input #0, (\S+), from ")
_STREAM = re.compile(r" *Stream #0:(\d+)\S*: ([A-Z][a-z]+): (\w+)(.*)")
_MAPPED = re.compile(r" *Stream #0:(\d+) -> #0:\d+ \(copy\)")
_TAG = re.compile(r" +([\w-]+) *: (.*)")
_TITLE = re.compile(r"Metadata update for StreamTitle: (.*)", re.DOTALL)
_BIT_RATE = re.compile(r"(\d{1,9}) kb/s")
_LAYOUTS: Final = {"mono": 1, "stereo": 2, "2.1": 3, "3.0": 3, "4.0": 4, "quad": 4, "5.0": 5, "5.1": 6, "7.1": 8}

_HTTP = re.compile(r"(?:HTTP error|method \w+ failed:) (\d{3})\b ?(.*)")
_DENIED: Final = frozenset({"401", "403", "404", "410", "451"})
_KNOWN: Final = [
    (re.compile(pattern), reason, detail)
    for pattern, reason, detail in [
        (r"Failed to resolve hostname", GapReason.DNS, "The host name cannot be resolved."),
        (r"Connection refused", GapReason.SOURCE_REFUSED, "The connection was refused."),
        (r"bind failed", GapReason.SOURCE_REFUSED, "The port cannot be listened on here."),
        (
            r"Connection to srt://\S+ failed",
            GapReason.SOURCE_REFUSED,
            "The server did not answer, or turned the call away.",
        ),
        (
            r"No route to host|Network is unreachable|Host is down|Connection to \S+ failed",
            GapReason.SOURCE_REFUSED,
            "The host cannot be reached.",
        ),
        (
            r"[Nn]ot (on|in) .{0,40}whitelist",
            GapReason.UNSUPPORTED,
            "It leads to what may not be opened.",
        ),
        (r"Protocol not found", GapReason.UNSUPPORTED, "The ffmpeg that is used here lacks this protocol."),
        (
            r"codec not currently supported in container|Could not write header|Could not find tag for codec",
            GapReason.UNSUPPORTED,
            "The codec cannot be kept in a file.",
        ),
        (r"not contain any stream", GapReason.NOT_MEDIA, "There is no sound and no picture in it."),
        (r"Invalid data found when processing input", GapReason.NOT_MEDIA, "What the server sends is not media."),
        (
            r"\w+ (timed out|temporarily unavailable)|Error number -(11|110|138) occurred",
            GapReason.STALLED,
            "Nothing came for too long.",
        ),
        (
            r"Connection reset by peer|Broken pipe|Stream ends prematurely",
            GapReason.SOURCE_ENDED,
            "The connection was reset.",
        ),
    ]
]
_OVER: Final = "Error during demuxing: "
_EIO: Final = ": Input/output error"
_DATAGRAMS: Final = frozenset({"udp", "srt"})  # to which an error of input and output is a silence
_SILENCE: Final = Failure(GapReason.STALLED, "Nothing came for too long.")
_BROKEN: Final = Failure(GapReason.SOURCE_ENDED, "The connection broke off.")
_LED_AWAY: Final = re.compile(r"Status 3\d\d: Redirecting to ")
_ELSEWHERE: Final = Failure(
    GapReason.EGRESS_DENIED, "The server sends elsewhere, which is not followed over RTSP."
)
# Muxers put each packet behind the one before, so that media after a jump would last no time at all.
_STAMPS: Final = re.compile(r"Non-monoton\w+ DTS.{0,40}; previous: (-?\d{1,18}), current: (-?\d{1,18});")
_BACK_TICKS: Final = 90_000  # a second of MPEG-TS; less is the disorder of a seam
_BACK: Final = Failure(GapReason.SOURCE_ERROR, "The stream's time stamps went back.")
_WRONG_PASSPHRASE: Final = Failure(GapReason.SOURCE_DENIED, "The passphrase is wrong, or missing.")
_LAST_WORDS: Final = (_ELSEWHERE, _BACK, _WRONG_PASSPHRASE)  # what ffmpeg says after these follows from them
_SRT_DENIED: Final = re.compile(r"/SRT:.*\b(BADSECRET|UNSECURE)\b")
_GENERIC: Final = frozenset({GapReason.NOT_MEDIA, GapReason.STALLED, GapReason.UNKNOWN})


@dataclass(slots=True)
class Report:
    """What one ffmpeg has said so far."""

    secrets: tuple[str, ...] = ()
    protocol: str = ""  # the address's scheme, if ffmpeg connects by itself
    container: str | None = None
    bit_rate: int | None = None
    station: str | None = None
    title: str | None = None
    failure: Failure | None = None
    is_mapped: bool = False
    must_end: bool = False
    """What comes from here on is of no use, and ffmpeg does not know: end it."""
    _is_over: bool = False
    _streams: dict[int, Stream] = field(default_factory=dict)
    _selected: list[int] = field(default_factory=list)
    _section: str = ""

    @property
    def video(self) -> Stream | None:
        """The moving picture that a capture takes."""
        return next((s for s in self._chosen("Video") if not s.is_picture), None)

    @property
    def audio(self) -> Stream | None:
        """The sound that a capture takes."""
        return next(iter(self._chosen("Audio")), None)

    def _chosen(self, kind: str) -> list[Stream]:
        return [self._streams[i] for i in self._selected if i in self._streams and self._streams[i].kind == kind]

    def read(self, line: str) -> str | None:
        """Take one line in; the title, if the line announces one."""
        match = _LINE.match(line)
        if match is None:
            self._hear_srt(line)
            return None
        text = match["text"]
        if _LED_AWAY.match(text):
            self.must_end, self.failure = True, _ELSEWHERE
        if (stamps := _STAMPS.match(text)) and int(stamps[1]) - int(stamps[2]) > _BACK_TICKS:
            self.must_end, self.failure = True, _BACK
        announced = _TITLE.match(text)
        if announced:
            self.title = announced[1]
            return announced[1]
        if not self.is_mapped:
            self._describe(text)
        if match["level"] in {"error", "fatal", "warning"}:
            self._blame(match["context"] or "", match["level"], text)
        return None

    def recover(self) -> None:
        """Media has come: whatever it complained of, it got over it, unless this was held back to its end."""
        if not (self._is_over or self.must_end):
            self.failure = None

    def _hear_srt(self, line: str) -> None:
        """libsrt speaks for itself, in lines of its own form, and only there says why it was turned away."""
        if _SRT_DENIED.search(line):
            self.failure = _WRONG_PASSPHRASE

    def _describe(self, text: str) -> None:
        opened = _INPUT.match(text)
        if opened:
            self._section, self.container = "input", opened[1].rstrip(",")
        elif text.startswith("Stream mapping:"):
            self._section = "mapping"
        elif text.startswith("Output #0"):
            self._section, self.is_mapped = "", True
        elif self._section == "mapping" and (mapped := _MAPPED.match(text)):
            self._selected.append(int(mapped[1]))
        elif self._section == "input":
            self._describe_input(text)

    def _describe_input(self, text: str) -> None:
        stream = _STREAM.match(text)
        if stream and len(self._streams) < 64:
            self._streams[int(stream[1])] = _stream(stream[2], stream[3], stream[4])
        elif text.startswith("  Duration:"):
            rate = _BIT_RATE.search(text)
            self.bit_rate = int(rate[1]) * 1000 if rate else None
        elif not self._streams and (tag := _TAG.match(text)):
            if tag[1].lower() in {"icy-name", "service_name"}:
                self.station = tag[2]
            elif tag[1] == "StreamTitle":
                self.title = tag[2]

    def _blame(self, context: str, level: str, text: str) -> None:
        """Keep the most telling failure: an exact one is not replaced by ffmpeg's general last words."""
        self._is_over = self._is_over or text.startswith(_OVER)
        failure = self._failure(context, level, text)
        if failure is None or self.failure in _LAST_WORDS:
            return
        if self.failure is None or failure.reason not in _GENERIC or self.failure.reason is GapReason.UNKNOWN:
            self.failure = failure

    def _failure(self, context: str, level: str, text: str) -> Failure | None:
        status = _HTTP.match(text)
        if status:
            reason = GapReason.SOURCE_DENIED if status[1] in _DENIED else GapReason.SOURCE_ERROR
            return Failure(reason, self.cleaned(f"The server answered {status[1]} {status[2]}".strip() + "."))
        if text.startswith("Could not find codec parameters"):
            return Failure(GapReason.NOT_MEDIA, "What the server sends is not media that is understood.")
        if level == "warning":
            return None
        if context.startswith("tls "):
            return Failure(GapReason.TLS, self.cleaned(f"TLS failed: {text}"))
        for pattern, reason, detail in _KNOWN:
            if pattern.search(text):
                return Failure(reason, detail)
        if text.endswith(_EIO) and (self.protocol in _DATAGRAMS or text.startswith(_OVER)):
            return _SILENCE if self.protocol in _DATAGRAMS else _BROKEN
        return Failure(GapReason.UNKNOWN, self.cleaned(f"ffmpeg: {text}"))

    def cleaned(self, text: str) -> str:
        """`text` fit for a log or an answer: no address, no credentials, one line, not long."""
        text = re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]*", "<url>", text)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = "".join(c if c.isprintable() else " " for c in text)
        return text if len(text) <= DETAIL_LENGTH else text[: DETAIL_LENGTH - 1] + "…"


def _stream(kind: str, codec: str, rest: str) -> Stream:
    rate = _BIT_RATE.search(rest)
    hertz = re.search(r", (\d{3,6}) Hz, ([\w.]+)", rest)
    size = re.search(r", (\d{2,5})x(\d{2,5})\b", rest)
    frames = re.search(r"\b(\d{1,4}(?:\.\d{1,4})?) fps", rest)
    return Stream(
        kind,
        codec,
        is_picture="(attached pic)" in rest or codec in {"mjpeg", "png", "gif", "webp", "bmp"},
        bit_rate=int(rate[1]) * 1000 if rate else None,
        sample_rate=int(hertz[1]) if hertz else None,
        channels=_LAYOUTS.get(hertz[2]) if hertz else None,
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        frame_rate=float(frames[1]) if frames else None,
    )
