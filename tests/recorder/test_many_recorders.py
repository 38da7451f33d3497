"""Several recorders as processes, on one database and one station."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec.models import Assignment, Recorder, Recording
from streamrec.settings import Settings
from tests.recorder.fleet import Cut, Fleet
from tests.station.clips import Clip
from tests.station.faulty import Station

TAKEOVER_SECONDS = 8.0
NEAR_SECONDS = 0.25  # of a gap's bounds


@pytest.fixture
def fleet(engine: Engine, settings: Settings, station: Station, tmp_path: Path) -> Fleet:
    return Fleet(settings, station, tmp_path)


def is_unbroken(numbers: list[int]) -> bool:
    """Whether no frame is missing and none there twice."""
    return bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_second_recorder_takes_half_of_the_channels_and_no_frame_is_lost(fleet: Fleet, noise: Clip):
    """Make before break: the one records until the other could go on."""
    added = fleet.add(4, noise)
    with fleet.recorder("first"):
        fleet.wait(lambda: all(fleet.recordings(each) for each in added), "all are recorded")
        with fleet.recorder("second"):
            fleet.wait(lambda: fleet.shares() == [2, 2], "each has two", 30)
            moved = [each for each in added if fleet.epoch(each) == 2]
            fleet.wait(lambda: all(fleet.recordings(each, epoch=2) for each in moved), "the second records", 30)

    assert len(moved) == 2
    assert all(is_unbroken(fleet.frames(each, noise)) for each in added)
    assert [fleet.gaps(each) for each in added] == [fleet.gaps(each)[:1] for each in added]
    assert [fleet.unaccounted_seconds(each) for each in added] == [0] * 4


def test_who_leaves_hands_over_first_and_no_frame_is_lost(fleet: Fleet, noise: Clip):
    """SIGTERM with another recorder there, within five seconds."""
    added = fleet.add(2, noise)
    with fleet.recorder("first") as first:
        fleet.wait(lambda: all(fleet.recordings(each) for each in added), "both are recorded")
        with fleet.recorder("second") as second:
            fleet.wait(lambda: fleet.shares() == [1, 1], "each has one", 30)
            began = time.monotonic()
            first.terminate()
            status = first.wait(10)
            took = time.monotonic() - began
            fleet.wait(lambda: set(fleet.holders().values()) == {second.pid}, "the second has both")
            fleet.wait_for_more(added, 2)

    print(f"left after {took:.1f} s")
    assert (status, took < 5.0) == (0, True)
    assert all(is_unbroken(fleet.frames(each, noise)) for each in added)
    assert [fleet.unaccounted_seconds(each) for each in added] == [0, 0]


def test_a_killed_recorders_channels_are_taken_over_in_time_by_another_machine(fleet: Fleet, noise: Clip):
    """Which has neither its spool nor its files: the time between is one gap."""
    (channel_id,) = fleet.add(1, noise)
    with fleet.recorder("first", data="one") as first:
        fleet.wait(lambda: fleet.recordings(channel_id), "it is recorded")
        with fleet.recorder("second", data="two") as second:
            fleet.wait(lambda: len(fleet.shares()) == 2, "the second is there")
            killed = time.monotonic()
            first.kill()
            fleet.wait(lambda: fleet.holders().get(channel_id) == second.pid, "the second holds it")
            held = time.monotonic() - killed
            media = sa.select(sa.text("1")).where(sa.text("EXISTS (SELECT FROM run WHERE epoch = 2)"))
            fleet.wait(lambda: fleet.value(media), "the second has media")
            took = time.monotonic() - killed
            fleet.wait(lambda: fleet.recordings(channel_id, epoch=2), "it records")

    print(f"kill -9: claimed after {held:.2f} s, recording after {took:.2f} s")
    assert took < TAKEOVER_SECONDS
    assert fleet.unaccounted_seconds(channel_id) == 0


def test_the_gap_of_a_takeover_lies_between_the_frames_that_the_two_have(
    fleet: Fleet, station: Station, noise: Clip
):
    """By the station's own stamps: from what has a row of the first's, which is gone with its disk, on."""
    (channel_id,) = fleet.add(1, noise, burst_frames=0)
    mount = station.mounts["/mount0"]
    with fleet.recorder("first", data="one") as first:
        fleet.wait(lambda: fleet.recordings(channel_id), "it is recorded")
        with fleet.recorder("second", data="two"):
            fleet.wait(lambda: len(fleet.shares()) == 2, "the second is there")
            first.kill()
            fleet.wait(lambda: fleet.recordings(channel_id, epoch=2), "the second records", 30)

    last = fleet.frames(channel_id, noise, data="one", epoch=1)[-1]
    next_one = fleet.frames(channel_id, noise, data="two", epoch=2)[0]
    begins, ends = fleet.latest_gap(channel_id)
    off = [
        (told - on_air).total_seconds()
        for told, on_air in ((begins, mount.on_air(last + 1)), (ends, mount.on_air(next_one)))
    ]
    assert max(map(abs, off)) <= NEAR_SECONDS


def test_on_the_same_machine_the_spool_tells_at_once_that_the_other_is_dead(fleet: Fleet, noise: Clip):
    """Its open file is salvaged, and the capture goes on at the very frame, for the station's burst goes back."""
    (channel_id,) = fleet.add(1, noise)
    with fleet.recorder("first") as first:
        fleet.wait(lambda: fleet.recordings(channel_id), "it is recorded")
        with fleet.recorder("second") as second:
            fleet.wait(lambda: len(fleet.shares()) == 2, "the second is there")
            killed = time.monotonic()
            first.kill()
            fleet.wait(lambda: fleet.holders().get(channel_id) == second.pid, "the second holds it")
            held = time.monotonic() - killed
            fleet.wait(lambda: fleet.recordings(channel_id, epoch=2) >= 2, "it records", 30)

    print(f"kill -9 on the same machine: claimed after {held:.2f} s")
    assert held < 4.0
    assert is_unbroken(fleet.frames(channel_id, noise))
    assert fleet.value(sa.select(sa.func.count()).where(Recording.truncated)) == 1
    assert list((fleet.data("data") / "spool").glob("*-*")) == []
    assert fleet.unaccounted_seconds(channel_id) == 0


def test_a_recorder_that_slept_beyond_its_lease_writes_nothing_under_its_old_epoch(fleet: Fleet, noise: Clip):
    """SIGSTOP, then SIGCONT: what it had is kept where nobody else has it, and nothing overlaps."""
    (channel_id,) = fleet.add(1, noise)
    with fleet.recorder("first", data="one") as first:
        fleet.wait(lambda: fleet.recordings(channel_id), "it is recorded")
        with fleet.recorder("second", data="two") as second:
            fleet.wait(lambda: len(fleet.shares()) == 2, "the second is there")
            first.send_signal(signal.SIGSTOP)
            fleet.wait(lambda: fleet.holders().get(channel_id) == second.pid, "the second holds it")
            taken_at = fleet.value(sa.select(Assignment.changed_at))
            fleet.wait(lambda: fleet.recordings(channel_id, epoch=2), "the second records")
            first.send_signal(signal.SIGCONT)
            fleet.wait(lambda: "another recorder has" in fleet.log("first").read_text(), "it gives up")
            spool = fleet.data("one") / "spool"
            fleet.wait(lambda: not list(spool.rglob("journal")) or _is_settled(fleet, channel_id), "it is settled")
            fleet.wait_for_more([channel_id], 2)

    old = sa.select(sa.func.count()).where(Recording.epoch == 1, Recording.created_at > taken_at)
    assert fleet.value(old) == 0
    assert fleet.unaccounted_seconds(channel_id) == 0
    assert set(fleet.holders().values()) <= {second.pid}


def _is_settled(fleet: Fleet, channel_id: int) -> bool:
    """Whether the file that the first had open when it was stopped has become a row."""
    return fleet.recordings(channel_id, epoch=2) >= 2


def test_one_that_is_cut_off_from_the_database_goes_on_and_is_settled_when_it_returns(
    fleet: Fleet, noise: Clip, tmp_path: Path
):
    """Both record the same channel for a while: rows of it are there once."""
    (channel_id,) = fleet.add(1, noise)
    way = Cut(fleet.settings.database_url.get_secret_value(), tmp_path / "w")
    way.connect()
    with fleet.recorder("first", data="one", database=way.database):
        fleet.wait(lambda: fleet.recordings(channel_id), "it is recorded")
        with fleet.recorder("second", data="two") as second:
            fleet.wait(lambda: len(fleet.shares()) == 2, "the second is there")
            way.cut()
            fleet.wait(lambda: fleet.holders().get(channel_id) == second.pid, "the second holds it")
            fleet.wait(lambda: fleet.recordings(channel_id, epoch=2) >= 2, "the second records", 30)
            way.connect()
            fleet.wait(lambda: "segment_superseded" in fleet.log("first").read_text(), "it is settled", 30)
            fleet.wait_for_more([channel_id], 2)
    way.cut()

    assert fleet.unaccounted_seconds(channel_id) == 0
    assert list((fleet.data("one") / "quarantine").rglob("*.mp3"))
    assert not (fleet.data("one") / "spool" / "refused.txt").exists()


def test_nothing_is_lost_when_the_database_is_away_as_a_recorder_dies(
    fleet: Fleet, maintenance: Engine, engine: Engine, noise: Clip
):
    """The other claims what is free as soon as there is somebody to ask."""
    added = fleet.add(2, noise)
    name = engine.url.database
    with fleet.recorder("first") as first:
        fleet.wait(lambda: all(fleet.recordings(each) for each in added), "both are recorded")
        with fleet.recorder("second") as second:
            fleet.wait(lambda: fleet.shares() == [1, 1], "each has one", 30)
            engine.dispose()
            _shut(maintenance, name, is_shut=True)
            first.kill()
            first.wait(5)
            time.sleep(0.1)
            _shut(maintenance, name, is_shut=False)
            fleet.wait(lambda: set(fleet.holders().values()) == {second.pid}, "the second has both", 30)
            fleet.wait_for_more(added, 2)

    assert all(is_unbroken(fleet.frames(each, noise)) for each in added)
    assert [fleet.unaccounted_seconds(each) for each in added] == [0, 0]


def _shut(maintenance: Engine, name: str, *, is_shut: bool) -> None:
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {str(not is_shut).lower()}'))
        if is_shut:
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(sa.text(ends), {"name": name})


def test_of_three_the_two_that_are_left_share_what_the_third_had(fleet: Fleet, noise: Clip):
    """Evenly."""
    fleet.add(6, noise)
    with fleet.recorder("first"), fleet.recorder("second"), fleet.recorder("third") as third:
        fleet.wait(lambda: fleet.shares() == [2, 2, 2], "each has two", 40)
        third.kill()
        fleet.wait(lambda: fleet.shares() == [3, 3], "each has three", 20)

    assert fleet.value(sa.select(sa.func.count()).select_from(Recorder)) == 3


def test_a_pinned_channel_waits_for_a_recorder_with_its_labels(fleet: Fleet, noise: Clip):
    """Nobody else captures it."""
    (channel_id,) = fleet.add(1, noise, pin={"site": "north"})
    with fleet.recorder("first"):
        fleet.wait(lambda: "no recorder has room" in fleet.log("first").read_text(), "it says so")
        before = fleet.holders()
        with fleet.recorder("second", STREAMREC_RECORDER_LABELS="site=north,network=dmz") as second:
            fleet.wait(lambda: fleet.holders() == {channel_id: second.pid}, "the one with the label has it")

    assert before == {}


def test_a_full_recorder_takes_no_more(fleet: Fleet, noise: Clip):
    """Until another one comes."""
    fleet.add(3, noise)
    with fleet.recorder("first", STREAMREC_RECORDER_CAPACITY="2"):
        fleet.wait(lambda: fleet.shares() == [2], "it has two")
        fleet.wait(lambda: "no recorder has room" in fleet.log("first").read_text(), "it says so")
        with fleet.recorder("second", STREAMREC_RECORDER_CAPACITY="2"):
            fleet.wait(lambda: fleet.shares() == [1, 2], "the second has the third")


def test_a_recorder_is_replaced_in_place_and_no_frame_is_lost(fleet: Fleet, noise: Clip):
    """SIGUSR2: the same process runs the new program, and nobody else is left."""
    added = fleet.add(2, noise)
    recorders = sa.select(sa.func.count()).select_from(Recorder)
    living = recorders.where(Recorder.stopped_at.is_(None))
    with fleet.recorder("first") as first:
        fleet.wait(lambda: all(fleet.recordings(each) for each in added), "both are recorded")
        first.send_signal(signal.SIGUSR2)
        fleet.wait(lambda: fleet.value(recorders) == 3 and fleet.value(living) == 1, "one is left of three", 60)
        fleet.wait(lambda: set(fleet.holders().values()) == {first.pid}, "it has all")
        fleet.wait_for_more(added, 2)

    assert all(is_unbroken(fleet.frames(each, noise)) for each in added)
    assert [fleet.unaccounted_seconds(each) for each in added] == [0, 0]
