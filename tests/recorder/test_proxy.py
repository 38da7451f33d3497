"""The way out of an ffmpeg that speaks HTTP by itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import psutil
import pytest

from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.models import CaptureMode, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event
from streamrec.recorder.fetch import proxy
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.fetch.proxy import Proxy
from streamrec.recorder.sources.ffmpeg import Sources
from tests.station import programs
from tests.station.clips import Clip
from tests.station.faulty import Station
from tests.station.scripted import TLS, End, answer, redirect, serving


def through(allow: list[str], story: Callable[[Proxy], Awaitable[bytes]]) -> tuple[bytes, GapReason | None]:
    """What a story beside a proxy returns, and why the proxy refused the last connection, if it did."""

    async def scenario() -> tuple[bytes, GapReason | None]:
        async with proxy.opened(
            Resolver(SystemClock(), tuple(allow)), Address("http://elsewhere.invalid/")
        ) as way:
            told = await story(way)
            return told, way.refused and way.refused.reason

    return asyncio.run(asyncio.wait_for(scenario(), 15))


def asking(request: str) -> Callable[[Proxy], Awaitable[bytes]]:
    async def ask(way: Proxy) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(request.encode())
        told = await reader.read()
        writer.close()
        return told

    return ask


def test_a_request_reaches_the_server_as_its_own() -> None:
    """In origin form, for one answer, without what was meant for the proxy or stands in the address."""
    with serving([answer(b"media")]) as server:
        request = (
            f"GET http://ann:secret@{server.authority}/live?x=1 HTTP/1.1\r\nHost: {server.authority}\r\n"
            "Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nRange: bytes=0-\r\n\r\n"
        )
        told, refused = through([server.authority], asking(request))

    assert (told, refused) == (answer(b"media"), None)
    assert server.requests == [
        f"GET /live?x=1 HTTP/1.1\r\nHost: {server.authority}\r\nRange: bytes=0-\r\nConnection: close\r\n\r\n"
    ]


@pytest.mark.parametrize("form", ["GET http://{}/ HTTP/1.1\r\n\r\n", "CONNECT {} HTTP/1.1\r\n\r\n"])
def test_an_address_that_is_not_for_recording_is_never_connected_to(form: str) -> None:
    with serving([answer(b"media")]) as server:
        told, refused = through([], asking(form.format(server.authority)))

    assert (told.split(b"\r\n")[0], refused) == (b"HTTP/1.1 403 Forbidden", GapReason.EGRESS_DENIED)
    assert server.requests == []


@pytest.mark.parametrize(
    "request_text",
    [
        "GET file:///etc/passwd HTTP/1.1\r\n\r\n",
        "GET /etc/passwd HTTP/1.1\r\n\r\n",
        "CONNECT nowhere HTTP/1.1\r\n\r\n",
        "CONNECT a@b:443/../x HTTP/1.1\r\n\r\n",
    ],
)
def test_an_address_that_cannot_be_read_is_refused(request_text: str) -> None:
    told, refused = through([], asking(request_text))

    assert (told.split(b"\r\n")[0], refused) == (b"HTTP/1.1 403 Forbidden", GapReason.EGRESS_DENIED)


def test_what_is_no_request_gets_no_answer() -> None:
    assert through([], asking("\x16\x03\x01 hello\r\n\r\n")) == (b"", None)


def test_a_port_that_nobody_listens_on_is_a_bad_gateway() -> None:
    port = programs.free_port()
    told, refused = through([f"127.0.0.1:{port}"], asking(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n"))

    assert (told.split(b"\r\n")[0], refused) == (b"HTTP/1.1 502 Bad Gateway", GapReason.SOURCE_REFUSED)


def test_tls_passes_through_a_tunnel_unread() -> None:
    context = ssl.create_default_context(cafile=str(TLS / "authority.pem"))

    with serving([answer(b"media")], certificate="good") as server:

        async def talk(way: Proxy) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
            writer.write(f"CONNECT {server.authority} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await writer.start_tls(context, server_hostname="127.0.0.1")
            writer.write(b"GET /live HTTP/1.1\r\n\r\n")
            told = await reader.readuntil(b"media")
            writer.close()
            return told

        assert through([server.authority], talk)[0] == answer(b"media")


def test_connections_end_with_the_proxy() -> None:
    """Nothing of an attempt outlives it."""
    with serving([answer(b"media"), End.HOLD]) as server:

        async def scenario() -> bytes:
            resolver = Resolver(SystemClock(), (server.authority,))
            async with proxy.opened(resolver, Address(f"http://{server.authority}/")) as way:
                reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
                writer.write(f"GET http://{server.authority}/ HTTP/1.1\r\n\r\n".encode())
                await reader.readuntil(b"media")
            rest = await reader.read()
            writer.close()
            return rest

        assert asyncio.run(asyncio.wait_for(scenario(), 15)) == b""


def test_a_connection_that_is_cut_is_no_error_of_the_loop() -> None:
    told: list[dict[str, object]] = []
    with serving([answer(b"media"), End.HOLD]) as server:

        async def scenario() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
            resolver = Resolver(SystemClock(), (server.authority,))
            async with proxy.opened(resolver, Address(f"http://{server.authority}/")) as way:
                reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
                writer.write(f"GET http://{server.authority}/ HTTP/1.1\r\n\r\n".encode())
                await reader.readuntil(b"media")
            await reader.read()
            writer.close()

        asyncio.run(asyncio.wait_for(scenario(), 15))

    assert told == []


# --- with ffmpeg behind it


def captured(
    folder: Path,
    url: str,
    allow: list[str],
    credentials: Credentials | None = None,
    *,
    tls_verify: bool = True,
    look: Callable[[], None] = lambda: None,
) -> list[Event]:
    """The events of an attempt by ffmpeg, up to 80 kB of media."""

    async def scenario() -> list[Event]:
        clock = SystemClock()
        resolver = Resolver(clock, tuple(allow))
        sources = Sources(programs.ffmpeg(), clock, tuple(allow), folder / "children", resolver)
        source = sources.open(Address(url, credentials, CaptureMode.FFMPEG, tls_verify))
        events: list[Event] = []
        async for event in source.events():
            events.append(event)
            look()
            if sum(len(each.data) for each in events if isinstance(each, Chunk)) >= 80_000:
                await source.close()
        return events

    return asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_radio_comes_through(station: Station, noise: Clip, tmp_path: Path) -> None:
    mount = station.add("a", noise)

    events = captured(tmp_path, station.url("a"), [f"127.0.0.1:{station.port}"])

    media = b"".join(event.data for event in events if isinstance(event, Chunk))
    assert len(media) >= 80_000
    assert media[:4096] in noise.path.read_bytes() or media[417:4096] in noise.path.read_bytes()
    assert mount.connects


def test_media_comes_when_it_came_here_and_not_when_ffmpeg_gives_it(noise: Clip, tmp_path: Path) -> None:
    """The station falls silent before that ffmpeg, which looks at the beginning first, has given anything."""
    media = noise.path.read_bytes()
    head = answer(b"", "Content-Type: audio/mpeg")
    early = media[: 20 * 417]
    with serving([head + media], [head + early, 3.0, media[len(early) : 100_000], End.HOLD]) as server:
        events = captured(tmp_path, server.url, [server.authority])

    chunks = [event for event in events if isinstance(event, Chunk)]
    at = dict(zip(accumulate(len(chunk.data) for chunk in chunks), (c.received_at for c in chunks), strict=True))
    came_early = {came_at for size, came_at in at.items() if size <= len(early)}
    came_late = {came_at for size, came_at in at.items() if size > len(early)}
    assert came_early
    assert min(came_late) - max(came_early) > 2.5


def test_a_redirect_does_not_lead_out(tmp_path: Path) -> None:
    """ffmpeg follows it, and does not get there."""
    with serving([answer(b"secret")]) as inside, serving(redirect(inside.url)) as outside:
        events = captured(tmp_path, outside.url, [outside.authority])

    assert [type(event) for event in events] == [Closed]
    assert events[0].reason is GapReason.EGRESS_DENIED
    assert inside.requests == []


def test_a_playlist_does_not_lead_out(tmp_path: Path) -> None:
    """Its segments are asked for one by one, and so is each of their addresses."""
    with serving([answer(b"secret")]) as inside:
        playlist = (
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n"
            f"#EXTINF:2,\nhttp://{inside.authority}/1.ts\n#EXTINF:2,\nhttp://{inside.authority}/2.ts\n"
        ).encode()
        fields = ("Content-Type: application/vnd.apple.mpegurl", f"Content-Length: {len(playlist)}")
        with serving([answer(playlist, *fields)]) as outside:
            url = outside.url + ".m3u8"
            events = captured(tmp_path, url, [outside.authority])

    assert events[-1].reason is GapReason.EGRESS_DENIED
    assert inside.requests == []


def commands_of_children() -> set[str]:
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            found.add(" ".join(child.cmdline()))
    return found


def test_the_password_reaches_the_server_and_no_command_line(
    station: Station, noise: Clip, tmp_path: Path
) -> None:
    """Whoever may list the machine's processes cannot read it."""
    station.add("a", noise).manner.credentials = "ann:s3cret"
    seen: set[str] = set()

    events = captured(
        tmp_path,
        station.url("a"),
        [f"127.0.0.1:{station.port}"],
        Credentials("ann", "s3cret"),
        look=lambda: seen.update(commands_of_children()),
    )

    assert sum(isinstance(event, Chunk) for event in events) > 0
    assert any("http_proxy" in command for command in seen)
    assert not any("s3cret" in command or "ann" in command.split(" -i ")[-1] for command in seen)


@pytest.mark.parametrize(("tls_verify", "reason"), [(True, GapReason.TLS), (False, GapReason.NOT_MEDIA)])
def test_a_certificate_of_nobody_is_refused_unless_the_channel_says_so(
    tmp_path: Path, tls_verify: bool, reason: GapReason
) -> None:
    """ffmpeg by itself would take any."""
    page = b"<html>no media</html>" * 20
    with serving([answer(page, f"Content-Length: {len(page)}")], certificate="good") as server:
        events = captured(tmp_path, f"https://{server.authority}/live", [server.authority], tls_verify=tls_verify)

    assert events[-1].reason is reason
    assert bool(server.requests) is not tls_verify
