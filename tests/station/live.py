"""A live HLS presentation without end, whose frames say their own number, and what it does instead of going on.

Segment k holds the same frames for ever, and is listed from the moment at which its last frame was on air.
"""

from __future__ import annotations

import base64
import enum
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from tests.station.hls import answer
from tests.station.journal import Journal
from tests.station.numbered_ts import NumberedPictures, NumberedSound

WINDOW: Final = 8  # segments that are listed
KEPT: Final = 4  # segments that are still served when they are not listed any more
VARIANTS: Final = {"h": 500_000, "l": 499_000}  # bits a second, as the master says: one encoder's, twice
MEDIA: Final = "h"  # which is in both
JUMP: Final = 1000
_OFFSET: Final = 7_000_000  # ticks by which a discontinuity moves the time stamps

Played = NumberedSound | NumberedPictures


class LiveFault(enum.StrEnum):
    """What a presentation does for a while."""

    AWAY = "answers 503 to everything"
    FROZEN = "serves its playlists as they were"
    GONE = "answers 404 for every segment"
    BROKEN = "answers 500 for every segment"
    TORN = "ends the connection in the middle of every segment"
    VARIANT = "answers 404 for the variant that was asked for last"


@dataclass
class Part:
    """The programme, as the content ledger wants it."""

    number: int
    programme: Played


@dataclass
class Live:
    """One presentation. Its fields may be set from any thread."""

    name: str
    programme: Played
    journal: Journal
    zero: float = field(default_factory=lambda: time.time() - 2 * WINDOW)
    """Seconds since 1970 at which frame 0 began: there is a whole window from the first request on."""
    credentials: str | None = None  # "user:password" that are asked for
    _fault: LiveFault | None = None
    _frozen_at: int = 0
    _numbered: int = 0
    """What is added to a segment's number in the playlist."""
    _breaks: list[int] = field(default_factory=list)  # the segments before which time stamps jump
    _asked: str = "h"  # the variant whose playlist was asked for last
    _lost: str = ""

    @property
    def parts(self) -> list[Part]:
        """One, which never ends."""
        return [Part(0, self.programme)]

    @property
    def seconds(self) -> float:
        """The length of a segment."""
        return self.programme.segment_frames * self.programme.frame_seconds

    def on_air(self, frame: int) -> datetime:
        """When a frame began."""
        return datetime.fromtimestamp(self.zero + frame * self.programme.frame_seconds, UTC)

    # --- what is done to it

    @property
    def fault(self) -> LiveFault | None:
        """What it does instead of going on."""
        return self._fault

    @fault.setter
    def fault(self, fault: LiveFault | None) -> None:
        self._frozen_at, self._lost = self._complete(), self._asked
        self.journal.note(self.name, "fault", fault=fault.name if fault else None)
        self._fault = fault

    def reset(self) -> None:
        """Number the segments from 0 again, the oldest that is listed first."""
        self._renumber(-self._listed().start, "reset")

    def jump(self) -> None:
        """Number the segments a thousand higher."""
        self._renumber(self._numbered + JUMP, "jump")

    def step_back(self) -> None:
        """Number the segments three lower, as an edge that lags behind would."""
        self._renumber(max(self._numbered - 3, -self._listed().start), "step_back")

    def _renumber(self, added: int, what: str) -> None:
        self.journal.note(self.name, what, before=self._numbered, after=added)
        self._numbered = added

    def break_off(self) -> None:
        """Let the time stamps jump before the next segment, and say so."""
        at = self._complete() + 1
        self.journal.note(self.name, "discontinuity", segment=at)
        self._breaks.append(at)

    # --- what is answered

    def answer(self, path: str, fields: Mapping[str, str]) -> bytes:
        """To a request for `path` below the presentation's name, with these header fields."""
        name, _, rest = path.partition("/")
        if self.credentials is not None and fields.get("authorization") != basic(self.credentials):
            return answer(b"", "401 Unauthorized", WWW_Authenticate='Basic realm="live"')
        if self._fault is LiveFault.AWAY:
            return answer(b"", "503 Service Unavailable", Retry_After="2")
        if name == "live.m3u8":
            return answer(self._master().encode())
        if name not in VARIANTS or (self._fault is LiveFault.VARIANT and name == self._lost):
            return answer(b"", "404 Not Found")
        if rest == "live.m3u8":
            self._asked = name
            return answer(self._playlist().encode())
        return self._segment(int(rest.partition(".")[0]))

    def _master(self) -> str:
        lines = ["#EXTM3U"]
        for name, rate in VARIANTS.items():
            lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={rate}", f"{name}/live.m3u8"]
        return "\n".join([*lines, ""])

    def _playlist(self) -> str:
        listed = self._listed()
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{max(1, round(self.seconds))}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{max(0, listed.start + self._numbered)}")
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{bisect_right(self._breaks, listed.start - 1)}")
        for number in listed:
            lines += ["#EXT-X-DISCONTINUITY"] if number in self._breaks else []
            lines += [f"#EXTINF:{self.seconds:.5f},", f"{number}.{self.programme.suffix}"]
        return "\n".join([*lines, ""])

    def _segment(self, number: int) -> bytes:
        listed = self._listed()
        if self._fault in {LiveFault.GONE, LiveFault.BROKEN}:
            is_gone = self._fault is LiveFault.GONE
            return answer(b"", "404 Not Found" if is_gone else "500 Internal Server Error")
        if not listed.start - KEPT <= number < self._complete():
            return answer(b"", "404 Not Found")
        offset = _OFFSET * bisect_right(self._breaks, number)
        whole = answer(self.programme.segment(number, MEDIA, offset))
        return whole[: len(whole) // 2] if self._fault is LiveFault.TORN else whole

    def hangs_up(self, path: str) -> bool:
        """Whether the connection ends behind this answer."""
        return self._fault is LiveFault.TORN and not path.endswith(".m3u8")

    def _complete(self) -> int:
        """How many segments have been on air."""
        return int((time.time() - self.zero) / self.seconds)

    def _listed(self) -> range:
        end = self._frozen_at if self._fault is LiveFault.FROZEN else self._complete()
        return range(max(0, end - WINDOW), end)


def basic(credentials: str) -> str:
    """The header field that carries "user:password" (RFC 7617)."""
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"
