"""The source for any URL, with real ffmpeg children against a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.media import process
from streamrec.media.process import GRACE_SECONDS
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Title
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.sources.ffmpeg import Sources
from tests.station import programs
from tests.station.clips import Clip
from tests.station.faulty import Fault, Station

SECONDS = 15.0


def sources(folder: Path, *ports: int) -> Sources:
    allowed = tuple(f"127.0.0.1:{port}" for port in ports)
    clock = SystemClock()
    return Sources(programs.ffmpeg(), clock, allowed, folder / "children", Resolver(clock, allowed))


Act = Callable[[list[Event]], bool]


async def _heard(opener: Sources, address: Address, act: Act) -> list[Event]:
    """All events of one attempt; `act` is called after each, and may end it by returning True."""
    source = opener.open(address)
    heard: list[Event] = []
    async for event in source.events():
        heard.append(event)
        if act(heard):
            await source.close()
    return heard


def heard(
    opener: Sources, url: str, act: Act = lambda _: False, credentials: Credentials | None = None
) -> list[Event]:
    return asyncio.run(asyncio.wait_for(_heard(opener, Address(url, credentials), act), SECONDS))


def media(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Chunk))


def has_media(size: int) -> Act:
    return lambda events: len(media(events)) >= size


def test_a_radio_is_opened_read_and_closed(station: Station, noise: Clip, tmp_path: Path):
    """First what it is, then its own bytes, then exactly one end."""
    mount = station.add("a", noise)

    events = heard(sources(tmp_path, station.port), station.url("a"), has_media(80_000))

    kinds = [type(event) for event in events if not isinstance(event, Title)]
    assert kinds[0] is Opened
    assert kinds.count(Opened) == kinds.count(Closed) == 1
    assert kinds[-1] is Closed
    assert events[[type(event) for event in events].index(Opened)] == Opened(
        FileFormat.MP3, "mp3", is_continuous=True
    )
    assert media(events) in mount.clip


def test_titles_are_told_when_they_change(station: Station, noise: Clip, tmp_path: Path):
    """The first at once, the next when the station announces it."""
    mount = station.add("a", noise)
    mount.title = "First ☃"

    def retitle(events: list[Event]) -> bool:
        if has_media(1)(events):
            mount.title = "Second"
        return events[-1] == Title("Second")

    events = heard(sources(tmp_path, station.port), station.url("a"), retitle)

    titles = [event.text for event in events if isinstance(event, Title)]
    assert titles[0] == "First ☃"
    assert titles[-1] == "Second"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.END, GapReason.SOURCE_DENIED), (Fault.DENY, GapReason.SOURCE_DENIED)],
)
def test_what_cannot_be_opened_says_why(
    station: Station, noise: Clip, tmp_path: Path, fault: Fault, reason: GapReason
):
    """404 and 403."""
    station.add("a", noise).fault = fault

    (closed,) = heard(sources(tmp_path, station.port), station.url("a"))

    assert closed.reason is reason


def test_a_port_that_nobody_listens_on_refuses(tmp_path: Path):
    """Refused at once, and said so."""
    port = programs.free_port()

    assert heard(sources(tmp_path, port), f"http://127.0.0.1:{port}/") == [
        Closed(GapReason.SOURCE_REFUSED, "The connection was refused.")
    ]


def test_a_name_that_does_not_resolve(tmp_path: Path):
    """RFC 2606 keeps .invalid free."""
    (closed,) = heard(sources(tmp_path), "http://station.invalid/")

    assert closed.reason is GapReason.DNS


def test_an_address_that_is_not_for_recording_is_never_connected_to(station: Station, noise: Clip, tmp_path: Path):
    """The same server, not allowed."""
    mount = station.add("a", noise)

    (closed,) = heard(sources(tmp_path), station.url("a"))

    assert closed.reason is GapReason.EGRESS_DENIED
    assert mount.connects == []


def test_a_station_that_hangs_up_has_ended(station: Station, noise: Clip, tmp_path: Path):
    """ffmpeg's exit status says nothing of it."""
    mount = station.add("a", noise)

    def hang_up(events: list[Event]) -> bool:
        if has_media(1)(events):
            mount.fault = Fault.END
        return False

    events = heard(sources(tmp_path, station.port), station.url("a"), hang_up)

    assert events[-1].reason is GapReason.SOURCE_ENDED  # with a word for an end or a reset, as the kernel has it


def _child(folder: Path) -> int:
    return int(next((folder / "children").iterdir()).name)


def test_a_killed_child_is_a_crash_and_leaves_nothing(station: Station, noise: Clip, tmp_path: Path):
    """kill -9 of ffmpeg."""
    station.add("a", noise)

    def kill(events: list[Event]) -> bool:
        if isinstance(events[-1], Opened):
            os.kill(_child(tmp_path), signal.SIGKILL)
        return False

    events = heard(sources(tmp_path, station.port), station.url("a"), kill)

    assert events[-1].reason is GapReason.CAPTURE_CRASHED
    assert list((tmp_path / "children").iterdir()) == []


def test_a_hung_child_is_killed_two_seconds_after_close(station: Station, noise: Clip, tmp_path: Path):
    """SIGSTOP: it cannot even end itself."""
    station.add("a", noise)
    pids: list[int] = []
    closed_at = 0.0

    def hang(events: list[Event]) -> bool:
        nonlocal closed_at
        if has_media(1)(events) and not pids:
            pids.append(_child(tmp_path))
            os.kill(pids[0], signal.SIGSTOP)
            closed_at = time.monotonic()
            return True
        return False

    heard(sources(tmp_path, station.port), station.url("a"), hang)

    assert GRACE_SECONDS <= time.monotonic() - closed_at < GRACE_SECONDS + 1
    assert process.started(pids[0]) is None


def test_a_reconnect_does_not_probe_again(station: Station, noise: Clip, tmp_path: Path):
    """Probe and capture connect, the second attempt only captures."""
    mount = station.add("a", noise)
    opener = sources(tmp_path, station.port)

    first = heard(opener, station.url("a"), has_media(1))
    connects = len(mount.connects)
    second = heard(opener, station.url("a"), has_media(1))

    assert first[-1] == second[-1]
    assert (connects, len(mount.connects)) == (2, 3)


def test_an_attempt_can_be_given_up_while_it_is_finding_out(tmp_path: Path):
    """The server is silent, and stopping does not wait for it."""

    async def scenario(port: int) -> list[Event]:
        source = sources(tmp_path, port).open(Address(f"http://127.0.0.1:{port}/"))
        asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(source.close()))
        return [event async for event in source.events()]

    with socket.create_server(("127.0.0.1", 0)) as server:
        events = asyncio.run(asyncio.wait_for(scenario(server.getsockname()[1]), 3))

    assert [type(event) for event in events] == [Closed]
    assert list((tmp_path / "children").iterdir()) == []


def test_credentials_are_sent_and_never_told(tmp_path: Path):
    """The server asks, gets them, and refuses; they are in no event."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    requests.append(connection.recv(4096))
                    connection.sendall(
                        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
                    )

        threading.Thread(target=serve, daemon=True).start()
        events = heard(
            sources(tmp_path, port), f"http://127.0.0.1:{port}/x", credentials=Credentials("us er", "canary@")
        )
        server.shutdown(socket.SHUT_RDWR)

    assert any(b"Authorization: Basic dXMgZXI6Y2FuYXJ5QA==" in request for request in requests)
    assert events[-1].reason is GapReason.SOURCE_DENIED
    assert "canary" not in repr(events)
