"""What the course says that it did was done."""

from __future__ import annotations

from tests.chaos.faults import inject
from tests.chaos.plan import Step
from tests.chaos.world import World


def test_a_fault_that_was_done_is_noted_with_its_channel(world: World) -> None:
    injected = inject(world, Step(0.0, "stall", 0, 5.0))

    assert injected is not None
    assert [(done.kind, done.channel) for done in world.done] == [("stall", 0)]


def test_a_disk_that_is_nobodys_own_is_not_filled_and_counts_as_left_out(world: World) -> None:
    assert inject(world, Step(0.0, "disk_full", None, 5.0)) is None
    assert (world.done, world.left_out) == ([], {"disk_full": 1})


def test_what_befalls_a_channel_that_is_deleted_is_left_out(world: World) -> None:
    world.channels[0].is_deleted = True

    assert inject(world, Step(0.0, "stall", 0, 5.0)) is None
    assert (world.done, world.left_out) == ([], {"stall": 1})


def test_a_fault_of_hls_on_a_radio_is_left_out(world: World) -> None:
    assert inject(world, Step(0.0, "hls_away", 0, 5.0)) is None
    assert (world.done, world.left_out) == ([], {"hls_away": 1})


def test_a_database_that_does_not_run_is_not_killed(world: World) -> None:
    assert inject(world, Step(0.0, "database_kill", None, 0.0)) is None
    assert (world.done, world.left_out) == ([], {"database_kill": 1})


def test_a_channel_that_has_nowhere_to_move_to_is_left_out(world: World) -> None:
    assert inject(world, Step(0.0, "move", 0, 0.0)) is None
    assert (world.done, world.left_out) == ([], {"move": 1})
