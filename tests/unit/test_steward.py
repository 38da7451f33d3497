"""Upkeep that fails, which no recorder may notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamrec.errors import NotReady
from streamrec.recorder.steward import Duty, Steward


def failing(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def steward(duty: Duty, lock: Path) -> Steward:
    return Steward([duty], lock=lock, may_work=lambda: True, monotonic=lambda: 1000.0)


@pytest.mark.parametrize("error", [NotReady("The key is damaged."), ZeroDivisionError(), OSError()])
def test_whatever_a_duty_raises_it_is_tried_again(error: Exception, tmp_path: Path) -> None:
    duty = Duty("sealing", 60.0, failing(error))
    steward(duty, tmp_path / "lock").attempt(duty)

    assert 1000.0 < duty.due_at <= 1060.0


def test_a_bug_is_logged_with_its_trace(tmp_path: Path) -> None:
    duty = Duty("sealing", 60.0, failing(ZeroDivisionError()))
    with capture_logs() as lines:
        steward(duty, tmp_path / "lock").attempt(duty)

    assert [(line["log_level"], line["exc_info"]) for line in lines] == [("error", True)]


def test_a_set_up_that_is_not_complete_is_told_in_its_own_words_once(tmp_path: Path) -> None:
    duty = Duty("sealing", 60.0, failing(NotReady("The key is damaged.")))
    with capture_logs() as lines:
        for _ in range(2):
            steward(duty, tmp_path / "lock").attempt(duty)

    assert [line["error"] for line in lines] == ["The key is damaged."]


def test_a_lock_that_cannot_be_opened_is_told_once_and_nothing_is_due(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    duty = Duty("sealing", 60.0, failing(ZeroDivisionError()))
    one = steward(duty, tmp_path / "file" / "lock")
    with capture_logs() as lines:
        assert [one.is_due(duty) for _ in range(2)] == [False, False]

    assert len(lines) == 1
