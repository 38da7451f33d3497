"""Our own station: knows to the millisecond when each frame was on air, and misbehaves on command."""

from __future__ import annotations

import asyncio
import enum
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from streamrec.demo import http, radio
from tests.station.clips import MP3_FRAME_BYTES, MP3_FRAME_SECONDS, Clip

_TICK_SECONDS = 0.1
BURST_FRAMES = 170  # 65,280 bytes: Icecast's default burst, in whole frames


class Fault(enum.Enum):
    """What a mount does instead of playing."""

    STALL = "keeps the connection open and sends nothing"
    END = "closes every connection and answers 404"
    DENY = "closes every connection and answers 403"
    GARBAGE = "sends a web page in the place of music"


@dataclass
class Mount:
    """A radio that plays a clip once, from the moment it was made."""

    clip: bytes
    zero: float = field(default_factory=time.time)
    title: str = ""
    fault: Fault | None = None
    burst_frames: int = BURST_FRAMES
    connects: list[float] = field(default_factory=list)

    def live(self) -> int:
        """How many whole frames have been on air."""
        return int((time.time() - self.zero) / MP3_FRAME_SECONDS)

    def frames(self, start: int, end: int) -> bytes:
        """The bytes of frames `[start, end)`."""
        return self.clip[max(0, start) * MP3_FRAME_BYTES : end * MP3_FRAME_BYTES]

    def on_air(self, frame: int) -> datetime:
        """When frame `frame` began."""
        return datetime.fromtimestamp(self.zero + frame * MP3_FRAME_SECONDS, UTC)


class Station:
    """Mounts by path, served from a thread of its own."""

    def __init__(self) -> None:
        self.mounts: dict[str, Mount] = {}
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def url(self, name: str) -> str:
        """The address of a mount."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def add(self, name: str, clip: Clip, *, burst_frames: int = BURST_FRAMES) -> Mount:
        """Put a mount on air now."""
        mount = self.mounts[f"/{name}"] = Mount(clip.path.read_bytes(), burst_frames=burst_frames)
        return mount

    def start(self) -> None:
        """Serve until stopped."""
        self._thread.start()
        assert self._started.wait(10), "the station did not start"

    def stop(self) -> None:
        """Drop every listener."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await http.serve(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()

    async def _answer(self, request: http.Request, response: http.Response) -> None:
        mount = self.mounts.get(request.path)
        if mount is None or mount.fault is Fault.END:
            await response.whole(b"", "text/plain", "404 Not Found")
        elif mount.fault is Fault.DENY:
            await response.whole(b"", "text/plain", "403 Forbidden")
        else:
            await _play(mount, request, response)


async def _play(mount: Mount, request: http.Request, response: http.Response) -> None:
    """The burst, then frame after frame as each has been on air, until a fault ends it."""
    mount.connects.append(time.time())
    tags = _Tags(mount) if request.headers.get("icy-metadata") == "1" else None
    headers = {"Content-Type": "audio/mpeg"}
    await response.start(headers | {"icy-metaint": str(radio.META_INTERVAL)} if tags else headers)
    position = mount.live() - mount.burst_frames
    while mount.fault not in {Fault.END, Fault.DENY}:
        live = mount.live()
        if mount.fault is Fault.STALL:
            position = live
        elif mount.fault is Fault.GARBAGE:
            await response.write(b"<html><body>Back soon.</body></html>" * 20)
            position = live
        else:
            data = mount.frames(position, live)
            await response.write(tags.tagged(data) if tags else data)
            position = live
        await asyncio.sleep(_TICK_SECONDS)


class _Tags:
    """Puts the mount's title into the stream, as SHOUTcast does."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._left = radio.META_INTERVAL
        self._announced = ""

    def tagged(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        while len(data) >= self._left:
            title = self._mount.title
            pieces += [data[: self._left], b"\0" if title == self._announced else radio.block(title)]
            data, self._left, self._announced = data[self._left :], radio.META_INTERVAL, title
        self._left -= len(data)
        return b"".join([*pieces, data])


@contextmanager
def running() -> Iterator[Station]:
    """A station without mounts on a free loopback port."""
    station = Station()
    station.start()
    try:
        yield station
    finally:
        station.stop()
