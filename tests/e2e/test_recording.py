"""The whole way on the real thing: stations in, recordings out, and an account of every second.

One instance records ten channels through one course of events; each test then states one claim about it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.instance import Instance, instant
from tests.station import clips, faulty, icecast, nginx, programs, pushed
from tests.station.clips import Clip
from tests.station.listener import Listener, Watcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TOLERANCE = timedelta(seconds=0.25)
RADIOS = ("icecast", "exact", "outage", "switch", "moved")
PUSHED = ("rtsp", "srt", "udp")
TELEVISIONS = ("hls", "rtmp", *PUSHED)
ALL = (*RADIOS, *TELEVISIONS)
TITLE = "Sigrún, Ævintýr & 'Störm'"


@dataclass
class Track:
    """A channel's story: what was asked for, and what was found at the end."""

    channel: int
    clip: Clip
    posted: float
    first_recording_after: float = 0.0
    status: dict[str, Any] = field(default_factory=dict)
    recordings: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    @cached_property
    def runs(self) -> dict[str, list[Path]]:
        """The files of each run, in order."""
        runs = defaultdict(list)
        for recording, path in zip(self.recordings, self.files, strict=True):
            runs[recording["run_id"]].append(path)
        return dict(runs)


@dataclass
class Story:
    """What happened, and when (seconds since 1970)."""

    tracks: dict[str, Track]
    listener: Listener
    watcher: Watcher
    exact: faulty.Mount
    outage: faulty.Mount
    moved: tuple[faulty.Mount, faulty.Mount]
    times: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    icecast_server: icecast.Icecast,
    hls_origin: nginx.Origin,
    rtmp_origin: nginx.Origin,
    pushed_televisions: dict[str, pushed.Television],
    station: faulty.Station,
    radio_clip: Clip,
    television_clip: Clip,
) -> Iterator[Story]:
    """Everything that the tests below look at, after it has happened."""
    icecast_server.start_source("noise.mp3", radio_clip)
    hls_origin.play("noise", television_clip)
    rtmp_origin.play("noise", television_clip)
    mounts = {name: station.add(name, radio_clip, burst_frames=0) for name in ("outage", "moved-1", "moved-2")}
    mounts |= {name: station.add(name, radio_clip) for name in ("exact", "switch")}
    folder = tmp_path_factory.mktemp("recording")
    servers = (icecast_server.port, hls_origin.port, rtmp_origin.port, station.port)
    servers += tuple(pushed_televisions[name].port for name in PUSHED)
    instance = Instance(folder, [f"127.0.0.1:{port}" for port in servers])
    instance.start()
    listener, watcher = Listener(icecast_server.port, "/noise.mp3"), Watcher(rtmp_origin.url("noise"))
    urls = {
        "icecast": icecast_server.url("noise.mp3"),
        "hls": hls_origin.url("noise"),
        "rtmp": rtmp_origin.url("noise"),
        **{name: pushed_televisions[name].url for name in PUSHED},
        **{name: station.url(name) for name in ("exact", "outage", "switch")},
        "moved": station.url("moved-1"),
    }
    try:
        tracks = {name: _posted(instance, name, url, radio_clip, television_clip) for name, url in urls.items()}
        told = Story(tracks, listener, watcher, mounts["exact"], mounts["outage"],
                     (mounts["moved-1"], mounts["moved-2"]))  # fmt: skip
        _await_first(instance, told)
        _act(instance, told, icecast_server, station.url("moved-2"))
        _gather(instance, told, folder)
        yield told
    finally:
        instance.close()
        listener.close()
        watcher.close()


def _posted(instance: Instance, name: str, url: str, radio: Clip, television: Clip) -> Track:
    is_television = name in TELEVISIONS
    channel = instance.add_channel(name.ljust(10, "-"), url, "TV" if is_television else "radio")
    return Track(channel, television if is_television else radio, time.time())


def _await_first(instance: Instance, told: Story) -> None:
    for track in told.tracks.values():
        instance.await_recordings(track.channel, 1)
        track.first_recording_after = time.time() - track.posted


def _act(instance: Instance, told: Story, server: icecast.Icecast, new_url: str) -> None:
    """The course of events: a title, an outage, a pause, a new address and a new name."""
    ids = {name: track.channel for name, track in told.tracks.items()}
    server.announce("noise.mp3", TITLE)
    told.times["outage"] = time.time()
    told.outage.fault = faulty.Fault.END
    instance.change(ids["switch"], enabled=False)
    instance.await_state(ids["switch"], "stopped", 5)
    told.times["stopped"] = time.time()
    instance.change(ids["moved"], url=new_url)
    instance.change(ids["exact"], name="Another name", url=instance.get(f"/channel/{ids['exact']}")["url"])
    instance.await_state(ids["outage"], "backoff")
    told.times["return"] = time.time()
    told.outage.fault = None
    told.times["enabled"] = time.time()
    instance.change(ids["switch"], enabled=True)
    for name, channel in ids.items():
        instance.await_state(channel, "running")
        told.tracks[name].status = instance.status(channel)
    programs.eventually(lambda: _titled(instance, told.tracks["icecast"]), 15, "the status has a title")
    targets = {channel: len(instance.recordings(channel)) + 2 for channel in ids.values()}
    for channel, count in targets.items():
        instance.await_recordings(channel, count)


def _titled(instance: Instance, track: Track) -> bool:
    track.status = instance.status(track.channel)
    return track.status["title"] is not None


def _gather(instance: Instance, told: Story, folder: Path) -> None:
    """Stop every capture, and take down what became of it."""
    for track in told.tracks.values():
        instance.change(track.channel, enabled=False)
    for name, track in told.tracks.items():
        instance.await_state(track.channel, "stopped")
        since = instance.get(f"/channel/{track.channel}")["created_at"]
        track.coverage = instance.await_account(track.channel, since)
        track.recordings = instance.recordings(track.channel)
        track.gaps = instance.gaps(track.channel)
        (folder / name).mkdir()
        track.files = [instance.media(recording, folder / name) for recording in track.recordings]


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_new_channel_has_a_recording_within_seconds(story: Story, name: str) -> None:
    """A segment of five seconds and the time to connect."""
    assert story.tracks[name].first_recording_after < 15


@pytest.mark.parametrize("name", ALL)
def test_every_file_decodes_without_an_error(story: Story, name: str) -> None:
    """ffmpeg's strictest way of decoding finds nothing to say about any file alone."""
    complaints = {path.name: text for path in story.tracks[name].files if (text := clips.decode_errors(path))}

    assert complaints == {}


@pytest.mark.parametrize("name", ALL)
def test_the_joined_files_of_a_run_are_the_station_s_frames(story: Story, name: str, tmp_path: Path) -> None:
    """No frame is lost, repeated, reordered or invented from the first of a run to its last."""
    track = story.tracks[name]
    for files in track.runs.values():
        joined = tmp_path / f"joined{files[0].suffix}"
        joined.write_bytes(b"".join(path.read_bytes() for path in files))

        numbers = clips.numbered(clips.frame_hashes(joined, video=track.clip.video), track.clip)

        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] >= 0


@pytest.mark.parametrize("name", TELEVISIONS)
def test_the_sound_of_a_television_run_is_complete_too(story: Story, name: str, tmp_path: Path) -> None:
    """AAC packets, compared without decoding."""
    track = story.tracks[name]
    source = clips.sound_hashes(track.clip.path)
    for files in track.runs.values():
        joined = tmp_path / "joined.ts"
        joined.write_bytes(b"".join(path.read_bytes() for path in files))

        heard = clips.sound_hashes(joined)

        begin = source.index(heard[0])
        assert heard == source[begin : begin + len(heard)]


# --- times ------------------------------------------------------------------------------------------------


def _first_frame(path: Path, clip: Clip) -> int:
    return clips.numbered(clips.frame_hashes(path, video=clip.video)[:1], clip)[0]


def _deviations(track: Track, on_air: Any) -> list[timedelta]:
    """By how much each recording's start differs from when its first frame was on air."""
    pairs = zip(track.recordings, track.files, strict=True)
    return [instant(recording["start_time"]) - on_air(_first_frame(path, track.clip)) for recording, path in pairs]


def test_times_agree_with_what_icecast_sent(story: Story) -> None:
    """A listener beside the recorder heard each file's first frame at the file's start, to 0.25 s."""
    deviations = _deviations(
        story.tracks["icecast"], lambda frame: story.listener.on_air(story.tracks["icecast"].clip, frame)
    )

    assert max(map(abs, deviations)) <= TOLERANCE, deviations


def test_times_agree_with_the_stamps_of_our_own_station(story: Story) -> None:
    """The burst at the start lies in the past, and the times say so."""
    deviations = _deviations(story.tracks["exact"], story.exact.on_air)

    assert max(map(abs, deviations)) <= TOLERANCE, deviations


def test_times_agree_without_a_burst_too(story: Story) -> None:
    """The delay of ffmpeg's first look at a stream does not end up in the times."""
    deviations = _deviations(story.tracks["outage"], story.outage.on_air)

    assert max(map(abs, deviations)) <= TOLERANCE, deviations


def test_times_agree_with_what_rtmp_sent(story: Story) -> None:
    """A viewer beside the recorder saw each file's first picture at the file's start, to 0.25 s."""
    clip = story.tracks["rtmp"].clip

    deviations = _deviations(story.tracks["rtmp"], lambda frame: story.watcher.on_air(clip, frame))

    assert max(map(abs, deviations)) <= TOLERANCE, deviations


@pytest.mark.parametrize("name", ALL)
def test_a_file_lasts_as_long_as_its_row_says(story: Story, name: str) -> None:
    """Media duration and span agree to 50 ms for radio, to two pictures for television."""
    track = story.tracks[name]
    unit = 1 / clips.VIDEO_RATE if track.clip.video else clips.MP3_FRAME_SECONDS
    allowed = 2 * unit if track.clip.video else 0.05
    for recording, path in zip(track.recordings, track.files, strict=True):
        seconds = len(clips.frame_hashes(path, video=track.clip.video)) * unit

        assert recording["duration_seconds"] == pytest.approx(seconds, abs=allowed), recording


@pytest.mark.parametrize("name", ALL)
def test_files_are_cut_on_multiples_of_the_segment_length(story: Story, name: str) -> None:
    """Inside a run every file begins at the first possible cut at or after a multiple of five seconds."""
    track = story.tracks[name]
    longest = 1.1 if track.clip.video else 0.1  # a key frame a second; a frame
    begun: set[str] = set()
    for recording in track.recordings:
        into = instant(recording["start_time"]).timestamp() % 5
        assert recording["run_id"] not in begun or into < longest, recording
        begun.add(recording["run_id"])


# --- the account ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_second_is_accounted_for(story: Story, name: str) -> None:
    """From the channel's creation to its end nothing is unaccounted or still pending."""
    totals = story.tracks[name].coverage["totals"]

    assert (totals["unaccounted"]["seconds"], totals["pending"]["seconds"]) == (0, 0)


@pytest.mark.parametrize("name", ALL)
def test_recordings_and_gaps_never_overlap(story: Story, name: str) -> None:
    """Put in order, each begins where or after the one before it ended."""
    track = story.tracks[name]
    spans = sorted(
        (instant(row["start_time"]), instant(row["end_time"])) for row in [*track.recordings, *track.gaps]
    )

    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("name", ["icecast", "exact", *TELEVISIONS])
def test_an_undisturbed_channel_has_one_run_and_no_gap_inside(story: Story, name: str) -> None:
    """A change of name, or the same URL again, does not touch the capture."""
    track = story.tracks[name]

    assert len(track.runs) == 1
    assert [gap["reason"] for gap in track.gaps if gap["reason"] not in {"starting", "disabled"}] == []


def test_an_outage_is_one_gap_with_its_true_bounds(story: Story) -> None:
    """From the last byte before the station went to the first of the connection that is recorded.

    Connections before that one looked what there is to record.
    """
    gaps = [gap for gap in story.tracks["outage"].gaps if gap["reason"] not in {"starting", "disabled"}]

    assert len(gaps) == 1, gaps
    (gap,) = gaps
    assert gap["reason"] in {"source_ended", "source_denied"}
    assert _seconds_between(gap["start_time"], story.times["outage"]) <= TOLERANCE
    assert _seconds_between(gap["end_time"], story.outage.connects[-1]) <= TOLERANCE


def _seconds_between(text: str, seconds: float) -> timedelta:
    return abs(instant(text) - datetime.fromtimestamp(seconds, UTC))


def test_a_disabled_channel_is_not_expected_to_record(story: Story) -> None:
    """Nothing is recorded while it is disabled, and the account says so."""
    spans = story.tracks["switch"].coverage["spans"]
    pauses = [span for span in spans[:-1] if span["kind"] == "disabled" and span["duration_seconds"] > 0.001]

    assert len(pauses) == 1, spans
    (pause,) = pauses
    assert instant(pause["start_time"]).timestamp() <= story.times["stopped"]
    assert _seconds_between(pause["end_time"], story.times["enabled"]) <= timedelta(seconds=1)


def test_an_enabled_channel_records_again_within_seconds(story: Story) -> None:
    """The poll or the notification, and the connection."""
    later = [
        instant(recording["start_time"]).timestamp() - story.times["enabled"]
        for recording in story.tracks["switch"].recordings
    ]

    assert min(seconds for seconds in later if seconds > 0) < 4


def test_a_new_url_starts_a_new_run_at_the_new_station(story: Story) -> None:
    """The frames of the second run are those that the new address was sending at that time."""
    track = story.tracks["moved"]
    (first, second) = track.runs.values()
    starts = {path: instant(row["start_time"]) for row, path in zip(track.recordings, track.files, strict=True)}

    for files, mount in zip((first, second), story.moved, strict=True):
        assert abs(starts[files[0]] - mount.on_air(_first_frame(files[0], track.clip))) <= TOLERANCE


# --- status -----------------------------------------------------------------------------------------------


def test_the_status_tells_the_title_that_the_station_announced(story: Story) -> None:
    """Letters, quotes and ampersands come through as they are."""
    assert story.tracks["icecast"].status["title"] == TITLE


@pytest.mark.parametrize("name", ["icecast", "exact"])
def test_the_status_tells_the_bit_rate(story: Story, name: str) -> None:
    """128 kb/s, as the station sends."""
    assert story.tracks[name].status["bit_rate"] == pytest.approx(128_000, rel=0.3)


@pytest.mark.parametrize("name", ALL)
def test_the_recordings_name_their_codecs(story: Story, name: str) -> None:
    """Container and codecs are what the station sends."""
    expected = ("ts", "h264+aac") if name in TELEVISIONS else ("mp3", "mp3")

    assert {(row["format"], row["codecs"]) for row in story.tracks[name].recordings} == {expected}
