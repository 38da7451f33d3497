"""RTSP, SRT and UDP through real ffmpeg children: what comes, what does not, and what anybody may read of it.

All attempts run beside each other, because most of them wait for a time-out; each test then states one claim.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.sources.ffmpeg import Sources
from tests.station import clips, programs, pushed
from tests.station.pushed import PASSPHRASE, PASSWORD, Television
from tests.station.scripted import End, Scripted, serving

pytestmark = pytest.mark.timeout(180)

ANN = Credentials("ann", PASSWORD)
ENOUGH = 60_000  # bytes: about two seconds
LONGEST = 60.0  # s, for any attempt
NOT_FOLLOWED = "The server sends elsewhere, which is not followed over RTSP."


@dataclass
class Attempt:
    """One attempt at an address, and what `act` did to its server once there was media."""

    url: str
    credentials: Credentials | None = None
    act: Callable[[], object] | None = None
    events: list[Event] = field(default_factory=list)
    acted_at: float = 0.0
    took: float = 0.0  # s, from the act, or else from the beginning, to the end

    @property
    def closed(self) -> Closed:
        last = self.events[-1]
        assert isinstance(last, Closed)
        return last

    @property
    def media(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Chunk))


@dataclass
class Story:
    """What came of everything."""

    attempts: dict[str, Attempt]
    folder: Path
    clip: clips.Clip
    inside: Scripted
    seen: set[str] = field(default_factory=set)
    """Command lines and environments of children."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Everything that the tests below look at, after it has happened."""
    folder = tmp_path_factory.mktemp("pushed")
    clip = clips.make_television(folder, 60)
    with ExitStack() as stack:
        inside = stack.enter_context(serving([b"", End.HOLD]))
        told = Story(_attempts(stack, folder, clip, inside), folder, clip, inside)
        asyncio.run(_happen(told, clip))
        yield told


def _attempts(stack: ExitStack, folder: Path, clip: clips.Clip, inside: Scripted) -> dict[str, Attempt]:
    guarded = stack.enter_context(pushed.rtsp(folder, clip, PASSWORD))
    dying, halting = (stack.enter_context(pushed.rtsp(folder, clip, is_watched=False)) for _ in range(2))
    safe, srt_dying, srt_halting = (stack.enter_context(pushed.srt(folder, clip, w)) for w in (PASSPHRASE, "", ""))
    other = stack.enter_context(pushed.srt(folder, clip, PASSPHRASE))
    back = stack.enter_context(pushed.srt(folder, clip, PASSPHRASE, start=30))
    sent, ending = (stack.enter_context(pushed.udp(folder, clip)) for _ in range(2))
    away = f"Location: rtsp://{inside.authority}/x"
    leading = stack.enter_context(serving([f"RTSP/1.0 302 Moved\r\nCSeq: 1\r\n{away}\r\n\r\n".encode(), End.HOLD]))
    plain = f"rtsp://127.0.0.1:{guarded.port}/tv"
    for gone in (dying, halting, srt_dying, srt_halting):
        stack.callback(gone.process.kill)  # who is stopped hears nothing else
    nobody = f"127.0.0.1:{programs.free_port()}"
    return {
        "rtsp": Attempt(plain, ANN),
        "rtsp, wrong password": Attempt(plain, Credentials("ann", "other")),
        "rtsp, no password": Attempt(plain),
        "rtsp, away": Attempt(f"rtsp://{nobody}/tv"),
        "rtsp, dies": Attempt(dying.url, act=_ended(dying, signal.SIGKILL)),
        "rtsp, halts": Attempt(halting.url, act=_ended(halting, signal.SIGSTOP)),
        "rtsp, leads away": Attempt(f"rtsp://{leading.authority}/tv"),
        "srt": Attempt(safe.url),
        "srt, wrong passphrase": Attempt(other.url.replace(PASSPHRASE, "abcabcabcabc")),
        "srt, no passphrase": Attempt(other.url.partition("?")[0]),
        "srt, away": Attempt(f"srt://{nobody}"),
        "srt, dies": Attempt(srt_dying.url, act=_ended(srt_dying, signal.SIGKILL)),
        "srt, halts": Attempt(srt_halting.url, act=_ended(srt_halting, signal.SIGSTOP)),
        "srt, goes back": Attempt(back.url, act=lambda: _begin_anew(stack, folder, clip, back)),
        "udp": Attempt(sent.url),
        "udp, away": Attempt(f"udp://{nobody}"),
        "udp, ends": Attempt(ending.url, act=_ended(ending, signal.SIGKILL)),
    }


def _ended(television: Television, number: signal.Signals) -> Callable[[], None]:
    return lambda: television.process.send_signal(number)


def _begin_anew(stack: ExitStack, folder: Path, clip: clips.Clip, television: Television) -> None:
    """The encoder is started again, and knows nothing of the time that was."""
    assert television.feeding is not None
    television.feeding.kill()
    stack.enter_context(pushed.udp(folder, clip, television.fed))


async def _happen(told: Story, clip: clips.Clip) -> None:
    allowed = tuple({attempt.url.partition("://")[2].partition("/")[0].partition("?")[0]
                     for attempt in told.attempts.values()})  # fmt: skip
    clock = SystemClock()
    opener = Sources(programs.ffmpeg(), clock, allowed, told.folder / "children", Resolver(clock, allowed))
    looking = asyncio.ensure_future(_look(told))
    try:
        async with asyncio.timeout(LONGEST):
            await asyncio.gather(*(_attempted(opener, attempt) for attempt in told.attempts.values()))
    finally:
        looking.cancel()


async def _attempted(opener: Sources, attempt: Attempt) -> None:
    source = opener.open(Address(attempt.url, attempt.credentials))
    began = time.monotonic()
    size = 0
    async for event in source.events():
        attempt.events.append(event)
        size += len(event.data) if isinstance(event, Chunk) else 0
        if size >= ENOUGH and not attempt.acted_at:
            attempt.acted_at = time.monotonic()
            if attempt.act is None:
                await source.close()
            else:
                attempt.act()
    attempt.took = time.monotonic() - (attempt.acted_at or began)


async def _look(told: Story) -> None:
    """Read what everybody may read of our children, again and again."""
    while True:
        for child in psutil.Process().children():
            try:
                if child.name().startswith("ffmpeg-") and "pipe:1" in (line := child.cmdline()):
                    told.seen.add(" ".join([*line, *(f"{k}={v}" for k, v in child.environ().items())]))
            except psutil.Error:
                pass  # it ended meanwhile
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", ["rtsp", "srt", "udp"])
def test_the_station_s_own_frames_come_through(story: Story, name: str, tmp_path: Path):
    """Pictures in order from the first, none lost or invented; sound likewise."""
    attempt = story.attempts[name]
    path = tmp_path / "media.ts"
    path.write_bytes(attempt.media)

    pictures = clips.numbered(clips.frame_hashes(path, video=True), story.clip)

    assert Opened(FileFormat.TS, "h264+aac") in attempt.events
    assert pictures == list(range(pictures[0], pictures[0] + len(pictures)))
    assert (pictures[0] >= 0, len(pictures) >= 12) == (True, True)


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("rtsp, wrong password", GapReason.SOURCE_DENIED, "The server answered 401 (Unauthorized)."),
        ("rtsp, no password", GapReason.SOURCE_DENIED, "The server answered 401 (Unauthorized)."),
        ("rtsp, away", GapReason.SOURCE_REFUSED, "The connection was refused."),
        ("rtsp, dies", GapReason.SOURCE_ENDED, "The stream ended."),
        ("rtsp, halts", GapReason.STALLED, "Nothing came for too long."),
        ("rtsp, leads away", GapReason.EGRESS_DENIED, NOT_FOLLOWED),
        ("srt, wrong passphrase", GapReason.SOURCE_DENIED, "The passphrase is wrong, or missing."),
        ("srt, no passphrase", GapReason.SOURCE_DENIED, "The passphrase is wrong, or missing."),
        ("srt, away", GapReason.SOURCE_REFUSED, "The server did not answer, or turned the call away."),
        ("srt, dies", GapReason.STALLED, "Nothing came for too long."),
        ("srt, halts", GapReason.STALLED, "Nothing came for too long."),
        ("srt, goes back", GapReason.SOURCE_ERROR, "The stream's time stamps went back."),
        ("udp, away", GapReason.STALLED, "Nothing came for too long."),
        ("udp, ends", GapReason.STALLED, "Nothing came for too long."),
    ],
)
def test_what_goes_wrong_is_told(story: Story, name: str, reason: GapReason, detail: str):
    """Each failure of a server has its own words, and no address in them."""
    closed = story.attempts[name].closed

    assert (closed.reason, closed.detail) == (reason, detail)


@pytest.mark.parametrize(
    "name", ["rtsp, dies", "rtsp, halts", "srt, dies", "srt, halts", "srt, goes back", "udp, ends"]
)
def test_a_server_that_is_gone_is_noticed(story: Story, name: str):
    """Twice five seconds of silence at the most, over RTSP; a capture's watchdog waits for less."""
    assert story.attempts[name].took < 13


def test_no_secret_can_be_read_from_a_list_of_processes(story: Story):
    """Neither from command lines nor from environments; they were looked at while all this went on."""
    assert len(story.seen) > 3
    assert not [
        line for line in story.seen for secret in (PASSWORD, "s3cret", PASSPHRASE, "ann:") if secret in line
    ]


def test_a_server_that_leads_inside_is_left(story: Story):
    """ffmpeg follows an RTSP redirect by itself, whatever it may open; it is ended before it has media."""
    assert story.attempts["rtsp, leads away"].media == b""
    assert len(story.inside.requests) <= 1


def test_no_child_is_left(story: Story):
    """However an attempt ended."""
    assert list((story.folder / "children").glob("*")) == []


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("rtsp://10.0.0.1:8554/tv", "private"),
        ("rtsps://[::1]:322/tv", "loopback"),
        ("srt://192.168.1.2:9000", "private"),
        ("udp://239.1.2.3:5000", "multicast"),
        ("udp://[ff02::1]:5000", "multicast"),
        ("udp://127.0.0.1:5000", "loopback"),
    ],
)
def test_egress_rules_hold_before_a_child_is_started(url: str, rule: str, tmp_path: Path):
    """A multicast group, too, must be allowed by name."""
    clock = SystemClock()

    async def scenario() -> Attempt:
        attempt = Attempt(url)
        resolver = Resolver(clock, ())
        await _attempted(Sources(os.devnull, clock, (), tmp_path / "children", resolver), attempt)
        return attempt

    closed = asyncio.run(scenario()).closed

    assert closed.reason is GapReason.EGRESS_DENIED
    assert rule in closed.detail
