"""Recordings: registered by clients, captured by us, and what deleting leaves."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import channels, recordings
from streamrec.errors import Conflict, Invalid, NotFound, PreconditionFailed
from streamrec.models import Coverage, CoverageKind, Origin
from tests import factories as make


@pytest.fixture
def channel_id(session: Session) -> int:
    return make.channel(session).id


def body(channel_id: int, start: float = 0, end: float = 60, **changes: Any) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "start_time": make.at(start),
        "end_time": make.at(end),
        "path": "/recording/",
        **changes,
    }


def test_a_registered_recording_says_what_the_client_said(session: Session, channel_id: int) -> None:
    made = recordings.register(session, body(channel_id))

    assert recordings.get(session, made.id) == made
    assert (made.origin, made.path, made.sha256, made.run_id) == (Origin.REGISTERED, "/recording/", None, None)


def test_a_recording_may_be_empty_but_never_ends_before_it_starts(session: Session, channel_id: int) -> None:
    recordings.register(session, body(channel_id, 5, 5))

    with pytest.raises(Invalid) as refused:
        recordings.register(session, body(channel_id, 5, 4))
    assert refused.value.context == {"field": "end_time", "rule": "order"}


def test_a_missing_field_is_named(session: Session, channel_id: int) -> None:
    incomplete = body(channel_id)
    del incomplete["path"]

    with pytest.raises(Invalid) as refused:
        recordings.register(session, incomplete)

    assert refused.value.context["field"] == "path"


def test_a_path_is_one_line_of_text(session: Session, channel_id: int) -> None:
    with pytest.raises(Invalid):
        recordings.register(session, body(channel_id, path="a\nb"))


def test_a_recording_needs_a_channel_that_exists(session: Session, channel_id: int) -> None:
    channels.retire(session, channel_id)

    for wrong in (channel_id, 987654):
        with pytest.raises(NotFound) as refused:
            recordings.register(session, body(wrong))
        assert refused.value.context == {"field": "channel_id"}


def test_put_registers_an_unknown_id_and_the_sequence_moves_on(session: Session, channel_id: int) -> None:
    last = recordings.register(session, body(channel_id)).id

    made, is_new = recordings.replace(session, last + 10, body(channel_id))
    after = recordings.register(session, body(channel_id))

    assert (made.id, is_new, after.id) == (last + 10, True, last + 11)


def test_put_never_gives_an_id_twice(session: Session, channel_id: int) -> None:
    made = recordings.register(session, body(channel_id))
    recordings.delete(session, made.id)

    with pytest.raises(Conflict):
        recordings.replace(session, made.id, body(channel_id))


def test_put_of_an_unknown_id_needs_every_field_and_a_small_id(session: Session, channel_id: int) -> None:
    for recording_id, given in [(10**6, {"path": "x"}), (2**31, body(channel_id)), (0, body(channel_id))]:
        with pytest.raises(NotFound):
            recordings.replace(session, recording_id, given)


def test_put_and_patch_change_the_fields_given(session: Session, channel_id: int) -> None:
    made = recordings.register(session, body(channel_id))

    changed, is_new = recordings.replace(session, made.id, {"end_time": make.at(90)})
    again = recordings.update(session, made.id, {"end_time": make.at(90)})

    assert (changed.end_time, changed.start_time, changed.version, is_new) == (make.at(90), make.at(0), 2, False)
    assert again.version == 2


def test_a_change_keeps_the_rules_between_the_fields(session: Session, channel_id: int) -> None:
    made = recordings.register(session, body(channel_id))

    with pytest.raises(Invalid):
        recordings.update(session, made.id, {"start_time": make.at(61)})


def test_a_captured_recording_cannot_be_changed(session: Session, channel_id: int) -> None:
    made = make.captured(session, channel_id, 0, 60)

    with pytest.raises(Conflict):
        recordings.update(session, made.id, {"path": "elsewhere"})


def test_a_guard_that_refuses_the_version_changes_nothing(session: Session, channel_id: int) -> None:
    made = recordings.register(session, body(channel_id))

    def refuse(version: int) -> None:
        raise PreconditionFailed(f"version {version}")

    for change in (
        lambda: recordings.update(session, made.id, {"path": "x"}, guard=refuse),
        lambda: recordings.delete(session, made.id, guard=refuse),
        lambda: recordings.replace(session, 10**6, body(channel_id), guard=refuse),
    ):
        with pytest.raises(PreconditionFailed):
            change()
    assert recordings.get(session, made.id) == made


def test_unknown_recordings_are_not_found(session: Session) -> None:
    for ask in (recordings.get, recordings.delete):
        with pytest.raises(NotFound):
            ask(session, 987654)


def test_a_file_is_called_by_keyname_and_start(session: Session, channel_id: int) -> None:
    made = make.captured(session, channel_id, 0, 60)

    assert recordings.file_name(session, made.id) == "gr-rstpk-1_20261101T120000Z.mp3"


# --- lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, [0, 60, 120]),
        ({"start": make.at(60)}, [60, 120]),
        ({"start": make.at(59)}, [0, 60, 120]),
        ({"end": make.at(60)}, [0]),
        ({"start": make.at(120), "end": make.at(121)}, [120]),
        ({"origin": "registered"}, [120]),
        ({"origin": "captured"}, [0, 60]),
        ({"sort": "-start_time"}, [120, 60, 0]),
    ],
)
def test_a_range_finds_what_overlaps_it(
    session: Session, channel_id: int, question: dict[str, Any], found: list[float]
) -> None:
    make.captured(session, channel_id, 0, 60)
    make.captured(session, channel_id, 60, 120)
    recordings.register(session, body(channel_id, 120, 120))

    page = recordings.page(session, channel_id=channel_id, **question)

    assert [row.start_time for row in page.rows] == [make.at(seconds) for seconds in found]


def test_a_list_is_of_one_channel_if_asked(session: Session, channel_id: int) -> None:
    other = make.channel(session, keyname="other-----")
    recordings.register(session, body(other.id))

    assert recordings.page(session, channel_id=channel_id).rows == []


def test_pages_join_to_the_whole_list(session: Session, channel_id: int) -> None:
    for _ in range(3):
        recordings.register(session, body(channel_id))

    first = recordings.page(session, channel_id=channel_id, sort="-start_time", limit=2)
    second = recordings.page(session, channel_id=channel_id, sort="-start_time", limit=2, after=first.after)

    ids = [row.id for row in (*first.rows, *second.rows)]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), second.after) == (3, None)


# --- deleting ---------------------------------------------------------------------------------------------


def coverage(session: Session, channel_id: int) -> list[tuple[CoverageKind, int | None]]:
    rows = session.execute(
        sa.select(Coverage.kind, Coverage.recording_id)
        .where(Coverage.channel_id == channel_id)
        .order_by(Coverage.start_time)
    )
    return [(kind, recording_id) for kind, recording_id in rows]


def test_a_deleted_capture_leaves_its_file_as_garbage_and_its_time_as_expired(
    session: Session, channel_id: int
) -> None:
    made = make.captured(session, channel_id, 0, 60)
    kept = make.captured(session, channel_id, 60, 120)

    keys = recordings.delete(session, made.id)

    assert keys == recordings.garbage(session) == [made.path]
    assert coverage(session, channel_id) == [(CoverageKind.EXPIRED, None), (CoverageKind.RECORDED, kept.id)]


def test_garbage_is_forgotten_once_it_is_gone(session: Session, channel_id: int) -> None:
    keys = recordings.delete(session, make.captured(session, channel_id, 0, 60).id)

    recordings.forget(session, keys)

    assert recordings.garbage(session) == []


def test_a_registered_recording_leaves_no_garbage(session: Session, channel_id: int) -> None:
    made = recordings.register(session, body(channel_id))

    assert recordings.delete(session, made.id) == []


def test_a_purge_takes_the_oldest_first_and_only_so_many(session: Session, channel_id: int) -> None:
    second = make.captured(session, channel_id, 60, 120)
    first = make.captured(session, channel_id, 0, 60)
    recordings.register(session, body(channel_id, 30, 31))

    assert recordings.purge(session, channel_id, limit=2) == (2, [first.path])
    assert recordings.purge(session, channel_id, limit=2) == (1, [second.path])
    assert recordings.purge(session, channel_id, limit=2) == (0, [])
