"""Our own live HLS: segments appear at their ends, and it misbehaves on command."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.station import programs
from tests.station.clips import Clip
from tests.station.ending import let_nobody_in

WINDOW = 5
_EXTINF = re.compile(r"#EXTINF:([\d.]+)")
_STICKY = ("#EXT-X-MAP", "#EXT-X-KEY")


@dataclass(frozen=True)
class Piece:
    """One segment as ffmpeg cut it."""

    uri: str
    seconds: float
    tags: tuple[str, ...]  # its own, and those that hold on from an earlier one

    @property
    def path(self) -> str:
        return self.uri.partition("?")[0]


def cut(clip: Clip, folder: Path, *options: str, seconds: float = 1.0) -> list[Piece]:
    """Have ffmpeg cut a clip into segments of about `seconds`, without encoding it again."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [programs.ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", str(clip.path)]
    command += ["-c", "copy", "-f", "hls", "-hls_time", str(seconds), "-hls_list_size", "0", *options, "all.m3u8"]
    subprocess.run(command, check=True, cwd=folder, timeout=60)
    return pieces((folder / "all.m3u8").read_text())


def pieces(playlist: str) -> list[Piece]:
    """The segments of a playlist with their tags."""
    found: list[Piece] = []
    sticky: dict[str, str] = {}
    tags: list[str] = []
    for line in playlist.splitlines():
        name = line.partition(":")[0]
        if name in _STICKY:
            sticky[name] = line
        elif name == "#EXT-X-BYTERANGE" or name == "#EXTINF":
            tags.append(line)
        elif line and not line.startswith("#"):
            length = next(float(match[1]) for tag in tags if (match := _EXTINF.match(tag)))
            found.append(Piece(line, length, (*sticky.values(), *tags)))
            tags = []
    return found


@dataclass
class Show:
    """A presentation on air. What its fields say can be changed at any time by whoever holds it."""

    pieces: list[Piece]
    ahead: int = WINDOW  # segments that are listed when it begins
    window: int = WINDOW
    target: float | None = None
    numbers: Callable[[int], int] = lambda index: index  # media sequence of the n-th segment
    discontinuities: set[int] = field(default_factory=set)
    gaps: set[int] = field(default_factory=set)
    extra: list[str] = field(default_factory=list)
    is_frozen: bool = False
    is_over: bool = False
    dates: Callable[[int], str] | None = None
    first: int = 0  # segments before it are not listed
    began: float = 0.0  # s since 1970; when it is first asked for
    _shown: int = 0

    def ends_at(self, index: int) -> float:
        """When the n-th segment's end is on air, and it appears."""
        return self.began + sum(piece.seconds for piece in self.pieces[self.ahead : index + 1])

    def listed(self) -> range:
        """The segments that are listed now."""
        self.began = self.began or time.time()
        if not self.is_frozen:
            now = time.time()
            self._shown = sum(self.ends_at(index) <= now for index in range(len(self.pieces)))
        return range(max(self.first, self._shown - self.window), self._shown)

    def playlist(self) -> str:
        """The media playlist as it is now."""
        listed = self.listed()
        target = self.target or max(round(piece.seconds) for piece in self.pieces)
        lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target:g}", *self.extra]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{self.numbers(listed.start)}")
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{sum(at < listed.start for at in self.discontinuities)}")
        before: tuple[str, ...] = ()
        for index in listed:
            piece = self.pieces[index]
            lines += ["#EXT-X-DISCONTINUITY"] if index in self.discontinuities else []
            lines += ["#EXT-X-GAP"] if index in self.gaps else []
            lines += [f"#EXT-X-PROGRAM-DATE-TIME:{self.dates(index)}"] if self.dates else []
            lines += [tag for tag in piece.tags if tag not in before or tag[:7] == "#EXTINF"]
            before = tuple(tag for tag in piece.tags if tag.startswith(_STICKY))
            lines.append(piece.uri)
        lines += ["#EXT-X-ENDLIST"] if self.is_over else []
        return "\n".join([*lines, ""])


Page = Callable[[dict[str, str]], bytes]
"""All bytes that are answered to a request with these header fields."""


def answer(body: bytes, status: str = "200 OK", **fields: str) -> bytes:
    """An answer with a body; underscores in names stand for hyphens."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(location: str) -> bytes:
    """A redirect."""
    return answer(b"", "302 Found", Location=location)


@dataclass(frozen=True)
class Request:
    """What was asked, when and on which connection."""

    at: float
    path: str
    fields: dict[str, str]
    connection: int


class Live(Protocol):
    """A presentation that writes its own lists and segments; tests/station/live.py."""

    def answer(self, path: str, fields: Mapping[str, str], /) -> bytes:
        """All bytes that are answered to a request for a path below its name."""
        ...

    def hangs_up(self, path: str, /) -> bool:
        """Whether the connection ends behind this answer."""
        ...


class Origin:
    """Pages and folders on a loopback port, served from a thread of its own over kept connections."""

    def __init__(self) -> None:
        self.port = 0
        self.pages: dict[str, Page] = {}
        self.folders: list[Path] = []
        self.requests: list[Request] = []
        self.refused: Counter[str] = Counter()
        """How often a path, or the last part of one, is answered with 404; each time counts down."""
        self.hang_ups: Counter[str] = Counter()
        """How often the connection is closed behind the answer for a path."""
        self.refusal = answer(b"no", "404 Not Found")
        self.lives: dict[str, Live] = {}
        """What answers for all paths below a name."""
        self._connections = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def url(self, path: str = "live.m3u8") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    def show(self, show: Show, folder: Path, path: str = "live.m3u8") -> Show:
        """Put a presentation on air."""
        self.folders.append(folder)
        self.pages[path] = lambda fields: _playlist(show, fields)
        return show

    def asked(self, path: str) -> list[Request]:
        """The requests for a path."""
        return [request for request in self.requests if request.path == path]

    # --- the server

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10), "the origin did not start"

    def stop(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        await let_nobody_in([server])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._answered(number, reader, writer):
                    pass
        except asyncio.CancelledError:
            writer.transport.abort()  # the origin ends, and what nobody reads would outlive its loop
        writer.close()

    async def _answered(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether a request was answered and another may follow."""
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (each.partition(":") for each in lines if each)
        fields = {name.lower(): text.strip() for name, _, text in pairs}
        path = line.split(" ")[1].partition("?")[0].removeprefix("/")
        self.requests.append(Request(time.time(), path, fields, number))
        writer.write(self._answer(path, fields))
        await writer.drain()
        name, _, rest = path.partition("/")
        if name in self.lives:
            return not self.lives[name].hangs_up(rest)
        self.hang_ups[path] -= 1
        return self.hang_ups[path] < 0

    def _answer(self, path: str, fields: dict[str, str]) -> bytes:
        if self.refused[path] > 0:
            self.refused[path] -= 1
            return self.refusal
        if path in self.pages:
            return self.pages[path](fields)
        name, _, rest = path.partition("/")
        if name in self.lives:
            return self.lives[name].answer(rest, fields)
        found = next((folder / path for folder in self.folders if (folder / path).is_file()), None)
        if found is None:
            return answer(b"", "404 Not Found")
        body = found.read_bytes()
        if "range" not in fields:
            return answer(body)
        first, last = fields["range"].removeprefix("bytes=").split("-")
        return answer(body[int(first) : int(last) + 1], "206 Partial Content")


def _playlist(show: Show, fields: dict[str, str]) -> bytes:
    text = show.playlist()
    tag = f'"{hash(text)}"'
    if fields.get("if-none-match") == tag:
        return f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()
    return answer(text.encode(), ETag=tag)


@contextmanager
def running() -> Iterator[Origin]:
    """An origin without pages on a free loopback port."""
    origin = Origin()
    origin.start()
    try:
        yield origin
    finally:
        origin.stop()
