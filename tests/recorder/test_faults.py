"""What sources do to a recorder, and what it may cost: F01 to F21, F30, F32 and F33 of the fault catalogue.

One recorder captures a mount for each fault; all misbehave at once, and each test then states one claim.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.orm import Session

from streamrec import audit
from streamrec.models import FileFormat, GapReason
from streamrec.settings import Settings
from tests.recorder.ordeal import Ordeal, Track, play
from tests.station import clips, faulty, scripted
from tests.station.clips import Clip
from tests.station.mount import BURST_FRAMES, Fault, Mount
from tests.station.playing import TICK_SECONDS
from tests.station.programme import programme

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FRAME = clips.MP3_FRAME_SECONDS
CAP_SECONDS = 2.0
LEVEL_SECONDS = 9.0  # all run for so long before anything happens; the watchdog has learned then what is usual
END_SECONDS = LEVEL_SECONDS + 63.0  # the longest wait that a server may ask for, and a moment
CANARY = "canary-41b7"
HTML = b"<!DOCTYPE html><html><body>Gone fishing.</body></html>" * 40
TITLES: dict[str, tuple[str | bytes, str | None]] = {
    "nul": (b"A\0B", "A B"),
    "ansi": ("\x1b[2J\x1b[31mRed", "[2J [31mRed"),
    "latin": ("Sigrún".encode("latin-1"), "Sigrún"),
    "long": ("x" * 4000, "x" * 500),
    "endless": ("x" * 5000, None),
}


def _nothing(_: Mount) -> None:
    """The fault ends by itself."""


def _well(mount: Mount) -> None:
    mount.fault = None


def _has(fault: Fault) -> Callable[[Mount], None]:
    return lambda mount: setattr(mount, "fault", fault)


def _refuses(status: str, body: bytes = b"", **headers: str) -> Callable[[Mount], None]:
    return lambda mount: mount.refuse(status, body, **headers)


@dataclass(frozen=True)
class Case:
    """What a mount does `seconds` long, and how much of the past it sends to who comes back."""

    fail: Callable[[Mount], None]
    seconds: float = 0.0
    burst_frames: int = 0
    heal: Callable[[Mount], None] = _well
    capture: str = "auto"


FIN = Mount.hang_up
RST = partial(Mount.hang_up, reset=True)
CASES = {
    "fin": Case(FIN, heal=_nothing),
    "fin-burst": Case(FIN, burst_frames=BURST_FRAMES, heal=_nothing),
    "rst": Case(RST, heal=_nothing),
    "rst-burst": Case(RST, burst_frames=BURST_FRAMES, heal=_nothing),
    "stall": Case(_has(Fault.STALL), 7),
    "drip": Case(_has(Fault.DRIP), 14),
    "slow": Case(_has(Fault.SLOW), 16),
    "silent": Case(_has(Fault.SILENT), 12),
    "slow-head": Case(_has(Fault.SLOW_HEAD), 12),
    "denied-404": Case(_refuses("404 Not Found"), 8),
    "denied-403": Case(_refuses("403 Forbidden"), 8),
    "denied-410": Case(_refuses("410 Gone"), 8),
    "denied-451": Case(_refuses("451 Unavailable For Legal Reasons"), 8),
    "busy": Case(_refuses("503 Service Unavailable", Retry_After="7"), 2),
    "busy-ever": Case(_refuses("429 Too Many Requests", Retry_After="9999999"), 2),
    "circle": Case(_refuses("302 Found", Location="/circle"), 8),
    "forbidden": Case(_refuses("302 Found", Location="http://127.0.0.1:9/"), 8),
    "web-page": Case(_refuses("200 OK", HTML, Content_Type="text/html"), 8),
    "page": Case(_has(Fault.PAGE), heal=_nothing),
    "torn": Case(_has(Fault.TRUNCATE), heal=_nothing),
    "flips": Case(_has(Fault.FLIP), 20),
}
# The same by an ffmpeg: the recorder's part of it, and what of a fault an ffmpeg makes another one.
CASES |= {
    "ff-fin": replace(CASES["fin"], capture="ffmpeg"),
    "ff-rst": replace(CASES["rst-burst"], capture="ffmpeg"),
    "ff-stall": replace(CASES["stall"], capture="ffmpeg"),
    "ff-hush": Case(_has(Fault.STALL), 2.5, capture="ffmpeg"),
    "ff-drip": Case(_has(Fault.DRIP), 5.5, capture="ffmpeg"),
    "ff-silent": replace(CASES["silent"], capture="ffmpeg"),
    "ff-404": replace(CASES["denied-404"], capture="ffmpeg"),
    "ff-page": replace(CASES["page"], capture="ffmpeg"),
    "ff-torn": replace(CASES["torn"], capture="ffmpeg"),
}
DENIED = [name for name in CASES if name.startswith("denied")]
PLAYED = {
    "codec": ("other.aac", ("-c:a", "aac", "-b:a", "96k")),
    "rate": ("rate.mp3", ("-ar", "44100", "-b:a", "128k")),
    "stereo": ("stereo.mp3", ("-ac", "2", "-b:a", "128k")),
    "bit-rate": ("fast.mp3", ("-b:a", "320k")),
}
LIARS = ("lying", "unkept")
HEALTHY = ("icy", "chunked", "mistyped", *TITLES)
FROM_THE_START = {"fast": Fault.FAST, "flood": Fault.FLOOD}
DOORS = ("shut", "moved")
TIMED = [
    *(name for name in CASES if name != "slow"),
    "shut",
]  # what a station sends late was on air at no true time


@dataclass
class Story:
    """All tracks once it is over, and what else was seen."""

    ordeal: Ordeal
    target: Mount
    invariants: dict[str, list[str]]

    @property
    def tracks(self) -> dict[str, Track]:
        return self.ordeal.tracks


@contextmanager
def _swallowing() -> Iterator[int]:
    """A port whose queue is full: who connects hears nothing (listen(2): the kernel drops what does not fit)."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield int(server.getsockname()[1])


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    """What a mount goes on with when it changes."""
    folder = tmp_path_factory.mktemp("sounds")
    return {name: clips.make_sound(folder, file, 90, *options) for name, (file, options) in PLAYED.items()}


@pytest.fixture(scope="module")
def own_engine(server: URL, maintenance: Engine, template: str) -> Iterator[Engine]:
    """A database for the whole story."""
    name = f"streamrec_faults_{uuid4().hex[:8]}"
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    engine = sa.create_engine(server.set(database=name), poolclass=sa.NullPool)
    yield engine
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, own_engine: Engine, noise: Clip, sounds: dict[str, Clip]
) -> Story:
    """Everything that the tests below look at, after it has happened."""
    folder = tmp_path_factory.mktemp("faults")
    url = own_engine.url.render_as_string(hide_password=False)
    settings = Settings(data_dir=folder / "data", database_url=url)
    ordeal = Ordeal(own_engine, settings, folder)
    with ExitStack() as stack:
        station = stack.enter_context(faulty.running())
        strangers = _strangers(stack)
        target = station.add("target", noise, burst_frames=0, own_door=True)
        mounts = _mounts(station, noise)
        reachable = [
            f"127.0.0.1:{port}" for port in {station.port, target.door, *(m.door for m in mounts.values())}
        ]
        reachable += [url.split("/")[2] for url in strangers.values()]
        with ordeal.recorder(reachable, STREAMREC_RETRY_CAP_SECONDS=str(CAP_SECONDS)):
            _add(ordeal, station, mounts, strangers)
            ordeal.await_running([name for name in mounts if name != "login"])
            play(_course(ordeal, station, target, sounds))
            ordeal.take_titles()
        ordeal.gather()
        with Session(own_engine) as session:
            found = audit.run(session, settings, depth=audit.Depth.HASH)
    return Story(ordeal, target, {one.id: one.examples for one in found})


def _strangers(stack: ExitStack) -> dict[str, str]:
    """Addresses that never bring media."""
    expired = stack.enter_context(scripted.serving([scripted.answer(b"")], certificate="expired"))
    mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return {
        "dns": "http://no-such-host.invalid/live",
        "tls": expired.url,
        "tls-mute": f"https://127.0.0.1:{mute.getsockname()[1]}/live",
        "swallowed": f"http://127.0.0.1:{stack.enter_context(_swallowing())}/live",
    }


def _mounts(station: faulty.Station, noise: Clip) -> dict[str, Mount]:
    mounts = {name: station.add(name, noise, burst_frames=case.burst_frames) for name, case in CASES.items()}
    mounts |= {name: station.add(name, noise, burst_frames=0, own_door=True) for name in DOORS}
    others = (*PLAYED, *HEALTHY, *LIARS, *FROM_THE_START, "login")
    mounts |= {name: station.add(name, noise, burst_frames=0) for name in others}
    mounts["icy"].manner.start = "ICY 200 OK"
    mounts["chunked"].manner.start, mounts["chunked"].manner.is_chunked = "HTTP/1.1 200 OK", True
    mounts["mistyped"].manner.content_type = "text/html; charset=utf-8"
    mounts["lying"].manner.real_metaint = 8192
    mounts["login"].manner.credentials = f"me:{CANARY}"
    for name, (title, _) in TITLES.items():
        mounts[name].title = title
    for name, fault in FROM_THE_START.items():
        mounts[name].fault = fault
    return mounts


def _add(ordeal: Ordeal, station: faulty.Station, mounts: dict[str, Mount], strangers: dict[str, str]) -> None:
    for name, mount in mounts.items():
        url = station.url(name)
        capture = CASES[name].capture if name in CASES else "auto"
        ordeal.add(name, url.replace("//", f"//me:{CANARY}@") if name == "moved" else url, mount, capture=capture)
    for name, url in strangers.items():
        ordeal.add(name, url)


def _course(
    ordeal: Ordeal, station: faulty.Station, target: Mount, sounds: dict[str, Clip]
) -> list[tuple[float, Callable[[], None]]]:
    """What is done when, in seconds from now."""
    course: list[tuple[float, Callable[[], None]]] = [(END_SECONDS, lambda: None)]

    def at(seconds: float, name: str, act: Callable[[Mount], object]) -> None:
        course.append((LEVEL_SECONDS + seconds, partial(_act, ordeal.tracks[name], act, is_first=seconds == 0)))

    for name, case in CASES.items():
        at(0, name, case.fail)
        at(case.seconds or 0.001, name, case.heal)
    for name, clip in sounds.items():
        at(0, name, partial(Mount.switch, programme=programme(clip.path)))
    at(0, "unkept", lambda mount: setattr(mount.manner, "real_metaint", 9000))
    at(0, "shut", station.shut)
    at(8, "shut", station.reopen)
    at(0, "moved", lambda mount: mount.refuse("302 Found", Location=station.url(target.name)))
    at(0, "login", lambda _: None)
    login = station.url("login").replace("//", f"//me:{CANARY}@")
    at(6, "login", lambda _: ordeal.change("login", url=login))
    return course


def _act(track: Track, act: Callable[[Mount], object], *, is_first: bool) -> None:
    assert track.mount is not None
    now = time.time()
    act(track.mount)
    track.failed, track.healed = (now if is_first else track.failed), now


# --- what it costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fin", "rst"])
def test_a_connection_that_ends_costs_half_a_second_and_at_most_one_gap(story: Story, name: str) -> None:
    """F01, F02: without a burst to make it good. A tick of the station's is added."""
    track = story.tracks[name]

    assert track.lost_seconds <= 0.5 + TICK_SECONDS
    assert len(track.later_gaps) <= 1
    assert {gap.reason for gap in track.later_gaps} <= {GapReason.SOURCE_ENDED}
    assert track.resumed - track.healed <= 1.0


def test_an_ffmpeg_whose_connection_ends_costs_a_second_and_at_most_one_gap(story: Story) -> None:
    """F01: another one is begun."""
    track = story.tracks["ff-fin"]

    assert track.lost_seconds <= 1.0
    assert len(track.later_gaps) <= 1
    assert {gap.reason for gap in track.later_gaps} <= {GapReason.SOURCE_ENDED}


@pytest.mark.parametrize("name", ["fin-burst", "rst-burst", "ff-rst"])
def test_a_connection_that_ends_costs_nothing_where_there_is_a_burst(story: Story, name: str) -> None:
    """F01, F02: every frame once, and nobody is told of a gap."""
    track = story.tracks[name]

    assert (track.lost_seconds, track.later_gaps) == (0, [])
    assert track.places == sorted(set(track.places))


@pytest.mark.parametrize(("name", "most"), [("stall", 5.0), ("ff-stall", 6.0)], ids=["stall", "ff-stall"])
def test_a_stall_is_noticed_within_five_seconds(story: Story, name: str, most: float) -> None:
    """F03: sockets stay open, and say nothing. An ffmpeg takes a moment to leave."""
    track = story.tracks[name]

    assert track.fell_back(track.failed) - track.failed <= most
    assert [gap.reason for gap in track.later_gaps] == [GapReason.STALLED]


@pytest.mark.parametrize(
    ("name", "reason"), [("drip", GapReason.STALLED), ("slow", GapReason.STARVED)], ids=["drip", "slow"]
)
def test_a_station_that_starves_us_is_left(story: Story, name: str, reason: GapReason) -> None:
    """F04: a byte a second is no media, a third of the speed is too little of it."""
    track = story.tracks[name]

    assert track.fell_back(track.failed) - track.failed <= 13.0
    assert reason in {gap.reason for gap in track.later_gaps}


@pytest.mark.parametrize("name", ["ff-hush", "ff-drip"])
def test_a_short_silence_is_a_gap_of_its_length_also_where_ffmpeg_captures(story: Story, name: str) -> None:
    """A radio has no time stamps to tell of it, and the attempt goes on: only its pace does."""
    track = story.tracks[name]

    assert track.lost_seconds > 2
    assert sum(gap.seconds for gap in track.later_gaps) == pytest.approx(track.lost_seconds, abs=0.25)


@pytest.mark.parametrize("name", ["silent", "slow-head", "ff-silent"])
def test_a_head_is_awaited_for_five_seconds(story: Story, name: str) -> None:
    """F05: that does not come, or comes a byte a second."""
    track = story.tracks[name]
    attempts = [one for one in track.attempts(track.failed) if one.began < track.healed - 6]

    assert attempts != []
    assert max(attempt.seconds for attempt in attempts) <= 5.5


def test_a_connection_is_awaited_for_three_seconds(story: Story) -> None:
    """F06: a queue that is full."""
    attempts = story.tracks["swallowed"].attempts()[1:]  # the first waits its turn among all channels

    assert len(attempts) > 3
    assert max(attempt.seconds for attempt in attempts) <= 3.5


def test_a_closed_door_is_tried_again_within_the_policy(story: Story) -> None:
    """F07: full jitter up to the cap, one gap, and back within the cap once it is open."""
    track = story.tracks["shut"]
    waits = track.waits(track.failed)

    assert max(waits) <= CAP_SECONDS + 0.3
    assert 8 / CAP_SECONDS <= len(waits) <= 8 / 0.1
    assert [gap.detail for gap in track.later_gaps] == ["The connection was refused."]
    assert track.resumed - track.healed <= CAP_SECONDS + 1


@pytest.mark.parametrize("name", DENIED)
def test_a_denial_is_one_gap_that_says_so(story: Story, name: str) -> None:
    """F08: however often it is asked again meanwhile."""
    track = story.tracks[name]

    (gap,) = track.later_gaps
    assert name.rpartition("-")[2] in (gap.detail or "")
    assert len(track.attempts(track.failed)) >= 3
    assert track.resumed - track.healed <= CAP_SECONDS + 1


def test_a_denial_is_one_gap_that_says_so_also_where_ffmpeg_asks(story: Story) -> None:
    """F08: it is the proxy that knows the answer's status."""
    (gap,) = story.tracks["ff-404"].later_gaps

    assert "404" in (gap.detail or "")


def test_new_credentials_are_used_at_once(story: Story) -> None:
    """F09: written by the API while the capture is denied; they stand in no line of the log."""
    track = story.tracks["login"]

    assert track.resumed - track.healed <= CAP_SECONDS + 1
    assert CANARY not in story.ordeal.log.read_text()


@pytest.mark.parametrize(("name", "least", "most"), [("busy", 7, 9), ("busy-ever", 59, 61.5)], ids=["7", "ever"])
def test_a_busy_server_gets_the_time_that_it_asks_for(story: Story, name: str, least: float, most: float) -> None:
    """F10: up to a minute."""
    track = story.tracks[name]

    assert any(least <= wait <= most for wait in track.waits(track.failed))
    assert len(track.later_gaps) == 1


def test_a_redirect_is_followed_without_our_credentials(story: Story) -> None:
    """F11: to another port, which is another server."""
    requests = story.target.journal.of("target", "request")

    assert requests != []
    assert not any(request.facts["authorization"] for request in requests)


def test_a_redirect_in_mid_stream_costs_no_more_than_a_reconnect(story: Story) -> None:
    """F11: the station moves to another host while it is recorded."""
    track = story.tracks["moved"]
    outage = sum(gap.seconds for gap in track.later_gaps)

    assert outage <= 1.0
    assert track.recordings[-1].end_time.timestamp() > track.healed + 30


@pytest.mark.parametrize(
    ("name", "word"),
    [("circle", "circle"), ("forbidden", "may not be captured"), ("web-page", "not media")],
    ids=["circle", "forbidden", "web-page"],
)
def test_what_is_not_followed_ends_within_two_seconds(story: Story, name: str, word: str) -> None:
    """F12, F15: a circle, an address that is not allowed, a page in the place of music."""
    track = story.tracks[name]
    attempts = track.attempts(track.failed)

    assert attempts != []
    assert max(attempt.seconds for attempt in attempts) <= 2.0
    (gap,) = track.later_gaps
    assert word in (gap.detail or "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("dns", GapReason.DNS), ("tls", GapReason.TLS), ("tls-mute", GapReason.TLS)],
    ids=["dns", "tls", "tls-mute"],
)
def test_what_cannot_be_reached_is_one_gap_from_the_start(story: Story, name: str, reason: GapReason) -> None:
    """F13, F14: no such host, a certificate that is over, a server that does not shake hands."""
    track = story.tracks[name]

    assert [gap.reason for gap in track.gaps] == [reason]
    assert track.recordings == []


@pytest.mark.parametrize("name", ["page", "ff-page"])
def test_a_page_in_mid_stream_costs_the_frame_that_it_tears(story: Story, name: str) -> None:
    """F16: two frames at most."""
    track = story.tracks[name]

    assert track.lost_seconds <= 2 * FRAME
    assert track.unknown <= 1
    assert track.later_gaps == []


@pytest.mark.parametrize("name", ["torn", "ff-torn"])
def test_half_a_frame_costs_two_at_most(story: Story, name: str) -> None:
    """F17: the torn one, and the one whose beginning it swallows."""
    track = story.tracks[name]

    assert track.lost_seconds <= 2 * FRAME
    assert track.unknown <= 1


def test_a_flipped_bit_costs_two_frames_at_most(story: Story) -> None:
    """F17: most only spoil the frame that they are in."""
    track = story.tracks["flips"]
    hits = len(story.target.journal.of("flips", "flip"))

    assert hits > 5
    assert track.lost_seconds / FRAME <= 2 * hits
    assert track.unknown <= hits
    assert track.later_gaps == []


@pytest.mark.parametrize("name", ["codec", "rate", "stereo"])
def test_another_kind_of_sound_is_another_run_without_a_frame_lost(story: Story, name: str) -> None:
    """F18, F19: two frames at the boundary at most, and no gap."""
    track = story.tracks[name]
    mount = track.mount
    assert mount is not None
    first = [place.frame for place in track.places if place.part == 0]
    second = [place.frame for place in track.places if place.part == 1]

    assert (mount.parts[0].end or 0) - 1 - max(first) <= 2
    assert min(second) <= 2
    assert len({row.run_id for row in track.recordings}) == 2
    assert track.later_gaps == []


def test_another_codec_is_kept_in_its_own_format(story: Story) -> None:
    """F18: MP3, then ADTS."""
    formats = [row.format for row in story.tracks["codec"].recordings]

    assert (formats[0], formats[-1]) == (FileFormat.MP3, FileFormat.AAC)


def test_another_bit_rate_changes_nothing(story: Story) -> None:
    """F20: time comes from frames and never from bytes."""
    track = story.tracks["bit-rate"]

    assert (track.lost_seconds, track.later_gaps, track.unknown) == (0, [], 0)


@pytest.mark.parametrize("name", ["rate", "bit-rate", "stereo", "codec", "icy", "chunked"])
def test_files_are_as_long_as_their_spans_say(story: Story, name: str) -> None:
    """I6: to 50 ms."""
    track = story.tracks[name]
    spans = [(row.end_time - row.start_time).total_seconds() for row in track.recordings]

    off = [abs(span - content.seconds) for span, content in zip(spans, track.contents, strict=True)]

    assert max(off) <= 0.05


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_only_odd_costs_nothing(story: Story, name: str) -> None:
    """F15, F30: another dialect, a wrong type, hostile titles: every frame, and none that is not the station's."""
    track = story.tracks[name]

    assert (track.lost_seconds, track.unknown, track.later_gaps) == (0, 0, [])


@pytest.mark.parametrize("name", LIARS)
def test_a_lying_interval_costs_a_moment_once(story: Story, name: str) -> None:
    """F30: until the lie is seen; the next attempt asks for no titles, and every frame comes whole."""
    assert story.tracks[name].lost_seconds <= 2.0


@pytest.mark.parametrize("name", TITLES)
def test_a_hostile_title_is_clean_once_it_is_stored(story: Story, name: str) -> None:
    """F30."""
    assert story.tracks[name].title == TITLES[name][1]


@pytest.mark.parametrize("name", FROM_THE_START)
def test_what_is_far_faster_than_it_plays_is_no_live_stream(story: Story, name: str) -> None:
    """F32, F33: told within a minute, and what is kept of it is bounded by real time."""
    track = story.tracks[name]
    kept = sum(row.size_bytes or 0 for row in track.recordings)

    assert any("faster than it plays" in (move["error"] or "") for move in track.moves)
    assert kept <= 2 * 16_000 * END_SECONDS


# --- what must hold whatever happens ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TIMED, *HEALTHY])
def test_files_begin_when_the_station_says(story: Story, name: str) -> None:
    """Each file's first frame was on air at the file's start, to 0.25 s, whatever came before."""
    assert max(map(abs, story.tracks[name].deviations)) <= 0.25


@pytest.mark.parametrize("name", TIMED)
def test_gaps_begin_and_end_with_the_frames_beside_them(story: Story, name: str) -> None:
    """I8: to 250 ms, by the station's own stamps."""
    track = story.tracks[name]

    assert max((max(track.bounds(gap)) for gap in track.later_gaps), default=0.0) <= 0.25


@pytest.mark.parametrize("name", [*CASES, *HEALTHY, "shut"])
def test_no_frame_is_archived_twice_and_all_are_in_order(story: Story, name: str) -> None:
    """I7."""
    places = story.tracks[name].places

    assert places == sorted(set(places))


def test_the_oracle_has_nothing_to_say(story: Story) -> None:
    """Account, rows and files agree, to the byte."""
    assert {name: examples for name, examples in story.invariants.items() if examples} == {}
