"""Live HLS, recorded from our own origin: what it lists, once and in order, whatever happens to it."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Skipped
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.sources import ffmpeg
from streamrec.recorder.sources.hls import Sources
from tests import samples
from tests.station import clips, hls, programs
from tests.station.clips import Clip
from tests.station.hls import Origin, Piece, Show

SECONDS = 25.0
CHILDREN = Path(tempfile.gettempdir()) / "streamrec-test-children"
FRAGMENTS = ("-bsf:a", "aac_adtstoasc", "-hls_segment_type", "fmp4", "-hls_segment_filename", "s%03d.m4s")


@pytest.fixture(scope="module")
def television(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A minute of pictures and sound, every frame unlike every other."""
    return clips.make_television(tmp_path_factory.mktemp("television"), 40)


@pytest.fixture(scope="module")
def folder(television: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in segments of a second."""
    folder = tmp_path_factory.mktemp("segments")
    hls.cut(television, folder, "-hls_segment_filename", "s%03d.ts")
    return folder


@pytest.fixture
def cut(folder: Path) -> list[Piece]:
    return hls.pieces((folder / "all.m3u8").read_text())


@pytest.fixture
def origin() -> Iterator[Origin]:
    with hls.running() as running:
        yield running


class Hurried(SystemClock):
    """A clock that runs ten times as fast for who reads it."""

    def monotonic(self) -> float:
        return super().monotonic() * 10

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


def sources(*origins: Origin, clock: SystemClock | None = None) -> Sources:
    clock = clock or SystemClock()
    allow = tuple(origin.authority for origin in origins)
    resolver = Resolver(clock, allow)
    return Sources(resolver, clock, ffmpeg.Sources(programs.ffmpeg(), clock, allow, CHILDREN, resolver))


Act = Callable[[list[Event]], object]


async def _heard(opener: Sources, address: Address, act: Act) -> list[Event]:
    source = opener.open(address)
    events: list[Event] = []
    async for event in source.events():
        events.append(event)
        if act(events) is True:
            await source.close()
    return events


def heard(opener: Sources, url: str, act: Act = lambda _: None, **address) -> list[Event]:
    """All events of one attempt; `act` is called after each, and may end it by returning True."""
    return asyncio.run(asyncio.wait_for(_heard(opener, Address(url, **address), act), SECONDS))


def chunks(events: list[Event]) -> list[Chunk]:
    return [event for event in events if isinstance(event, Chunk)]


def has(count: int) -> Act:
    """Until there are so many segments."""
    return lambda events: len(chunks(events)) >= count


def files(folder: Path, cut: list[Piece], first: int, count: int) -> list[bytes]:
    return [(folder / piece.path).read_bytes() for piece in cut[first : first + count]]


def test_segments_come_as_they_were_published(origin: Origin, folder: Path, cut: list[Piece]):
    """The last three first, and then each as it appears: once, in order, over one connection."""
    origin.show(Show(cut), folder)

    events = heard(sources(origin), origin.url(), has(6))

    assert events[0] == Opened(FileFormat.TS, "h264+aac", "hls")
    assert [chunk.data for chunk in chunks(events)] == files(folder, cut, 2, 6)
    assert isinstance(events[-1], Closed)
    assert {request.connection for request in origin.requests} == {1}


def skips(events: list[Event]) -> list[float]:
    return [event.seconds for event in events if isinstance(event, Skipped)]


def runs(events: list[Event]) -> int:
    return sum(isinstance(event, Opened) for event in events)


def data(events: list[Event]) -> list[bytes]:
    return [chunk.data for chunk in chunks(events)]


def closed(events: list[Event]) -> Closed:
    """The end, of which there is exactly one."""
    assert [isinstance(event, Closed) for event in events] == [False] * (len(events) - 1) + [True]
    return events[-1]


def test_an_unchanged_list_is_not_sent_again(origin: Origin, folder: Path, cut: list[Piece]):
    """The server is told what we have."""
    origin.show(Show(cut), folder)

    heard(sources(origin), origin.url(), has(5))

    assert any("if-none-match" in request.fields for request in origin.asked("live.m3u8"))


def test_a_list_is_loaded_about_once_a_segment(origin: Origin, folder: Path, cut: list[Piece]):
    """But for the beginning, where we look more often to see when a segment ends."""
    origin.show(Show(cut), folder)

    heard(sources(origin), origin.url(), has(14))

    asked = origin.asked("live.m3u8")
    late = [request for request in asked if request.at > asked[0].at + 3]
    assert len(late) <= 1.5 * (asked[-1].at - asked[0].at - 3)


def test_the_first_segment_that_appears_while_we_look_is_the_live_edge(
    origin: Origin, folder: Path, cut: list[Piece]
):
    """Its end is known to a quarter of a second, whenever its bytes arrive."""
    show = origin.show(Show(cut), folder)

    events = heard(sources(origin), origin.url(), has(4))

    edge = next(chunk for chunk in chunks(events) if chunk.is_edge)
    assert [chunk.is_edge for chunk in chunks(events)] == [False, False, False, True]
    late = edge.received_at + time.time() - time.monotonic() - show.ends_at(5)
    assert abs(late) <= 0.25


def test_what_the_first_list_has_is_half_a_segment_older_by_the_best_guess(
    origin: Origin, folder: Path, cut: list[Piece]
):
    """Nobody saw when its end appeared; of the segment that is seen to appear it is known."""
    origin.show(Show(cut), folder)

    events = heard(sources(origin), origin.url(), has(4))

    half = cut[4].seconds / 2
    assert [chunk.older_seconds for chunk in chunks(events)] == pytest.approx([half, half, half, 0.0])


def test_an_attempt_after_another_goes_on_where_that_one_ended(origin: Origin, folder: Path, cut: list[Piece]):
    """With the last segment that was surely taken, so that the archive's end is found in it."""
    origin.show(Show(cut), folder)
    opener = sources(origin)

    first = heard(opener, origin.url(), has(4))
    second = heard(opener, origin.url(), has(3))

    assert data(first) == files(folder, cut, 2, 4)
    assert data(second) == files(folder, cut, 4, 3)


def test_as_much_of_the_window_is_fetched_as_is_wanted(origin: Origin, folder: Path, cut: list[Piece]):
    """What the archive has not, and a segment more."""
    origin.show(Show(cut, ahead=20, window=20), folder)

    events = heard(sources(origin), origin.url(), has(9), wanted_seconds=7.5)

    assert data(events) == files(folder, cut, 11, 9)


def test_a_segment_that_fails_is_asked_for_again(origin: Origin, folder: Path, cut: list[Piece]):
    """Twice a 404, and then it is there: nothing is missing."""
    origin.show(Show(cut), folder)
    origin.refused[cut[4].path] = 2

    events = heard(sources(origin), origin.url(), has(5))

    assert (data(events), skips(events)) == (files(folder, cut, 2, 5), [])


def test_a_torn_segment_is_asked_for_again(origin: Origin, folder: Path, cut: list[Piece]):
    """The server hangs up in the middle of it, once."""
    origin.show(Show(cut), folder)
    whole = hls.answer((folder / cut[4].path).read_bytes())
    replies = [whole[:9000] + b"", whole]
    origin.pages[cut[4].path] = lambda _: replies.pop(0)
    origin.hang_ups[cut[4].path] = 1

    events = heard(sources(origin), origin.url(), has(5))

    assert (data(events), skips(events)) == (files(folder, cut, 2, 5), [])


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error"])
def test_a_segment_that_is_lost_is_told_with_its_length(
    origin: Origin, folder: Path, cut: list[Piece], status: str
):
    """And what comes behind it is another run."""
    origin.show(Show(cut), folder)
    origin.refusal = hls.answer(b"no", status)
    origin.refused[cut[5].path] = 99

    events = heard(sources(origin), origin.url(), has(6))

    assert data(events) == files(folder, cut, 2, 3) + files(folder, cut, 6, 3)
    assert skips(events) == [pytest.approx(cut[5].seconds)]
    assert runs(events) == 2


def test_a_segment_that_the_station_marks_as_missing_is_not_asked_for(
    origin: Origin, folder: Path, cut: list[Piece]
):
    """EXT-X-GAP."""
    origin.show(Show(cut, gaps={5}), folder)

    events = heard(sources(origin), origin.url(), has(5))

    assert skips(events) == [pytest.approx(cut[5].seconds)]
    assert not origin.asked(cut[5].path)


def test_a_station_without_any_of_its_segments_is_given_up(origin: Origin, folder: Path, cut: list[Piece]):
    """And says why."""
    origin.show(Show(cut), folder)
    origin.refused.update({piece.path: 99 for piece in cut})

    events = heard(sources(origin), origin.url())

    assert closed(events).reason is GapReason.SOURCE_DENIED


def test_a_discontinuity_begins_another_run_without_a_hole(origin: Origin, folder: Path, cut: list[Piece]):
    origin.show(Show(cut, discontinuities={6}), folder)

    events = heard(sources(origin), origin.url(), has(6))

    assert (data(events), skips(events), runs(events)) == (files(folder, cut, 2, 6), [], 2)
    assert isinstance(events[1 + 4], Opened)


def test_numbers_that_begin_anew_repeat_no_segment(origin: Origin, folder: Path, cut: list[Piece]):
    """The encoder was restarted: what is listed again under other numbers is known by its bytes."""
    show = origin.show(Show(cut, numbers=lambda index: 1000 + index), folder)

    def restart(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            show.numbers = lambda index: index
        return has(8)(events)

    events = heard(sources(origin), origin.url(), restart)

    assert (data(events), skips(events)) == (files(folder, cut, 2, 8), [])


def test_a_jump_of_the_numbers_alone_is_no_hole(origin: Origin, folder: Path, cut: list[Piece]):
    """Nothing is missing: the segments appear when they are due."""
    show = origin.show(Show(cut), folder)

    def jump(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            show.numbers, show.first = lambda index: 1000 + index, 6
        return has(8)(events)

    events = heard(sources(origin), origin.url(), jump)

    assert (data(events), skips(events), runs(events)) == (files(folder, cut, 2, 8), [], 2)


def test_a_jump_of_the_numbers_of_all_that_is_listed_repeats_no_segment(
    origin: Origin, folder: Path, cut: list[Piece]
):
    """The whole window has higher numbers: what was fetched under the lower ones is known by its bytes."""
    show = origin.show(Show(cut), folder)

    def jump(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            show.numbers = lambda index: 1000 + index
        return has(8)(events)

    events = heard(sources(origin), origin.url(), jump)

    assert (data(events), skips(events)) == (files(folder, cut, 2, 8), [])


def test_a_list_that_was_old_at_first_and_then_jumps_ends_the_attempt(
    origin: Origin, folder: Path, cut: list[Piece]
):
    """What it had is told as old as its successor's numbers say: four segments were never listed, and five are."""
    show = origin.show(Show(cut), folder)
    show.listed()
    show.is_frozen = True

    def thaw(events: list[Event]) -> None:
        if len(chunks(events)) == 3:
            show.first, show.is_frozen, show.began = 9, False, show.began - 9

    events = heard(sources(origin), origin.url(), thaw)

    assert closed(events).reason is GapReason.SOURCE_ERROR
    assert data(events) == [*files(folder, cut, 2, 3), b""]
    assert chunks(events)[-1].is_edge
    assert chunks(events)[-1].older_seconds == pytest.approx(9, abs=1.5)


def test_segments_that_were_never_listed_are_a_hole(origin: Origin, folder: Path, cut: list[Piece]):
    """The window moves on by three segments in one moment; the station's clock agrees with ours on how long."""
    show = origin.show(Show(cut, dates=lambda index: f"2019-01-01T00:00:{index:02}Z"), folder)

    def leave_out(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            show.is_frozen = True
            asyncio.get_running_loop().call_later(3.5, thaw)
        return has(7)(events)

    def thaw() -> None:
        show.first, show.is_frozen = 9, False

    events = heard(sources(origin), origin.url(), leave_out)

    assert data(events) == files(folder, cut, 2, 4) + files(folder, cut, 9, 3)
    assert skips(events) == [pytest.approx(3.0)]


def test_an_edge_that_lags_behind_is_ignored(origin: Origin, folder: Path, cut: list[Piece]):
    """Another server of the station has an older list for a moment."""
    show = origin.show(Show(cut), folder)
    page, replies = origin.pages["live.m3u8"], []

    def sometimes_old(fields: dict[str, str]) -> bytes:
        replies.append(page({}))
        return replies[-2] if len(replies) in {8, 9} else replies[-1]

    origin.pages["live.m3u8"] = sometimes_old

    events = heard(sources(origin), origin.url(), has(7))

    assert (data(events), runs(events)) == (files(folder, cut, 2, 7), 1)
    assert show.pieces


def test_a_list_that_stands_still_ends_the_attempt(origin: Origin, folder: Path, cut: list[Piece]):
    """After twelve seconds; and then one that has moved on is gone on with."""
    show = origin.show(Show(cut), folder)

    def freeze(events: list[Event]) -> None:
        show.is_frozen = len(chunks(events)) >= 4

    events = heard(sources(origin, clock=Hurried()), origin.url(), freeze)

    assert closed(events).reason is GapReason.STALE_PLAYLIST
    assert "not changed" in closed(events).detail


def test_a_list_that_fails_for_a_moment_ends_nothing(origin: Origin, folder: Path, cut: list[Piece]):
    show = origin.show(Show(cut), folder)

    def fail(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            origin.refused["live.m3u8"] = 2
        return has(7)(events)

    events = heard(sources(origin), origin.url(), fail)

    assert (data(events), runs(events)) == (files(folder, cut, 2, 7), 1)
    assert show.pieces


@pytest.mark.parametrize(
    ("extra", "reason"),
    [("#EXT-X-PLAYLIST-TYPE:VOD", GapReason.UNSUPPORTED), ("#EXT-X-PLAYLIST-TYPE:EVENT", GapReason.SOURCE_ENDED)],
)
def test_what_is_over_is_not_downloaded(
    origin: Origin, folder: Path, cut: list[Piece], extra: str, reason: GapReason
):
    origin.show(Show(cut, is_over=True, extra=[extra]), folder)

    events = heard(sources(origin), origin.url())

    assert closed(events).reason is reason
    assert len(origin.requests) == 1


def test_a_stream_that_ends_is_recorded_to_its_end(origin: Origin, folder: Path, cut: list[Piece]):
    show = origin.show(Show(cut), folder)

    def end(events: list[Event]) -> None:
        show.is_over = show.is_frozen = len(chunks(events)) >= 5

    events = heard(sources(origin), origin.url(), end)

    assert data(events) == files(folder, cut, 2, 5)
    assert closed(events).reason is GapReason.SOURCE_ENDED


# --- kinds of segments ------------------------------------------------------------------------------------


def test_byte_ranges_are_cut_out(origin: Origin, television: Clip, folder: Path, tmp_path: Path):
    """One file, of which each segment is a range."""
    cut = hls.cut(television, tmp_path, "-hls_flags", "single_file")
    origin.show(Show(cut), tmp_path)

    events = heard(sources(origin), origin.url(), has(5))

    whole = (tmp_path / cut[0].path).read_bytes()
    assert b"".join(data(events)) in whole
    assert len({request.fields["range"] for request in origin.asked(cut[0].path)}) == 5


def test_encrypted_segments_are_recorded_clear(origin: Origin, folder: Path, television: Clip, tmp_path: Path):
    """AES-128, whose key is asked for once."""
    (tmp_path / "secret.key").write_bytes(bytes(range(16)))
    (tmp_path / "info").write_text("secret.key\nsecret.key\n")
    cut = hls.cut(television, tmp_path, "-hls_key_info_file", "info", "-hls_segment_filename", "s%03d.ts")
    origin.show(Show(cut), tmp_path)

    events = heard(sources(origin), origin.url(), has(5))

    assert data(events) == files(folder, cut, 2, 5)
    assert len(origin.asked("secret.key")) == 1


@pytest.mark.parametrize(
    "key",
    [
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key"',
        '#EXT-X-KEY:METHOD=AES-128,URI="key",KEYFORMAT="com.widevine"',
    ],
)
def test_a_protected_stream_is_refused(origin: Origin, folder: Path, cut: list[Piece], key: str):
    origin.show(Show(cut, extra=[key]), folder)

    events = heard(sources(origin), origin.url())

    assert closed(events).reason is GapReason.DRM
    assert "DRM" in closed(events).detail


def test_fragments_come_behind_their_header(origin: Origin, television: Clip, tmp_path: Path):
    """CMAF as ffmpeg makes it; what was recorded plays."""
    cut = hls.cut(television, tmp_path, *FRAGMENTS)
    origin.show(Show(cut), tmp_path)

    events = heard(sources(origin), origin.url(), has(6))

    assert events[0] == Opened(FileFormat.MP4, "h264+aac", "hls")
    assert data(events) == [(tmp_path / "init.mp4").read_bytes(), *files(tmp_path, cut, 2, 5)]


def test_another_header_begins_another_run(origin: Origin, television: Clip, tmp_path: Path):
    """The encoder was set up anew; nothing is missing."""
    cut = hls.cut(television, tmp_path, *FRAGMENTS)
    (tmp_path / "other.mp4").write_bytes((tmp_path / "init.mp4").read_bytes() + bytes.fromhex("0000000866726565"))
    other = [
        replace(piece, tags=tuple(tag.replace("init.mp4", "other.mp4") for tag in piece.tags)) for piece in cut[6:]
    ]
    origin.show(Show(cut[:6] + other), tmp_path)

    events = heard(sources(origin), origin.url(), has(8))

    headers = [(tmp_path / name).read_bytes() for name in ("init.mp4", "other.mp4")]
    assert runs(events) == 2
    assert data(events) == [headers[0], *files(tmp_path, cut, 2, 4), headers[1], *files(tmp_path, cut, 6, 2)]


@pytest.mark.parametrize("name", ["mp3.mp3", "aac.aac"])
def test_packed_audio_is_recorded_as_it_is(origin: Origin, tmp_path: Path, name: str):
    """Frames behind an ID3 tag that tells the time."""
    owner = b"com.apple.streaming.transportStreamTimestamp\0"
    tag = b"ID3\x04\0\0\0\0\0\x3fPRIV\0\0\0\x35\0\0" + owner + bytes(8)
    units = samples.units_of(name)
    per = len(units) // samples.SECONDS
    pieces = [Piece(f"{n}.bin", 1.0, ("#EXTINF:1.0,",)) for n in range(samples.SECONDS)]
    for n, piece in enumerate(pieces):
        (tmp_path / piece.path).write_bytes(tag + samples.joined(units[n * per : (n + 1) * per]))
    origin.show(Show(pieces, ahead=4, window=4), tmp_path)

    events = heard(sources(origin), origin.url(), has(4))

    form = samples.format_of(name)
    found, _ = samples.framed(form, data(events))
    assert events[0] == Opened(form, name.partition(".")[0], "hls")
    assert samples.joined(found) == samples.joined(units[per : 5 * per])


# --- masters ----------------------------------------------------------------------------------------------


def master(*variants: tuple[str, int]) -> bytes:
    lines = [f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}\n{uri}" for uri, bandwidth in variants]
    return hls.answer("\n".join(["#EXTM3U", *lines, ""]).encode())


def test_the_best_variant_is_recorded(origin: Origin, folder: Path, cut: list[Piece]):
    origin.pages["live.m3u8"] = lambda _: master(("low.m3u8", 1000), ("best.m3u8", 3000), ("mid.m3u8", 2000))
    origin.show(Show(cut), folder, "best.m3u8")

    events = heard(sources(origin), origin.url(), has(3))

    assert data(events) == files(folder, cut, 2, 3)
    assert len(origin.asked("live.m3u8")) == 1


def test_a_channel_may_say_how_much_is_enough(origin: Origin, folder: Path, cut: list[Piece]):
    """The best variant at or below its limit."""
    origin.pages["live.m3u8"] = lambda _: master(("low.m3u8", 1000), ("best.m3u8", 3000), ("mid.m3u8", 2000))
    origin.show(Show(cut), folder, "mid.m3u8")

    events = heard(sources(origin), origin.url(), has(2), max_bandwidth=2999)

    assert data(events) == files(folder, cut, 2, 2)


def test_a_variant_that_vanishes_is_replaced_within_the_window(origin: Origin, folder: Path, cut: list[Piece]):
    """The master is read again, and another variant goes on where this one ended."""
    origin.pages["live.m3u8"] = lambda _: master(("low.m3u8", 1000), ("best.m3u8", 3000))
    show = origin.show(Show(cut), folder, "best.m3u8")
    origin.show(show, folder, "low.m3u8")

    def vanish(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            origin.refused["best.m3u8"] = 999
        return has(7)(events)

    events = heard(sources(origin), origin.url(), vanish)

    assert (data(events), skips(events), runs(events)) == (files(folder, cut, 2, 7), [], 2)


def test_tokens_that_expire_are_fetched_anew(origin: Origin, folder: Path, cut: list[Piece]):
    """The master hands out another address for the same variant: one run."""
    tokens = iter(range(9))
    origin.pages["live.m3u8"] = lambda _: master((f"v.m3u8?t={next(tokens)}", 1000))
    origin.show(Show(cut), folder, "v.m3u8")

    def expire(events: list[Event]) -> bool:
        if len(chunks(events)) == 4:
            origin.refused["v.m3u8"] = 1
        return has(7)(events)

    events = heard(sources(origin), origin.url(), expire)

    assert (data(events), runs(events)) == (files(folder, cut, 2, 7), 1)
    assert len(origin.asked("live.m3u8")) == 2


@pytest.mark.parametrize("options", [(), FRAGMENTS[2:]], ids=["ts", "fmp4"])
def test_a_picture_and_a_sound_that_are_listed_apart_are_put_together(
    origin: Origin, television: Clip, tmp_path: Path, options: tuple[str, ...]
):
    """All of both, in step; ffmpeg is given bytes and no address."""
    parts = {"v": ("-map", "0:v", *options), "a": ("-map", "0:a", *(FRAGMENTS[:2] if options else ()), *options)}
    for name, arguments in parts.items():
        init = ("-hls_fmp4_init_filename", f"{name}.mp4") if options else ()
        names = ("-hls_segment_filename", f"{name}%03d.bin", *init)
        cut = hls.cut(television, tmp_path / name, *arguments, *names)
        origin.show(Show(cut), tmp_path / name, f"{name}.m3u8")
    text = '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",DEFAULT=YES,URI="a.m3u8"\n'
    text += '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nv.m3u8\n'
    origin.pages["live.m3u8"] = lambda _: hls.answer(text.encode())

    events = heard(sources(origin), origin.url(), has(9))

    path = tmp_path / "recorded.ts"
    path.write_bytes(b"".join(data(events)))
    pictures = clips.numbered(clips.frame_hashes(path, video=True), television)
    source, sound = clips.sound_hashes(television.path), clips.sound_hashes(path)
    assert events[0] == Opened(FileFormat.TS, "h264+aac", "hls")
    assert pictures == list(range(pictures[0], pictures[0] + len(pictures)))
    assert len(pictures) >= 7 * clips.VIDEO_RATE
    at = source.index(sound[0])
    assert sound == source[at : at + len(sound)]
    assert len(sound) / 48_000 * 1024 == pytest.approx(len(pictures) / clips.VIDEO_RATE, abs=1.1)


# --- hostile lists ----------------------------------------------------------------------------------------


def _huge() -> bytes:
    return b"#EXTM3U\n" + b"#\n" * 25_000_000


@pytest.mark.parametrize(
    "page",
    [
        lambda: master(("live.m3u8", 1)),
        lambda: hls.answer(_huge()),
        lambda: hls.answer(gzip.compress(_huge(), 1), Content_Encoding="gzip"),
        lambda: hls.answer(b"#EXTM3U\n" + b"#EXTINF:1,\nx.ts\n" * 5000),
        lambda: master(*((f"{n}.m3u8", n) for n in range(65))),
        lambda: hls.answer(b"<html>"),
        lambda: hls.moved("live.m3u8"),
    ],
    ids=["itself", "50 MB", "bomb", "lines", "variants", "page", "circle"],
)
def test_a_hostile_list_costs_little(origin: Origin, page: Callable[[], bytes]):
    """At most four requests, two seconds, and no more memory than a list may have."""
    reply = page()
    origin.pages["live.m3u8"] = lambda _: reply
    began = time.monotonic()

    events = heard(sources(origin), origin.url())

    assert closed(events).reason in {GapReason.SOURCE_ERROR, GapReason.NOT_MEDIA}
    assert len(origin.requests) <= 4
    assert time.monotonic() - began < 2


def test_a_list_that_outruns_time_is_not_live(origin: Origin, folder: Path, cut: list[Piece]):
    """A file that is listed bit by bit would fill the disk."""
    long = [replace(piece, seconds=30.0, tags=("#EXTINF:30,",)) for piece in cut]
    show = origin.show(Show(long * 20), folder)
    show.target = 30

    def hurry(events: list[Event]) -> None:
        show.ahead += 1

    events = heard(sources(origin, clock=Hurried()), origin.url(), hurry)

    assert closed(events).reason is GapReason.UNSUPPORTED
    assert "not live" in closed(events).detail


@pytest.mark.parametrize("what", ["redirect", "variant", "segment", "redirected segment", "key", "map"])
def test_no_address_that_is_not_allowed_is_ever_asked(origin: Origin, folder: Path, cut: list[Piece], what: str):
    """Wherever a list leads to, it is checked first."""
    with hls.running() as forbidden:
        target = forbidden.url("x")
        show = Show(cut)
        if what == "segment":
            show.pieces = [replace(piece, uri=target) for piece in cut]
        elif what in {"key", "map"}:
            tag = f'#EXT-X-KEY:METHOD=AES-128,URI="{target}"' if what == "key" else f'#EXT-X-MAP:URI="{target}"'
            show.extra = [tag]
        origin.show(show, folder)
        if what == "redirect":
            origin.pages["live.m3u8"] = lambda _: hls.moved(target)
        elif what == "variant":
            origin.pages["live.m3u8"] = lambda _: master((target, 1))
        elif what == "redirected segment":
            origin.pages.update({piece.path: lambda _: hls.moved(target) for piece in cut})

        events = heard(sources(origin), origin.url())

    assert closed(events).reason is GapReason.EGRESS_DENIED
    assert forbidden.requests == []


def test_credentials_go_to_the_same_server_only(origin: Origin, folder: Path, cut: list[Piece]):
    with hls.running() as other:
        other.show(Show([]), folder)
        origin.show(Show([replace(piece, uri=other.url(piece.uri)) for piece in cut]), folder)
        opener = sources(origin, other)

        events = heard(opener, origin.url(), has(3), credentials=Credentials("user", "canary"))

    assert all("authorization" in request.fields for request in origin.requests)
    assert other.requests
    assert not any("authorization" in request.fields for request in other.requests)
    assert "canary" not in repr(events)
