"""The radio: MP3 paced by the clock, a burst on connect, titles where the client asks for them."""

from __future__ import annotations

import asyncio
import subprocess

from streamrec.clock import Clock
from streamrec.demo import music
from streamrec.demo.http import Request, Response
from streamrec.media.process import environment

BYTES_PER_SECOND = 16_000
FRAME_BYTES = 384  # 128 kb/s at 48 kHz: 24 ms, never padded
BURST_BYTES = 65_536
META_INTERVAL = 16_000
_TICK_SECONDS = 0.25

# A whisper of noise makes every frame unlike every other, so that a recorder's joins can be checked.
_MIX = (
    "[0]aresample=48000,pan=mono|c0=0.6*c0+0.5*c1,aecho=0.8:0.6:120|250:0.35|0.2[music];"
    "[music][1]amix=2:normalize=0:duration=first"
)


def render(ffmpeg: str) -> bytes:
    """The whole programme as MP3 frames that stand alone (no bit reservoir), so that it can be looped and cut."""
    seconds = music.TUNE_SECONDS * len(music.TUNES)
    command = [ffmpeg, "-hide_banner", "-loglevel", "error"]
    command += ["-f", "s16le", "-ar", str(music.RATE), "-ac", "2", "-i", "pipe:0"]
    command += ["-f", "lavfi", "-i", f"anoisesrc=amplitude=0.0005:seed=7:sample_rate=48000:duration={seconds}"]
    command += ["-filter_complex", _MIX, "-c:a", "libmp3lame", "-b:a", "128k", "-reservoir", "0"]
    command += ["-write_xing", "0", "-id3v2_version", "0", "-f", "mp3", "pipe:1"]
    done = subprocess.run(
        command, input=music.pcm(), capture_output=True, check=True, env=environment(), timeout=60
    )
    return done.stdout[: seconds * BYTES_PER_SECOND]


def block(title: str) -> bytes:
    """An in-band metadata block: its length in units of 16 bytes, then the text, padded with zeros.

    The format is SHOUTcast's; a quote is left as it is, as servers do, and the text is cut to what fits.
    """
    text = f"StreamTitle='{title}';".encode()[: 255 * 16]
    units = -(-len(text) // 16)
    return bytes([units]) + text.ljust(units * 16, b"\0")


class Radio:
    """Everything is computed from the clock: listeners share no state, and a restart goes on where time is."""

    def __init__(self, programme: bytes, clock: Clock) -> None:
        self._programme = programme
        self._clock = clock
        self._origin = clock.now().timestamp() - clock.monotonic()

    def live(self) -> int:
        """How many bytes had been sent by now since 1970, a whole number of frames."""
        elapsed = self._origin + self._clock.monotonic()
        return int(elapsed * BYTES_PER_SECOND) // FRAME_BYTES * FRAME_BYTES

    def audio(self, start: int, end: int) -> bytes:
        """The bytes of a stretch of all time; the programme repeats."""
        length = len(self._programme)
        begin = start % length
        repeats = -(-(begin + end - start) // length)
        return (self._programme * repeats)[begin : begin + end - start]

    def title(self, position: int) -> str:
        """What is announced at a byte position."""
        seconds = position % len(self._programme) // BYTES_PER_SECOND
        return music.TUNES[seconds // music.TUNE_SECONDS].title

    async def listen(self, request: Request, response: Response) -> None:
        """Serve one listener until it leaves: what was sent in the last four seconds, then as time goes by."""
        wants_titles = request.headers.get("icy-metadata") == "1"
        if not await response.start(self._headers(with_titles=wants_titles)):
            return
        position = self.live() - BURST_BYTES // FRAME_BYTES * FRAME_BYTES
        tagger = Tagger(self) if wants_titles else None
        while True:
            live = self.live()
            data = self.audio(position, live)
            await response.write(tagger.tagged(data, live) if tagger else data)
            position = live
            await asyncio.sleep(_TICK_SECONDS)

    def _headers(self, *, with_titles: bool) -> dict[str, str]:
        headers = {
            "Content-Type": "audio/mpeg",
            "Cache-Control": "no-cache, no-store",
            "icy-name": "Demo radio",
            "icy-description": "Made by streamrec itself",
            "icy-genre": "Arpeggios",
            "icy-br": "128",
            "icy-pub": "0",
        }
        return headers | {"icy-metaint": str(META_INTERVAL)} if with_titles else headers


class Tagger:
    """Puts a metadata block after every interval: the title when it is new, else an empty one."""

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self._left = META_INTERVAL
        self._announced = ""

    def tagged(self, data: bytes, live: int) -> bytes:
        """`data` with the blocks that fall into it; as with Icecast they speak of the live edge."""
        pieces: list[bytes] = []
        while len(data) >= self._left:
            title = self._radio.title(live)
            pieces += [data[: self._left], block(title) if title != self._announced else b"\0"]
            data = data[self._left :]
            self._left, self._announced = META_INTERVAL, title
        self._left -= len(data)
        return b"".join([*pieces, data])
