"""Recordings over HTTP: the document's own examples, ranges, files and their deletion."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from streamrec import db, deletion, losses, recordings, roots
from streamrec.archive import root
from streamrec.archive.files import Tree
from streamrec.archive.looking import Fault
from streamrec.models import CaptureState, Coverage, CoverageKind, FileFormat, Loss, Recording
from streamrec.settings import Settings
from tests import factories as make

MEDIA = bytes(range(256)) * 8
KEY = "gr-rstpk-1/2026/11/01/20261101T120000.000Z-0123456789ab.mp3"


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def channel_id(api: httpx.Client) -> int:
    with db.Session.begin() as session:
        return make.channel(session).id


@pytest.fixture
def archive(settings: Settings) -> Path:
    """The archive's folder, which bears a mark."""
    with Tree(settings.archive_dir) as tree:
        root.mark(tree, uuid4())
    return settings.archive_dir


def captured(archive: Path, channel_id: int, **changes: Any) -> int:
    """A captured recording with its file."""
    path = archive / str(changes.get("path", KEY))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MEDIA)
    with db.Session.begin() as session:
        values = {"path": KEY, "size_bytes": len(MEDIA), "sha256": hashlib.sha256(MEDIA).hexdigest(), **changes}
        start = values.pop("start", 0)
        return make.captured(session, channel_id, start, start + 60, **values).id


def body(channel_id: int, /, **changes: Any) -> dict[str, Any]:
    times = {"start_time": 1583929812000, "end_time": 1583929812000}
    return {"channel_id": channel_id, **times, "path": "/recording/", **changes}


# --- the document's examples ------------------------------------------------------------------------------


def test_the_documents_post_ends_before_it_starts_and_is_refused(api: httpx.Client, channel_id: int) -> None:
    """Its end_time 158392981021020 lies ten microseconds before its start_time."""
    example = body(channel_id, end_time=158392981021020, start_time=158392981021030)

    refused = problem(api.post("/recording", json=example), 400)

    assert refused["field"] == "end_time"
    assert api.post("/recording", json={**example, "end_time": 158392981021040}).status_code == 201


def test_the_documents_put_registers_recording_3(api: httpx.Client, channel_id: int) -> None:
    first = api.put("/recording/3", json=body(channel_id))
    again = api.put("/recording/3", json=body(channel_id))

    assert (first.status_code, first.headers["location"], again.status_code) == (201, "/recording/3", 200)
    assert first.json()["start_time"] == first.json()["end_time"] == "2020-03-11T12:30:12.000Z"
    assert again.json() == first.json()


def test_the_documents_gets_and_delete(api: httpx.Client, channel_id: int) -> None:
    made = api.post("/recording", json=body(channel_id)).json()
    path = f"/recording/{made['id']}"

    for listing in ("/recording", f"/channel/{channel_id}/recordings", f"/channel/{channel_id}/recording"):
        assert api.get(listing).json() == [made]
    assert api.get(path).json() == made
    assert api.delete(path).status_code == 204
    problem(api.get(path), 404)
    problem(api.delete(path), 404)


# --- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": True}, "start_time"),
        ({"end_time": "2020-02-30 00:00:00"}, "end_time"),
        ({"path": ""}, "path"),
        ({"path": "a\u0007"}, "path"),
        ({"channel_id": "1"}, "channel_id"),
        ({"origin": "captured"}, "origin"),
    ],
)
def test_a_wrong_field_is_named(api: httpx.Client, channel_id: int, change: dict[str, Any], field: str) -> None:
    assert problem(api.post("/recording", json=body(channel_id, **change)), 400)["field"] == field


def test_an_unknown_channel_is_named(api: httpx.Client) -> None:
    assert problem(api.post("/recording", json=body(77)), 404)["field"] == "channel_id"


@pytest.mark.parametrize(
    "written", ["2020-03-11T12:30:12Z", "2020-03-11 12:30:12", "2020-03-11T13:30:12+01:00", 1583929812]
)
def test_times_are_understood_in_every_form(api: httpx.Client, channel_id: int, written: object) -> None:
    made = api.post("/recording", json=body(channel_id, start_time=written)).json()

    assert made["start_time"] == "2020-03-11T12:30:12.000Z"


def test_a_registered_recording_changes_and_if_match_guards_it(api: httpx.Client, channel_id: int) -> None:
    path = api.post("/recording", json=body(channel_id)).headers["location"]
    stale = api.get(path).headers["etag"]

    changed = api.patch(path, json={"path": "label"}, headers={"If-Match": stale})

    assert (changed.status_code, changed.json()["path"]) == (200, "label")
    problem(api.put(path, json={"path": "x"}, headers={"If-Match": stale}), 412)
    assert api.get(path, headers={"If-None-Match": changed.headers["etag"]}).status_code == 304


def test_a_captured_recording_cannot_be_changed(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)

    problem(api.patch(f"/recording/{recording_id}", json={"path": "x"}), 409)
    problem(api.put(f"/recording/{recording_id}", json=body(channel_id)), 409)


# --- lists ------------------------------------------------------------------------------------------------


def test_lists_are_filtered_and_paged(api: httpx.Client, channel_id: int) -> None:
    for second in range(3):
        start = f"2026-11-01T12:00:0{second}Z"
        api.post("/recording", json=body(channel_id, start_time=start, end_time=start))

    def found(query: str) -> list[str]:
        return [recording["start_time"][17:19] for recording in api.get(f"/recording?{query}").json()]

    assert found(f"channel_id={channel_id}&sort=-start_time") == ["02", "01", "00"]
    assert found("from=2026-11-01T12:00:01Z") == ["01", "02"]
    assert found("to=2026-11-01T12:00:01Z") == ["00"]
    assert found("origin=captured") == []
    assert found("channel_id=77") == []
    first = api.get(f"/channel/{channel_id}/recordings?limit=2&from=2026-11-01T12:00:00Z")
    second_page = api.get(first.links["next"]["url"])
    assert [len(first.json()), len(second_page.json()), len(second_page.links)] == [2, 1, 0]


@pytest.mark.parametrize("query", ["from=x", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "sort=path"])
def test_a_wrong_question_is_refused(shared_api: httpx.Client, query: str) -> None:
    problem(shared_api.get(f"/recording?{query}"), 400)


def test_a_deleted_channel_keeps_its_recordings(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)

    assert api.delete(f"/channel/{channel_id}").status_code == 204

    assert [recording["id"] for recording in api.get(f"/channel/{channel_id}/recordings").json()] == [recording_id]
    assert api.get(f"/recording/{recording_id}/media").content == MEDIA
    problem(api.get("/channel/987654/recordings"), 404)


# --- files ------------------------------------------------------------------------------------------------


def test_the_file_comes_with_its_hash_type_and_name(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)

    answer = api.get(f"/recording/{recording_id}/media")
    head = api.head(f"/recording/{recording_id}/media")

    assert answer.content == MEDIA
    assert answer.headers["etag"] == f'"{hashlib.sha256(MEDIA).hexdigest()}"'
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["content-disposition"] == 'inline; filename="gr-rstpk-1_20261101T120000Z.mp3"'
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(MEDIA)))


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-9", 206, MEDIA[:10]),
        ("bytes=2040-", 206, MEDIA[2040:]),
        ("bytes=-5", 206, MEDIA[-5:]),
        ("bytes=2040-99999", 206, MEDIA[2040:]),
        ("bytes=-99999", 206, MEDIA),
        ("bytes=9-0", 200, MEDIA),
        ("bytes=x", 200, MEDIA),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(9)), 200, MEDIA),
        ("lines=0-9", 200, MEDIA),
    ],
)
def test_ranges(
    api: httpx.Client, channel_id: int, archive: Path, wanted: str, status: int, content: bytes
) -> None:
    recording_id = captured(archive, channel_id)

    answer = api.get(f"/recording/{recording_id}/media", headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (status, content)


def test_several_ranges_come_in_parts(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)

    answer = api.get(f"/recording/{recording_id}/media", headers={"Range": "bytes=0-1,100-101"})

    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert MEDIA[100:102] in answer.content


@pytest.mark.parametrize("wanted", ["bytes=2048-", "bytes=-0", "bytes=5000-6000"])
def test_a_range_beyond_the_end_is_a_problem(
    api: httpx.Client, channel_id: int, archive: Path, wanted: str
) -> None:
    recording_id = captured(archive, channel_id)

    answer = api.get(f"/recording/{recording_id}/media", headers={"Range": wanted})

    problem(answer, 416)
    assert answer.headers["content-range"] == "bytes */2048"


def test_conditions_on_the_hash(api: httpx.Client, channel_id: int, archive: Path) -> None:
    path = f"/recording/{captured(archive, channel_id)}/media"
    tag = api.head(path).headers["etag"]

    assert api.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert api.get(path, headers={"Range": "bytes=0-1", "If-Range": tag}).content == MEDIA[:2]
    assert api.get(path, headers={"Range": "bytes=0-1", "If-Range": '"old"'}).content == MEDIA


def test_a_registered_recording_has_no_file_whatever_its_path_says(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    captured(archive, channel_id)
    made = api.post("/recording", json=body(channel_id, path=KEY)).json()

    problem(api.get(f"/recording/{made['id']}/media"), 404)


def test_a_file_that_is_gone_is_gone(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)
    (archive / KEY).unlink()

    gone = problem(api.get(f"/recording/{recording_id}/media"), 410)

    assert (gone["type"], gone["lost"]) == ("urn:streamrec:problem:lost", "missing")


def test_a_file_that_nobody_finds_is_lost_to_all_of_the_api(
    api: httpx.Client, channel_id: int, settings: Settings
) -> None:
    with db.Session.begin() as session, Tree(settings.archive_dir) as tree:
        roots.expected(session, tree, host="here")
    recording_id = captured(settings.archive_dir, channel_id)
    (settings.archive_dir / KEY).unlink()

    problem(api.get(f"/recording/{recording_id}/media"), 410)

    assert api.get(f"/recording/{recording_id}").json()["lost"] == "missing"


@pytest.mark.parametrize("instead", ["link", "folder"])
def test_what_stands_in_a_files_place_is_altered_from_the_first_answer_on(
    api: httpx.Client, channel_id: int, settings: Settings, tmp_path: Path, instead: str
) -> None:
    with db.Session.begin() as session, Tree(settings.archive_dir) as tree:
        roots.expected(session, tree, host="here")
    recording_id = captured(settings.archive_dir, channel_id)
    file = settings.archive_dir / KEY
    file.unlink()
    if instead == "link":
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.mkdir()

    answers = [problem(api.get(f"/recording/{recording_id}/media"), 410)["lost"] for _ in range(2)]

    assert answers == ["altered", "altered"]
    assert api.get(f"/recording/{recording_id}").json()["lost"] == "altered"


def test_a_file_of_another_size_is_not_sent(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)
    (archive / KEY).write_bytes(MEDIA + b"x")

    assert problem(api.get(f"/recording/{recording_id}/media"), 410)["lost"] == "altered"


def test_without_the_archives_disk_nothing_is_said_of_its_files(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    recording_id = captured(archive, channel_id)
    shutil.rmtree(archive)

    problem(api.get(f"/recording/{recording_id}/media"), 503)


def test_a_recording_that_is_lost_says_so_and_is_another_version(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    recording_id = captured(archive, channel_id)
    before = api.get(f"/recording/{recording_id}")
    with db.Session.begin() as session:
        losses.note(session, session.get_one(Recording, recording_id), Fault(Loss.ALTERED, "has another SHA-256"))
    after = api.get(f"/recording/{recording_id}")

    assert (before.json()["lost"], after.json()["lost"]) == (None, "altered")
    assert before.headers["etag"] != after.headers["etag"]
    assert problem(api.get(f"/recording/{recording_id}/media"), 410)["lost"] == "altered"


def test_no_link_leads_out_of_the_archive(
    api: httpx.Client, channel_id: int, archive: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file_link = captured(archive, channel_id)
    (archive / KEY).unlink()
    (archive / KEY).symlink_to(secret)
    (archive / "linked").symlink_to(tmp_path)
    with db.Session.begin() as session:
        folder_link = make.captured(session, channel_id, 60, 120, path="linked/secret").id

    for recording_id in (file_link, folder_link):
        problem(api.get(f"/recording/{recording_id}/media"), 410)


@pytest.mark.parametrize(
    ("form", "codecs", "media_type"),
    [
        (FileFormat.MP4, "h264+aac", "video/mp4"),
        (FileFormat.MP4, "opus", "audio/mp4"),
        (FileFormat.TS, "h264+aac", "video/mp2t"),
        (FileFormat.AAC, "aac", "audio/aac"),
    ],
)
def test_media_types(
    api: httpx.Client, channel_id: int, archive: Path, form: FileFormat, codecs: str, media_type: str
) -> None:
    recording_id = captured(archive, channel_id, format=form, codecs=codecs)

    assert api.get(f"/recording/{recording_id}").json()["media_type"] == media_type
    assert api.head(f"/recording/{recording_id}/media").headers["content-type"] == media_type


# --- deleting ---------------------------------------------------------------------------------------------


def kinds(channel_id: int) -> list[CoverageKind]:
    with db.Session.begin() as session:
        statement = sa.select(Coverage.kind).where(Coverage.channel_id == channel_id)
        return list(session.scalars(statement.order_by(Coverage.start_time)))


def garbage() -> list[str]:
    with db.Session.begin() as session:
        return recordings.garbage(session)


def test_deleting_a_capture_removes_its_file_and_leaves_its_time_as_expired(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    recording_id = captured(archive, channel_id)

    assert api.delete(f"/recording/{recording_id}").status_code == 204

    assert not (archive / KEY).exists()
    assert (kinds(channel_id), garbage()) == ([CoverageKind.EXPIRED], [])


def test_what_cannot_be_removed_keeps_its_note(
    api: httpx.Client, channel_id: int, archive: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.mp3").write_text("kept")
    archive.mkdir(parents=True, exist_ok=True)
    (archive / "linked").symlink_to(elsewhere)
    with db.Session.begin() as session:
        recording_id = make.captured(session, channel_id, 0, 60, path="linked/x.mp3").id

    assert api.delete(f"/recording/{recording_id}").status_code == 204

    assert (elsewhere / "x.mp3").exists()
    assert garbage() == ["linked/x.mp3"]


def test_what_a_crash_left_is_swept_at_the_next_start(api: httpx.Client, channel_id: int, archive: Path) -> None:
    recording_id = captured(archive, channel_id)
    with db.Session.begin() as session:
        recordings.delete(session, recording_id)
    assert (archive / KEY).exists()

    left = deletion.sweep_leftovers(archive)

    assert (left, garbage(), (archive / KEY).exists()) == (0, [], False)


def test_a_file_that_is_not_there_keeps_its_note_while_its_disk_may_be_away(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    """A bare mount point has no files, but the disk has: the note is for when it is mounted again."""
    (archive / root.MARK).unlink()
    with db.Session.begin() as session:
        recordings.delete(session, make.captured(session, channel_id, 0, 1, path="a/1.mp3").id)
    assert deletion.sweep_leftovers(archive) == 1

    with Tree(archive) as tree:
        root.mark(tree, uuid4())
    assert deletion.sweep_leftovers(archive) == 0


def test_a_sweep_goes_past_what_stands_in_its_way(
    api: httpx.Client, channel_id: int, archive: Path, tmp_path: Path
) -> None:
    """Also where that is the oldest of more files than one batch has."""
    (archive / "linked").symlink_to(tmp_path)
    with db.Session.begin() as session:
        for second, path in enumerate(("linked/x.mp3", "a/1.mp3", "a/2.mp3", "a/3.mp3")):
            recordings.delete(session, make.captured(session, channel_id, second, second + 1, path=path).id)

    assert deletion.sweep_leftovers(archive, at_once=2) == 1
    assert garbage() == ["linked/x.mp3"]


def test_deleting_a_channel_with_its_recordings_removes_rows_and_files(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    captured(archive, channel_id)
    captured(archive, channel_id, path=KEY.replace("1200", "1201"), start=60)
    api.post("/recording", json=body(channel_id))

    assert api.delete(f"/channel/{channel_id}?recordings=delete").status_code == 204

    assert api.get("/recording").json() == []
    assert list(archive.rglob("*.mp3")) == []
    assert (kinds(channel_id), garbage()) == ([CoverageKind.EXPIRED] * 2, [])


def test_an_interrupted_deletion_is_finished_by_asking_again(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    captured(archive, channel_id)
    api.delete(f"/channel/{channel_id}")

    assert api.delete(f"/channel/{channel_id}?recordings=delete").status_code == 204
    problem(api.delete(f"/channel/{channel_id}?recordings=delete"), 404)
    assert api.get("/recording").json() == []


def test_a_deletion_waits_for_the_capture_to_close_its_last_file(
    api: httpx.Client, channel_id: int, archive: Path
) -> None:
    with db.Session.begin() as session:
        recorder = make.capturing(session, channel_id, CaptureState.RUNNING)
    waited: list[bool] = []

    def stop_after_the_first_look(*_: object) -> None:
        if not waited:
            waited.append(True)
            with db.Session.begin() as session:
                make.captured(session, channel_id, 0, 60)
                session.get_one(type(recorder), recorder.id).stopped_at = make.T0

    sa.event.listen(db.Session, "after_commit", stop_after_the_first_look, once=True)
    deletion.channel_with_recordings(channel_id, archive)

    assert waited
    assert api.get("/recording").json() == []
