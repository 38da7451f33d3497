"""The rest of the oracle: files that do not decode, gaps without a cause, causes without a gap, bad answers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from streamrec.models import Coverage, CoverageKind, GapReason
from tests.chaos import verdict
from tests.chaos.world import Answer, Channel, Done, World
from tests.station.mount import Fault
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedSound

NOW = time.time()


def put(world: World, name: str, data: bytes, keyname: str = "chaos-0000") -> str:
    path = world.archive / keyname / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return f"{keyname}/{name}"


def told(world: World) -> dict[str, str]:
    return {name: text for name, text in verdict._decoded(world).items() if text}


# --- I6


def test_files_of_whole_frames_decode(world: World) -> None:
    put(world, "0.mp3", Numbered(0).frames(0, 50))
    put(world, "1.aac", NumberedSound(0).frames(0, 50))
    put(world, "2.ts", NumberedSound(0).segment(0, "h", 0))

    assert {Path(name).suffix: text for name, text in verdict._decoded(world).items()} == {
        ".mp3": "",
        ".aac": "",
        ".ts": "",
    }


@pytest.mark.parametrize(("suffix", "head"), [("mp3", 4), ("aac", 7)])
def test_a_frame_of_a_radio_that_does_not_decode_is_found(world: World, suffix: str, head: int) -> None:
    programme = Numbered(0) if suffix == "mp3" else NumberedSound(0)
    broken = programme.frames(20, 21)[:head].ljust(len(programme.frames(20, 21)), b"U")
    name = put(world, f"0.{suffix}", programme.frames(0, 20) + broken + programme.frames(21, 40))

    assert list(told(world)) == [name]


def test_it_is_found_though_another_channels_station_was_spoiled(world: World) -> None:
    other = world.station.add("m1", Numbered(1))
    other.fault = Fault.GARBAGE
    world.channels.append(Channel(1, 2, [other], {"keyname": "chaos-0001"}))
    name = put(world, "0.aac", bytes(1000))
    put(world, "0.aac", bytes(1000), "chaos-0001")

    assert list(told(world)) == [name]


def test_twenty_files_of_each_kind_are_decoded(world: World) -> None:
    for number in range(39):
        put(world, f"{number:02d}.aac", NumberedSound(0).frames(number, number + 2))

    assert len(verdict._decoded(world)) == 20


# --- gaps and faults


def gap(begins: float, ends: float) -> Coverage:
    """A gap between two moments, in seconds from now."""
    start, until = (datetime.fromtimestamp(NOW + each, UTC) for each in (begins, ends))
    return Coverage(kind=CoverageKind.GAP, reason=GapReason.STALLED, start_time=start, end_time=until)


def done(kind: str, begins: float, ends: float, channel: int | None = 0) -> Done:
    return Done(kind, channel, NOW + begins, NOW + ends)


def test_a_gap_that_nobody_caused_is_found(world: World) -> None:
    (found,) = verdict._unexplained(world, {0: [gap(100, 110)]})

    assert "nobody caused the gap (stalled)" in found


def test_a_gap_with_a_fault_of_its_channel_is_explained(world: World) -> None:
    world.done.append(done("stall", 100, 107))

    assert verdict._unexplained(world, {0: [gap(100, 110)]}) == []


@pytest.mark.parametrize(
    "excuse",
    [
        done("stall", 100, 107, channel=1),
        done("stall", 50, 57),
        done("recorder_replace", 100, 100, channel=None),
        done("child_kill", 100, 100, channel=None),
    ],
    ids=["another channel's", "long over", "one that may cost nothing", "one of ffmpeg's"],
)
def test_a_fault_that_cannot_have_caused_a_gap_excuses_none(world: World, excuse: Done) -> None:
    world.done.append(excuse)

    assert len(verdict._unexplained(world, {0: [gap(100, 110)]})) == 1


def test_a_stall_that_left_no_gap_is_found(world: World) -> None:
    world.done.append(done("stall", 100, 107))

    (found,) = verdict._unfelt(world, {0: [gap(10, 20)]})
    assert "channel 0: stall at" in found


def test_a_stall_that_left_a_gap_is_right(world: World) -> None:
    world.done.append(done("stall", 100, 107))

    assert verdict._unfelt(world, {0: [gap(101, 108)]}) == []


# --- I12 and I14


def answering(world: World, status: int, **fields: object) -> None:
    """Have the API answer so, whatever it is asked."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=fields)

    world.instance.client.close()
    world.instance.client = httpx.Client(
        transport=httpx.MockTransport(answer), base_url="http://streamrec.invalid"
    )
    world.channels[0].promised = {"name": "Chaos 0", "url": "http://listener:secret@127.0.0.1/m0"}


def test_what_was_acknowledged_and_is_so_is_right(world: World) -> None:
    answering(world, 200, name="Chaos 0", url="http://127.0.0.1/m0")

    assert verdict._broken_promises(world) == []


def test_what_was_acknowledged_and_is_not_so_is_found(world: World) -> None:
    answering(world, 200, name="Chaos 0, before", url="http://127.0.0.1/m0")

    assert verdict._broken_promises(world) == ["channel 0: {'name': 'Chaos 0'} was acknowledged"]


def test_a_channel_that_is_gone_and_was_not_deleted_is_found(world: World) -> None:
    answering(world, 404)

    assert verdict._broken_promises(world) == ["channel 0: 404, deleted: False"]


def test_a_channel_that_was_deleted_and_is_there_is_found(world: World) -> None:
    answering(world, 200)
    world.channels[0].is_deleted = True

    assert verdict._broken_promises(world) == ["channel 0: 200, deleted: True"]


def answered(world: World, status: int, *, has_retry_after: bool) -> list[str]:
    world.answers.append(Answer(NOW, "GET /channel", status, has_retry_after))
    return verdict._bad_answers(world)


def test_an_error_of_the_server_is_found(world: World) -> None:
    world.done.append(done("database_restart", -1, -1, channel=None))

    assert len(answered(world, 500, has_retry_after=True)) == 1


def test_a_503_while_the_database_is_there_is_found(world: World) -> None:
    world.done.append(done("recorder_kill", -1, -1, channel=None))

    assert len(answered(world, 503, has_retry_after=True)) == 1


def test_a_503_that_does_not_say_when_to_come_back_is_found(world: World) -> None:
    world.done.append(done("database_restart", -1, -1, channel=None))

    assert len(answered(world, 503, has_retry_after=False)) == 1


def test_a_503_with_retry_after_while_the_database_is_away_is_right(world: World) -> None:
    world.done.append(done("database_restart", -1, -1, channel=None))

    assert answered(world, 503, has_retry_after=True) == []
