"""A sample of each kind of crash; the commands of this package take all of them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from streamrec.settings import Settings
from tests.crash import calls, images, lives, oracle, power
from tests.station import programs

SEED = 20261121


@pytest.mark.parametrize("life", lives.LIVES)
@pytest.mark.parametrize("luck", power.LUCK)
def test_after_a_power_cut_rows_have_their_files_and_files_whole_frames_of_all_but_the_last_seconds(
    settings: Settings, engine: Engine, luck: float, life: str
) -> None:
    oracle.prepare(settings, engine)
    changes = power.noted(settings, life)
    chosen = random.Random(SEED).sample(range(len(changes) + 1), 15)

    found = [line for at in chosen for line in power.check(settings, engine, life, changes, at, luck, SEED)]

    assert len(changes) > 100
    assert found == []


@pytest.mark.parametrize("call", calls.CALLS)
def test_a_start_makes_whole_what_was_killed_or_failed_at_a_system_call(
    settings: Settings, engine: Engine, call: str
) -> None:
    draw, reached, found = random.Random(f"{SEED} {call}"), 0, []
    for fault in calls.FAULTS[:3]:
        oracle.prepare(settings, engine)
        point = calls.Point(call, fault, draw.randrange(1, calls.FEWEST[call] + 1), calls.lived_by(call))
        wrong, is_reached = calls.check(settings, point)
        found += wrong
        reached += is_reached

    assert reached == 3
    assert found == []


@pytest.mark.parametrize("life", lives.LIVES)
@pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="only root mounts images")
def test_what_a_real_file_system_holds_at_any_moment_is_enough_to_go_on(
    settings: Settings, engine: Engine, tmp_path: Path, life: str
) -> None:
    programs.needed("mkfs.ext4", "e2fsprogs")
    programs.needed("mkfs.xfs", "xfsprogs")  # the shelf's

    count, found = images.lived(settings, engine, life, "ext4", tmp_path, random.Random(SEED), most=12)

    assert count >= 5
    assert found == []
