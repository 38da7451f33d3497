"""Who may wait for the bucket."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from streamrec.archive.admission import Admission
from streamrec.archive.storage import StorageAway


def test_no_more_threads_wait_for_the_bucket_than_may() -> None:
    admission = Admission(lambda: None, most=2)
    with ExitStack() as inside:
        inside.enter_context(admission.entered())
        inside.enter_context(admission.entered())
        with pytest.raises(StorageAway), admission.entered():
            pytest.fail("a third one came in")


def test_who_leaves_makes_room() -> None:
    admission = Admission(lambda: None, most=1)
    for _ in range(3):
        with admission.entered():
            pass


def test_who_fails_makes_room_too() -> None:
    admission = Admission(lambda: None, most=1)
    for _ in range(3):
        with pytest.raises(OSError, match="broken"), admission.entered():
            raise OSError("broken")


def test_nobody_waits_for_a_bucket_that_is_known_to_be_away() -> None:
    with pytest.raises(StorageAway, match="is another's"), Admission(lambda: "It is another's.").entered():
        pytest.fail("somebody came in")


def test_who_was_refused_comes_in_once_it_is_back() -> None:
    known: list[str | None] = ["It is away.", None]
    admission = Admission(lambda: known.pop(0), most=1)
    with pytest.raises(StorageAway):
        admission.require()
    with admission.entered():
        pass
