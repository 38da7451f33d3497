"""A second pair of ears: hears a radio beside the recorder and knows when each frame was on air."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.station import programs
from tests.station.clips import MP3_FRAME_BYTES, MP3_FRAME_SECONDS, VIDEO_RATE, Clip


@dataclass(frozen=True)
class Heard:
    """How many bytes had arrived at a moment (seconds since 1970)."""

    count: int
    at: float


class Listener:
    """Reads a stream of a clip's MP3 frames and notes every arrival, until closed or the station stops."""

    def __init__(self, port: int, path: str, *, frame_bytes: int = MP3_FRAME_BYTES) -> None:
        self._frame_bytes = frame_bytes
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        self._data = bytearray()
        self._heard: list[Heard] = []
        self._thread = threading.Thread(target=self._until_it_ends, daemon=True)
        self._thread.start()

    def _until_it_ends(self) -> None:
        with suppress(OSError):  # a station that goes may reset the connection
            self._listen()

    def _listen(self) -> None:
        head, found, body = b"", b"", b""
        while not found:
            head += self._socket.recv(65536)
            _, found, body = head.partition(b"\r\n\r\n")
        while True:
            if body:
                self._data += body
                self._heard.append(Heard(len(self._data), time.time()))
            body = self._socket.recv(65536)
            if not body:
                return

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def on_air(self, clip: Clip, frame: int) -> datetime:
        """When frame `frame` began, from the arrivals.

        A server sends in blocks, so a frame's arrival is late by up to a block; the least late of all blocks shows
        when media time zero was, and the clip's own pace does the rest. The burst at the start is older than its
        arrival says, which makes it look later, never earlier.
        """
        offset = self._offset(clip)
        zero = min(
            heard.at - (heard.count + offset) / self._frame_bytes * MP3_FRAME_SECONDS for heard in self._heard
        )
        return datetime.fromtimestamp(zero + frame * MP3_FRAME_SECONDS, UTC)

    def _offset(self, clip: Clip) -> int:
        """Where in the clip the first byte that was heard lies."""
        found = clip.path.read_bytes().find(bytes(self._data[: 4 * self._frame_bytes]))
        assert found >= 0, "what was heard is not the clip"
        return found


class Watcher:
    """Sees a television beside the recorder: ffmpeg hashes each picture, and we note when."""

    def __init__(self, url: str) -> None:
        command = [programs.ffmpeg(), "-v", "error", "-nostdin", "-threads", "1", "-i", url, "-map", "0:v:0"]
        command += ["-fps_mode", "passthrough", "-flush_packets", "1", "-f", "framemd5", "-"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            preexec_fn=programs.die_with_us,
        )  # fmt: skip
        self._seen: list[tuple[str, float]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith("#"):
                self._seen.append((line.rsplit(",", 1)[1].strip(), time.time()))

    def close(self) -> None:
        """Stop watching."""
        self._process.kill()
        self._thread.join(5)
        self._process.communicate()

    def on_air(self, clip: Clip, frame: int) -> datetime:
        """When picture `frame` was shown, from the least late of all that were seen."""
        zero = min(at - (clip.index[digest] + 1) / VIDEO_RATE for digest, at in self._seen if digest in clip.index)
        return datetime.fromtimestamp(zero + frame / VIDEO_RATE, UTC)
