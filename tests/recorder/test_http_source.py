"""Radios over HTTP, told apart by what comes, against servers that do what real ones do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import psutil
import pytest

from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.framing import framer_for
from streamrec.media.process import GRACE_SECONDS
from streamrec.models import CaptureMode, FileFormat, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Source, Title
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.sources import ffmpeg
from streamrec.recorder.sources.select import Sources
from tests.samples import sample
from tests.station import programs
from tests.station.clips import Clip
from tests.station.faulty import Fault, Station
from tests.station.scripted import End, Script, answer, redirect, serving

SECONDS = 15.0
MPEG = "Content-Type: audio/mpeg"


class Hurried(SystemClock):
    """A clock that runs fifteen times as fast."""

    def monotonic(self) -> float:
        return super().monotonic() * 15


def sources(folder: Path, *allow: str, clock: SystemClock | None = None, **options) -> Sources:
    clock = clock or SystemClock()
    resolver = Resolver(clock, allow)
    children = ffmpeg.Sources(programs.ffmpeg(), clock, allow, folder / "children", resolver)
    return Sources(resolver, clock, children, **options)


Act = Callable[[list[Event]], object]


async def _heard(opener: Sources, address: Address, act: Act) -> list[Event]:
    """All events of one attempt; `act` is called after each, and may end it by returning True."""
    source = opener.open(address)
    events: list[Event] = []
    async for event in source.events():
        events.append(event)
        if act(events) is True:
            await source.close()
    return events


def heard(opener: Sources, url: str, act: Act = lambda _: None, **address) -> list[Event]:
    return asyncio.run(asyncio.wait_for(_heard(opener, Address(url, **address), act), SECONDS))


def media(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Chunk))


def has_media(size: int) -> Act:
    return lambda events: len(media(events)) >= size


def opened(events: list[Event]) -> list[Opened]:
    return [event for event in events if isinstance(event, Opened)]


def played(tmp_path: Path, *scripts: Script) -> list[Event]:
    """All that comes from a server with these scripts."""
    with serving(*scripts) as server:
        return heard(sources(tmp_path, server.authority), server.url)


def test_a_radio_is_opened_read_and_closed(station: Station, noise: Clip, tmp_path: Path):
    """First what it is, then its own bytes without the titles between them, then exactly one end."""
    mount = station.add("a", noise)
    mount.title = "Now"

    events = heard(sources(tmp_path, f"127.0.0.1:{station.port}"), station.url("a"), has_media(80_000))

    kinds = [type(event) for event in events if not isinstance(event, Title)]
    assert (kinds[0], kinds[-1], kinds.count(Closed)) == (Opened, Closed, 1)
    assert opened(events) == [Opened(FileFormat.MP3, "mp3", "icy", is_continuous=True)]
    assert media(events) in mount.clip
    assert len(mount.connects) == 1


def test_titles_are_told_with_the_byte_at_which_they_stand(station: Station, noise: Clip, tmp_path: Path):
    """The first at once, the next when the station announces it."""
    mount = station.add("a", noise)
    mount.title = "First ☃"

    def retitle(events: list[Event]) -> bool:
        if isinstance(events[-1], Title):
            mount.title = "Second"
        return isinstance(events[-1], Title) and events[-1].text == "Second"

    events = heard(sources(tmp_path, f"127.0.0.1:{station.port}"), station.url("a"), retitle)

    titles = [event for event in events if isinstance(event, Title)]
    assert [title.text for title in titles] == ["First ☃", "Second"]
    assert titles[0].offset == 16_000
    assert titles[1].offset % 16_000 == 0


def test_a_station_that_hangs_up_has_ended_at_once(station: Station, noise: Clip, tmp_path: Path):
    """Not at the next tick: reconnecting starts now."""
    mount = station.add("a", noise)
    gone: list[float] = []

    def hang_up(events: list[Event]) -> None:
        if not gone and isinstance(events[-1], Chunk) and time.monotonic() - began > 3.2:
            gone.append(time.monotonic())
            mount.fault = Fault.END

    began = time.monotonic()
    events = heard(sources(tmp_path, f"127.0.0.1:{station.port}"), station.url("a"), hang_up)

    assert events[-1].reason is GapReason.SOURCE_ENDED
    assert time.monotonic() - gone[0] < 0.5


@pytest.mark.parametrize("end", [[], [End.RESET]])
def test_what_came_before_an_end_is_not_lost(tmp_path: Path, end: list[End]):
    """A close and a reset, a moment after the last bytes."""
    events = played(tmp_path, [answer(sample("mp3.mp3")[:40_000], MPEG), 0.3, *end])

    assert media(events) == sample("mp3.mp3")[:40_000]
    assert events[-1].reason is GapReason.SOURCE_ENDED


@pytest.mark.parametrize("start", ["ICY 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 200 OK"])
def test_every_dialect_is_spoken(tmp_path: Path, start: str):
    """And the request asks for titles."""
    with serving([answer(sample("aac.aac"), "content-type:audio/aacp", start=start)]) as server:
        events = heard(sources(tmp_path, server.authority), server.url)

    assert opened(events) == [Opened(FileFormat.AAC, "aac", "icy", is_continuous=True)]
    assert media(events) == sample("aac.aac")
    assert "\r\nIcy-MetaData: 1\r\n" in server.requests[0]


def test_chunks_are_taken_apart_before_titles(tmp_path: Path):
    """Their borders have nothing to do with each other."""
    data = sample("mp3.mp3")
    woven = b"".join(data[at : at + 8192] + b"\x02" + b"StreamTitle='A';".ljust(32, b"\0")
                     for at in range(0, 49_152, 8192))  # fmt: skip
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for at in range(0, len(woven), 1000)
              if (piece := woven[at : at + 1000])]  # fmt: skip
    head = answer(b"", MPEG, "Transfer-Encoding: chunked", "icy-metaint: 8192")

    events = played(tmp_path, [head, *chunks, b"0\r\n\r\n"])

    assert media(events) == data[:49_152]
    (title,) = [event for event in events if isinstance(event, Title)]
    assert (title.text, title.offset) == ("A", 8192)


def test_a_title_tells_how_much_media_came_before_it(tmp_path: Path):
    """By bytes, and by time: the stream has 128 kb/s."""
    data = sample("mp3.mp3")
    titles = {40_960: b"\x02" + b"StreamTitle='A';".ljust(32, b"\0")}
    woven = b"".join(data[at : at + 8192] + titles.get(at + 8192, b"\0") for at in range(0, 65_536, 8192))

    events = played(tmp_path, [answer(b"", MPEG, "icy-metaint: 8192"), woven])

    (title,) = [event for event in events if isinstance(event, Title)]
    assert (title.offset, title.media_seconds) == (40_960, pytest.approx(40_960 / 16_000, abs=0.03))


@pytest.mark.parametrize("fault", [Fault.END, Fault.DENY])
def test_what_is_denied_says_so(station: Station, noise: Clip, tmp_path: Path, fault: Fault):
    """404 and 403."""
    station.add("a", noise).fault = fault

    (closed,) = heard(sources(tmp_path, f"127.0.0.1:{station.port}"), station.url("a"))

    assert closed.reason is GapReason.SOURCE_DENIED


def test_a_server_that_asks_for_time_is_understood(tmp_path: Path):
    """503 with Retry-After."""
    (closed,) = played(tmp_path, [answer(b"", "Retry-After: 7", start="HTTP/1.1 503 Busy")])

    assert closed == Closed(GapReason.SOURCE_ERROR, "The server answered 503 Service Unavailable.", 7.0)


def test_an_address_that_is_not_for_recording_is_never_connected_to(station: Station, noise: Clip, tmp_path: Path):
    """The same server, not allowed."""
    mount = station.add("a", noise)

    (closed,) = heard(sources(tmp_path), station.url("a"))

    assert (closed.reason, mount.connects) == (GapReason.EGRESS_DENIED, [])


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>Hi", b"Sorry, we are closed. " * 40, b"", b"#EXTM3U\n"])
def test_what_is_no_media_is_refused(tmp_path: Path, body: bytes):
    """Whatever the server calls it, and with status 200."""
    (closed,) = played(tmp_path, [answer(body, MPEG)])

    assert closed.reason in ({GapReason.SOURCE_ENDED} if not body else {GapReason.NOT_MEDIA})


def test_music_that_is_called_a_page_is_recorded(tmp_path: Path):
    """Bytes count, names do not."""
    events = played(tmp_path, [answer(sample("mp3.mp3"), "Content-Type: text/html")])

    assert media(events) == sample("mp3.mp3")


@pytest.mark.parametrize(
    "playlist", ["[playlist]\r\nNumberOfEntries=1\r\nFile1={}\r\n", "#EXTM3U\n#EXTINF:-1,A\n{}\n", "{}"]
)
def test_a_playlist_leads_to_its_station(tmp_path: Path, playlist: str):
    """PLS, and M3U with and without a head."""
    with serving([answer(sample("mp3.mp3"), MPEG)]) as radio, serving([]) as directory:
        directory.then([answer(playlist.format(radio.url).encode())])
        events = heard(sources(tmp_path, radio.authority, directory.authority), directory.url)

    assert media(events) == sample("mp3.mp3")


def test_playlists_that_lead_to_playlists_are_left(tmp_path: Path):
    """Two deep, and no further."""
    with serving([]) as server:
        server.then(*([answer(f"{server.url}/{n}\n".encode())] for n in range(9)))
        (closed,) = heard(sources(tmp_path, server.authority), server.url)

    assert (closed.reason, len(server.requests)) == (GapReason.NOT_MEDIA, 3)


def test_a_playlist_may_not_lead_where_an_address_may_not(tmp_path: Path):
    """A station's list is as hostile as its stream."""
    with (
        serving([]) as secret,
        serving([answer(f"#EXTM3U\nfile:///etc/passwd\n{secret.url}\n".encode())]) as server,
    ):
        (closed,) = heard(sources(tmp_path, server.authority), server.url)

    assert (closed.reason, secret.requests) == (GapReason.EGRESS_DENIED, [])


@pytest.mark.parametrize(
    ("before", "after"), [("mp3.mp3", "aac.aac"), ("aac.aac", "mp3.mp3"), ("mp3.mp3", "vbr.mp3")]
)
def test_a_stream_that_becomes_another_begins_another_run(tmp_path: Path, before: str, after: str):
    """Another codec or sample rate; at most two frames at the border are lost."""
    pieces = [sample(before), sample(after)]
    events = played(tmp_path, [answer(b"", MPEG), *chain(*zip(pieces, repeat(0.4))), 0.4])

    first, second = opened(events)
    border = events.index(second, 1)
    parts = [media(events[:border]), media(events[border:])]
    assert b"".join(parts) == b"".join(pieces)
    for part, piece, start in zip(parts, pieces, (first, second), strict=True):
        assert 0 <= frames_in(piece, start.format) - frames_in(part, start.format) <= 2


def frames_in(data: bytes, format: FileFormat) -> int:  # noqa: A002 - the field's name
    framer = framer_for(format)
    return len(framer.feed(data)) + len(framer.flush())


def test_a_page_in_the_middle_is_no_change(tmp_path: Path):
    """The framer drops it; the run goes on."""
    data, page = sample("mp3.mp3"), b"<html><body>Back soon.</body></html>" * 200

    events = played(tmp_path, [answer(data, MPEG), 0.3, page, 0.3, data, 0.3])

    assert len(opened(events)) == 1
    assert media(events) == data + page + data


def test_a_certificate_of_nobody_will_do_where_the_channel_says_so(tmp_path: Path):
    """And nowhere else: nothing is asked of such a server."""
    data = sample("mp3.mp3")[:40_000]
    with serving([answer(data, MPEG)], certificate="good") as server:
        refused = heard(sources(tmp_path, server.authority), server.url)
        taken = heard(sources(tmp_path, server.authority), server.url, tls_verify=False)

    assert refused[-1].reason is GapReason.TLS
    assert (len(server.requests), media(taken)) == (1, data)


@pytest.mark.parametrize("name", ["layer2.mp3", "radio.ts", "flac.mp4"])
def test_what_is_neither_mp3_nor_adts_goes_through_a_pipe(tmp_path: Path, name: str):
    """Fed to an ffmpeg that has no address, and no more than what we give it."""
    commands: set[str] = set()

    def look(events: list[Event]) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # a zombie has none
                commands.add(" ".join(child.cmdline()))

    secret = Credentials("user", "canary")
    with serving([answer(sample(name)), 1.0]) as server:
        events = heard(sources(tmp_path, server.authority), server.url, look, credentials=secret)

    start, *_, closed = events
    assert start.source == "pipe"
    assert framer_for(start.format).feed(media(events))
    assert closed.reason is GapReason.SOURCE_ENDED
    assert any("pipe:0" in command for command in commands)
    assert not any("canary" in command or server.authority in command for command in commands)
    assert list((tmp_path / "children").iterdir()) == []


def test_an_ffmpeg_that_hangs_while_it_is_fed_has_two_seconds_to_leave(tmp_path: Path):
    """SIGSTOP, and the attempt is closed."""
    began: list[float] = []

    def hang(events: list[Event]) -> bool:
        if isinstance(events[-1], Opened):
            (child,) = (tmp_path / "children").iterdir()
            os.kill(int(child.name), signal.SIGSTOP)
            began.append(time.monotonic())
        return bool(began)

    with serving([answer(sample("layer2.mp3")), End.HOLD]) as server:
        heard(sources(tmp_path, server.authority), server.url, hang)

    assert GRACE_SECONDS <= time.monotonic() - began[0] < GRACE_SECONDS + 1
    assert list((tmp_path / "children").iterdir()) == []


class Elsewhere:
    """A source that says only that it was asked."""

    def __init__(self) -> None:
        self.asked: list[Address] = []

    def open(self, address: Address) -> Source:
        self.asked.append(address)
        return self

    async def events(self) -> AsyncIterator[Event]:
        yield Opened(FileFormat.TS, "h264", "hls")
        yield Closed(GapReason.SOURCE_ENDED, "The stream ended.")

    async def close(self) -> None:
        """There is nothing to end."""


def test_an_hls_playlist_is_handed_over_and_remembered(tmp_path: Path):
    """The second attempt asks nothing."""
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n"
    hls = Elsewhere()
    with serving([answer(playlist)]) as server:
        opener = sources(tmp_path, server.authority, hls=hls.open)
        first, second = heard(opener, server.url), heard(opener, server.url)

    assert first == second
    assert (hls.asked, len(server.requests)) == ([Address(server.url)] * 2, 1)


def test_a_channel_may_ask_for_ffmpeg(station: Station, noise: Clip, tmp_path: Path):
    """The mode decides before anything is asked."""
    station.add("a", noise)
    opener = sources(tmp_path, f"127.0.0.1:{station.port}")

    events = heard(opener, station.url("a"), has_media(1), mode=CaptureMode.FFMPEG)

    assert opened(events)[0].source == "ffmpeg"


def test_a_file_is_not_a_live_stream(tmp_path: Path):
    """Sent at once, with its length."""
    data = sample("mp3.mp3") * 10

    events = played(tmp_path, [answer(data, MPEG, f"Content-Length: {len(data)}")])

    assert events[-1].reason is GapReason.UNSUPPORTED


def test_a_stream_far_faster_than_it_plays_is_not_live(tmp_path: Path):
    """A minute of it, on a clock that runs fast, and a flood is not let in."""
    with serving([answer(b"", MPEG), *[sample("vbr.mp3") * 20] * 300, End.HOLD]) as server:
        clock = Hurried()
        events = heard(sources(tmp_path, server.authority, clock=clock), server.url)

    assert events[-1].reason is GapReason.UNSUPPORTED
    assert len(media(events)) < 2 << 20


@pytest.mark.parametrize(
    "script", [[End.HOLD], [answer(b"", MPEG), End.HOLD], [answer(b"OggS" + bytes(99)), End.HOLD]]
)
def test_an_attempt_can_be_given_up_at_any_time(tmp_path: Path, script: Script):
    """Before the answer, before the media, and while ffmpeg finds out what it is."""

    async def scenario(address: Address, opener: Sources) -> list[Event]:
        source = opener.open(address)
        asyncio.get_running_loop().call_later(0.4, lambda: asyncio.ensure_future(source.close()))
        return [event async for event in source.events()]

    with serving(script) as server:
        opener = sources(tmp_path, server.authority)
        events = asyncio.run(asyncio.wait_for(scenario(Address(server.url), opener), 3))

    assert [event.reason for event in events] == [GapReason.DISABLED]


def test_a_redirect_is_followed_to_the_station(tmp_path: Path):
    """The address stays what it was."""
    with serving([answer(sample("mp3.mp3"), MPEG)]) as radio, serving(redirect(radio.url)) as server:
        events = heard(sources(tmp_path, radio.authority, server.authority), server.url)

    assert media(events) == sample("mp3.mp3")
