"""Pictures and sound that a station lists apart, put together by an ffmpeg without network."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final

from streamrec.clock import Clock
from streamrec.media import ffmpeg
from streamrec.media.mixing import mix_command
from streamrec.media.process import GRACE_SECONDS, Child
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.events import Chunk, Event, Opened, Skipped
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.hls.contents import Contents, contents
from streamrec.recorder.hls.feed import Feed, Fetched, Missing
from streamrec.recorder.sources.ffmpeg import Sources as FfmpegSources

TICK_SECONDS: Final = 0.02
QUIET_TICKS: Final = 4  # without output: ffmpeg has given back what it could make
LONGEST_SECONDS: Final = 3.0
READ_BYTES: Final = 1 << 20
SLACK_SECONDS: Final = 0.2
_STAMP: Final = re.compile(rb"com\.apple\.streaming\.transportStreamTimestamp\0(.{8})", re.DOTALL)


class Mixer:
    """One ffmpeg that is given the segments of both, for the length of one run."""

    def __init__(self, sources: FfmpegSources, clock: Clock, picture: Fetched, sound: Fetched) -> None:
        """The first two segments say what it is made of. Raises Refused for what cannot be put together."""
        self._clock = clock
        seen, heard = contents(picture.data, picture.init), contents(sound.data, sound.init)
        video, audio = seen.codecs.partition("+")[0], heard.codecs.rpartition("+")[2]
        file_format = ffmpeg.format_for(video, audio)
        if not seen.has_video or not heard.has_audio or file_format is None:
            raise Refused(GapReason.UNSUPPORTED, "The picture and the sound cannot be put together.")
        self.opened = Opened(file_format, f"{video}+{audio}", "hls")
        self._left = [bytearray(), bytearray()]
        reading, self._sound = os.pipe()
        try:
            os.set_blocking(self._sound, False)
            command = _command(sources.executable, reading, heard, self.opened, sound)
            self._child = Child(command, register=sources.register, has_input=True, pass_fds=(reading,))
        except BaseException:
            os.close(self._sound)
            raise
        finally:
            os.close(reading)

    async def mix(self, pictures: bytes, sounds: bytes) -> bytes:
        """What comes out when these go in. Raises Refused (`capture_crashed`) if ffmpeg has ended."""
        self._left[0] += pictures
        self._left[1] += sounds
        return await self._pump(QUIET_TICKS)

    async def finish(self) -> bytes:
        """What was still in it."""
        self._child.close_input()
        self._close_sound()
        return await self._pump(None)

    async def close(self) -> None:
        """End it; may be called twice."""
        self._close_sound()
        self._child.kill()
        await self._child.finish(self._clock)

    def _close_sound(self) -> None:
        if self._sound >= 0:
            os.close(self._sound)
            self._sound = -1

    async def _pump(self, quiet_ticks: int | None) -> bytes:
        """Feed and drain until nothing comes for so many ticks, or to the end of the output."""
        deadline = self._clock.monotonic() + (LONGEST_SECONDS if quiet_ticks else GRACE_SECONDS)
        pieces: list[bytes] = []
        quiet = 0
        while quiet != quiet_ticks and self._clock.monotonic() < deadline:
            self._feed()
            self._child.read_errors(READ_BYTES)
            data = self._child.read_output(READ_BYTES)
            if data == b"":
                if quiet_ticks is None:
                    break
                raise Refused(GapReason.CAPTURE_CRASHED, "ffmpeg ended while it put picture and sound together.")
            pieces.append(data or b"")
            quiet = 0 if data or any(self._left) else quiet + 1
            await self._clock.sleep(TICK_SECONDS)
        return b"".join(pieces)

    def _feed(self) -> None:
        if self._left[0]:
            del self._left[0][: self._child.write_input(bytes(self._left[0]))]
        if self._left[1] and self._sound >= 0:
            try:
                del self._left[1][: os.write(self._sound, self._left[1])]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self._left[1].clear()


def _command(executable: str, reading: int, heard: Contents, opened: Opened, sound: Fetched) -> list[str]:
    video, _, audio = opened.codecs.partition("+")
    return mix_command(
        executable,
        sound=reading,
        sound_format=heard.format,
        sound_starts_at=_stamp(sound.data) if heard.format in {FileFormat.AAC, FileFormat.MP3} else 0.0,
        file_format=opened.format,
        video=video,
        audio=audio,
    )


def _stamp(packed: bytes) -> float:
    """When packed audio begins, in seconds (RFC 8216 section 3.4): 33 bits of 90 kHz; 0 if it does not say."""
    match = _STAMP.search(packed[:4096])
    return (int.from_bytes(match[1], "big") & (1 << 33) - 1) / 90_000 if match else 0.0


class Duet:
    """Two feeds, followed together."""

    def __init__(
        self, pictures: Feed, follow: Callable[[int], Feed], sources: FfmpegSources, clock: Clock
    ) -> None:
        """`follow` makes the feed of the sound that begins, where that can be, with a media sequence number."""
        self._pictures = pictures
        self._follow = follow
        self._sounds: Feed | None = None
        self._sources = sources
        self._clock = clock
        self._mixer: Mixer | None = None
        self._ahead = 0.0  # s of picture that have come without their sound

    async def events(self) -> AsyncGenerator[Event]:
        """The events of both as one stream. Raises Refused when there is no more."""
        try:
            while True:
                step = await self._pictures.next()
                self._ahead += step.seconds if isinstance(step, Missing) else step.segment.duration
                if isinstance(step, Missing) or step.begins_run:
                    async for event in self._ended(step):
                        yield event
                if isinstance(step, Fetched):
                    self._sounds = self._sounds or self._follow(step.segment.sequence)
                    sounds = [sound async for sound in self._heard(self._sounds)]
                    for event in await self._mixed(step, sounds):
                        yield event
        finally:
            await self._close()

    async def _heard(self, feed: Feed) -> AsyncGenerator[Fetched]:
        """The sound up to where the picture is."""
        while self._ahead > SLACK_SECONDS:
            step = await feed.next()
            self._ahead -= step.seconds if isinstance(step, Missing) else step.segment.duration
            if isinstance(step, Fetched):
                yield step

    async def _mixed(self, picture: Fetched, sounds: list[Fetched]) -> list[Event]:
        events: list[Event] = []
        is_first = self._mixer is None
        if is_first and not sounds:
            return []  # the sound begins later
        if self._mixer is None:
            self._mixer = Mixer(self._sources, self._clock, picture, sounds[0])
            events.append(self._mixer.opened)
        image = picture.init + picture.data if is_first else picture.data
        sound = b"".join(_with_init(sounds, is_first))
        data = await self._mixer.mix(image, sound)
        is_edge = picture.is_edge and bool(data)
        later, older = picture.later_seconds, picture.older_seconds
        return [*events, Chunk(data, picture.listed_at, is_edge, later, older_seconds=older)]

    async def _ended(self, step: Fetched | Missing) -> AsyncGenerator[Event]:
        """A run ends: first what is still in the mixer."""
        if self._mixer is not None:
            data = await self._mixer.finish()
            yield Chunk(data, self._clock.monotonic())
            await self._close()
        if isinstance(step, Missing):
            yield Skipped(step.seconds, step.detail)

    async def _close(self) -> None:
        mixer, self._mixer = self._mixer, None
        if mixer is not None:
            await mixer.close()


def _with_init(sounds: list[Fetched], is_first: bool) -> Iterator[bytes]:
    for index, sound in enumerate(sounds):
        yield sound.init + sound.data if (is_first and index == 0) or sound.begins_run else sound.data
