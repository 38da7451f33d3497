"""Stored files over HTTP: the document, streamed uploads, ranges, owners, and what broken uploads leave."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from streamrec import apikeys, db
from streamrec.files import catalogue, content, keeping
from streamrec.models import FileContent, StoredFile
from streamrec.settings import Settings
from tests.serving import serving

PLACE = "/service/fileupload"
MUSIC = b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(range(256)) * 40
OTHER = b"something else\n"


def sent(api: httpx.Client, data: bytes = MUSIC, name: str = "jingle.mp3", **options: Any) -> httpx.Response:
    return api.post(PLACE, files={"upfile": (name, data, "text/html")}, **options)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    return found


def lying(settings: Settings) -> list[str]:
    """All files of the store."""
    return sorted(str(p.relative_to(settings.files_dir)) for p in settings.files_dir.rglob("*") if p.is_file())


def hashes(data: bytes) -> list[str]:
    return [hashlib.new(kind, data).hexdigest() for kind in ("md5", "sha1", "sha256")]


# --- the document -----------------------------------------------------------------------------------------


def test_a_form_stores_a_file_and_answers_201_with_its_metadata(api: httpx.Client) -> None:
    answer = sent(api)

    md5, sha1, sha256 = hashes(MUSIC)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["file_name"], made["type"], made["size"]) == ("jingle.mp3", "audio/mpeg", str(len(MUSIC)))
    assert (made["md5"], made["sha1"], made["sha256"]) == (md5, sha1, sha256)
    assert api.get(answer.headers["location"]).json() == made


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_file_is_found_by_each_of_its_hashes(api: httpx.Client, which: int) -> None:
    made = sent(api).json()

    assert api.get(f"{PLACE}/{hashes(MUSIC)[which]}").json() == made


def test_an_unknown_hash_is_not_found(api: httpx.Client) -> None:
    unknown = hashes(OTHER)[0]

    assert problem(api.get(f"{PLACE}/{unknown}"), 404)["file_hash"] == unknown
    assert problem(api.delete(f"{PLACE}/{unknown}"), 404)
    assert problem(api.put(f"{PLACE}/{unknown}", json={"file_name": "x"}), 404)


def test_the_same_content_again_is_forbidden_whatever_its_name(api: httpx.Client, settings: Settings) -> None:
    sent(api)

    refused = problem(sent(api, name="other.mp3"), 403)

    assert refused["detail"] == "File already exist!"
    assert lying(settings) == [content.key(hashes(MUSIC)[2])]


def test_the_list_holds_the_metadata_of_all_files(api: httpx.Client) -> None:
    made = [sent(api).json(), sent(api, OTHER, "notes.txt").json()]

    assert api.get(PLACE).json() == made
    assert api.get(PLACE, params={"sort": "-size", "limit": 1}).json() == made[:1]
    assert 'rel="next"' in api.get(PLACE, params={"limit": 1}).headers["link"]


@pytest.mark.parametrize("word", ["type", "file_type"])
def test_put_changes_name_and_type_and_answers_201(api: httpx.Client, word: str) -> None:
    made = sent(api).json()

    answer = api.put(f"{PLACE}/{made['md5']}", json={"file_name": "new.bin", word: "application/x-new"})

    assert answer.status_code == 201
    assert (answer.json()["file_name"], answer.json()["type"]) == ("new.bin", "application/x-new")
    assert api.get(f"{PLACE}/{made['md5']}").json() == answer.json()


@pytest.mark.parametrize(
    "body", [{}, {"md5": "0" * 32}, {"file_name": "x", "size": "1"}, {"file_name": "a/b"}, {"type": "no type"}]
)
def test_put_of_other_properties_is_forbidden_and_changes_nothing(api: httpx.Client, body: Any) -> None:
    made = sent(api).json()

    problem(api.put(f"{PLACE}/{made['md5']}", json=body), 403)

    assert api.get(f"{PLACE}/{made['md5']}").json() == made


def test_put_of_two_different_types_is_forbidden_and_changes_nothing(api: httpx.Client) -> None:
    made = sent(api).json()
    place = f"{PLACE}/{made['md5']}"

    told = problem(api.put(place, json={"type": "a/b", "file_type": "text/html"}), 403)

    assert (told["type"], told["field"]) == ("urn:streamrec:problem:invalid-properties", "file_type")
    assert api.get(place).json() == made


def test_put_of_one_type_under_both_names_is_taken(api: httpx.Client) -> None:
    made = sent(api).json()

    answer = api.put(f"{PLACE}/{made['md5']}", json={"type": "a/b", "file_type": "a/b"})

    assert (answer.status_code, answer.json()["type"]) == (201, "a/b")


def test_put_guarded_by_an_old_version_is_refused(api: httpx.Client) -> None:
    made = sent(api)
    place = made.headers["location"]
    api.put(place, json={"file_name": "second"})

    stale = api.put(place, json={"file_name": "third"}, headers={"If-Match": made.headers["etag"]})

    assert stale.status_code == 412
    assert api.get(place).json()["file_name"] == "second"


def test_delete_answers_201_with_a_text_and_removes_row_and_bytes(api: httpx.Client, settings: Settings) -> None:
    made = sent(api).json()

    answer = api.delete(f"{PLACE}/{made['sha1']}")

    assert answer.status_code == 201
    assert "jingle.mp3" in answer.json()
    assert api.get(f"{PLACE}/{made['sha1']}").status_code == 404
    assert lying(settings) == []
    assert sent(api).status_code == 201


# --- forms and bare bytes ---------------------------------------------------------------------------------


def test_bare_bytes_are_stored_under_the_name_of_the_query(api: httpx.Client) -> None:
    answer = api.post(
        PLACE,
        params={"file_name": "notes.txt"},
        content=OTHER,
        headers={"Content-Type": "application/octet-stream"},
    )

    assert (answer.status_code, answer.json()["file_name"], answer.json()["type"]) == (
        201,
        "notes.txt",
        "text/plain",
    )


def test_chunked_bytes_without_a_length_are_stored(api: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(100_000)

    answer = api.post(PLACE, content=pieces(), headers={"Content-Type": "application/octet-stream"})

    assert (answer.status_code, answer.json()["size"]) == (201, "3000000")


def test_an_empty_file_can_be_stored(api: httpx.Client) -> None:
    answer = sent(api, b"")

    assert (answer.status_code, answer.json()["size"]) == (201, "0")
    assert api.get(f"{answer.headers['location']}/content").content == b""


def test_put_of_content_stores_it_once_and_may_be_repeated(api: httpx.Client) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    place = f"{PLACE}/{hashes(OTHER)[2]}/content"

    first = api.put(place, content=OTHER, headers=octets)
    again = api.put(place, content=OTHER, headers=octets)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_put_of_content_with_another_hash_is_refused_and_leaves_nothing(
    api: httpx.Client, settings: Settings
) -> None:
    place = f"{PLACE}/{hashes(MUSIC)[2]}/content"

    refused = api.put(place, content=OTHER, headers={"Content-Type": "application/octet-stream"})

    assert problem(refused, 400)["field"] == "body"
    assert lying(settings) == []


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"other": ("a", b"x")}, "body"),
        ([("upfile", ("a", b"x")), ("upfile", ("b", b"y"))], "body"),
    ],
)
def test_a_form_with_anything_else_is_refused(
    api: httpx.Client, settings: Settings, form: Any, field: str
) -> None:
    assert problem(api.post(PLACE, files=form), 400)["field"] == field
    assert lying(settings) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"no form at all", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=upfile; filename=a\r\n\r\nabc",
            "multipart/form-data; boundary=x",
        ),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\n" + b"A: b\r\n" * 3000 + b"\r\n", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data"),
        (b"--x--\r\n", f"multipart/form-data; boundary={'x' * 71}"),
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(
    api: httpx.Client, settings: Settings, body: bytes, kind: str
) -> None:
    problem(api.post(PLACE, content=body, headers={"Content-Type": kind}), 400)

    assert lying(settings) == []


def test_another_content_type_is_refused(api: httpx.Client) -> None:
    problem(api.post(PLACE, content=b"{}", headers={"Content-Type": "application/json"}), 415)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.mp3", "a.mp3"),
        ("Sträßchen \u266b.mp3", "Sträßchen \u266b.mp3"),
        ("x" * 300, "x" * 255),
        ("..", None),
    ],
)
def test_a_file_name_is_a_label_without_folders(api: httpx.Client, given: str, kept: str | None) -> None:
    made = sent(api, name=given).json()

    assert made["file_name"] == (made["sha256"] if kept is None else kept)


# --- limits and breaks ------------------------------------------------------------------------------------


@pytest.fixture
def narrow(settings: Settings) -> Iterator[httpx.Client]:
    with serving(settings.model_copy(update={"auth": "open", "max_upload_bytes": 100_000})) as client:
        yield client


def test_a_file_above_the_limit_is_refused_before_and_while_it_comes(
    narrow: httpx.Client, settings: Settings
) -> None:
    octets = {"Content-Type": "application/octet-stream"}

    declared = narrow.post(PLACE, content=bytes(300_000), headers=octets)
    chunked = narrow.post(PLACE, content=iter([bytes(90_000)] * 3), headers=octets)

    assert problem(declared, 413)["limit_bytes"] == 100_000
    assert chunked.status_code == 413
    assert lying(settings) == []


@pytest.mark.parametrize("over", [1, 65_536, 65_537])
def test_the_limit_is_that_of_the_file_however_far_it_is_passed(narrow: httpx.Client, over: int) -> None:
    octets = {"Content-Type": "application/octet-stream"}

    bare = problem(narrow.post(PLACE, content=bytes(100_000 + over), headers=octets), 413)
    form = problem(narrow.post(PLACE, files={"upfile": bytes(100_000 + over)}), 413)

    assert [(told["type"], told["limit_bytes"]) for told in (bare, form)] == [
        ("urn:streamrec:problem:content-too-large", 100_000)
    ] * 2


def test_a_file_may_be_larger_than_other_bodies(api: httpx.Client, settings: Settings) -> None:
    assert sent(api, bytes(settings.max_body_bytes * 3)).status_code == 201


def test_an_upload_that_breaks_off_leaves_nothing(api: httpx.Client, settings: Settings) -> None:
    host, port = api.base_url.host, api.base_url.port
    assert port is not None
    with socket.create_connection((host, port)) as broken:
        head = f"POST {PLACE} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        broken.sendall(head.encode() + b"Content-Length: 5000000\r\n\r\n" + bytes(2_000_000))
        await_state(lambda: len(lying(settings)) == 1)

    await_state(lambda: lying(settings) == [])


def await_state(holds: Any, seconds: float = 20) -> None:
    waiting = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        waiting.wait(0.02)
    raise AssertionError("it did not come to that in time")


def test_what_a_killed_process_was_receiving_is_swept_and_what_is_being_received_is_not(
    settings: Settings,
) -> None:
    received = content.Incoming(settings.files_dir, most_bytes=10)
    (settings.files_dir / "incoming" / "left.part").write_bytes(b"x")

    assert content.sweep_abandoned(settings.files_dir) == 1
    assert len(lying(settings)) == 1
    assert not (settings.files_dir / "incoming" / "left.part").exists()
    received.close()


def test_the_api_sweeps_at_its_start_what_a_killed_process_was_receiving(settings: Settings) -> None:
    left = settings.files_dir / "incoming" / "left.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")

    with serving(settings):
        await_state(lambda: not left.exists())


@pytest.mark.usefixtures("engine")
def test_bytes_whose_row_never_came_are_removed(settings: Settings) -> None:
    """A crash between the rename and the commit."""
    incoming = content.Incoming(settings.files_dir, most_bytes=100)
    incoming.write(OTHER)
    received = incoming.finish()
    with db.Session.begin() as session:
        catalogue.announce(session, received)
    incoming.keep()
    incoming.close()

    keeping.tidy(settings.files_dir)

    assert lying(settings) == []
    with db.Session.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(FileContent)) == 0


def test_a_large_upload_costs_little_memory(api: httpx.Client) -> None:
    """The server runs in this process; 300 MB of body and 64 MiB of growth tell streaming from keeping."""
    piece = os.urandom(1_000_000)
    process = psutil.Process()
    before = process.memory_info().rss

    answer = api.post(
        PLACE, content=(piece for _ in range(300)), headers={"Content-Type": "application/octet-stream"}
    )

    assert answer.status_code == 201
    assert process.memory_info().rss - before < 64 * 2**20


def test_twenty_senders_of_the_same_content_make_one_file(api: httpx.Client, settings: Settings) -> None:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(sent(api).status_code)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [201, *[403] * 19]
    assert lying(settings) == [content.key(hashes(MUSIC)[2])]


# --- content ----------------------------------------------------------------------------------------------


def test_the_bytes_come_back_with_type_and_name(api: httpx.Client) -> None:
    place = sent(api).headers["location"]

    answer = api.get(f"{place}/content")

    assert answer.content == MUSIC
    assert answer.headers["content-type"] == "audio/mpeg"
    assert "jingle.mp3" in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_range_of_the_bytes_comes_back(api: httpx.Client) -> None:
    place = sent(api).headers["location"]

    answer = api.get(f"{place}/content", headers={"Range": "bytes=10-19"})

    assert (answer.status_code, answer.content) == (206, MUSIC[10:20])


def test_what_a_browser_would_run_comes_as_octets(api: httpx.Client) -> None:
    place = sent(api, b"<html><script>alert(1)</script></html>", "page.html").headers["location"]
    api.put(place, json={"type": "text/html"})

    assert api.get(f"{place}/content").headers["content-type"] == "application/octet-stream"


def test_bytes_that_are_gone_are_told_as_gone(api: httpx.Client, settings: Settings) -> None:
    place = sent(api).headers["location"]
    (settings.files_dir / content.key(hashes(MUSIC)[2])).unlink()

    problem(api.get(f"{place}/content"), 410)


# --- owners -----------------------------------------------------------------------------------------------


@pytest.fixture
def keys(closed_api: httpx.Client) -> list[dict[str, str]]:
    with db.Session.begin() as session:
        made = [apikeys.create(session, name) for name in ("anna", "berta")]
    return [{"Authorization": f"Bearer {key}"} for key in made]


def test_a_hash_is_not_a_permission(closed_api: httpx.Client, keys: list[dict[str, str]]) -> None:
    anna, berta = keys
    place = sent(closed_api, headers=anna).headers["location"]

    for ask in (
        closed_api.get(place, headers=berta),
        closed_api.get(f"{place}/content", headers=berta),
        closed_api.put(place, json={"file_name": "mine"}, headers=berta),
        closed_api.delete(place, headers=berta),
    ):
        problem(ask, 404)
    assert closed_api.get(PLACE, headers=berta).json() == []
    assert closed_api.get(f"{place}/content", headers=anna).content == MUSIC


def test_two_owners_of_the_same_content_share_its_bytes_until_both_delete_it(
    closed_api: httpx.Client, keys: list[dict[str, str]], settings: Settings
) -> None:
    anna, berta = keys
    place = sent(closed_api, headers=anna).headers["location"]
    assert sent(closed_api, headers=berta).status_code == 201
    assert len(lying(settings)) == 1

    closed_api.delete(place, headers=anna)
    assert closed_api.get(f"{place}/content", headers=berta).content == MUSIC

    closed_api.delete(place, headers=berta)
    assert lying(settings) == []
    with db.Session.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(StoredFile)) == 0


def test_what_was_stored_while_the_api_was_open_belongs_to_all(settings: Settings, api: httpx.Client) -> None:
    place = sent(api).headers["location"]
    with db.Session.begin() as session:
        key = apikeys.create(session, "anna")

    with serving(settings.model_copy(update={"auth": "required"})) as closed:
        answer = closed.get(place, headers={"X-API-Key": key})

    assert answer.status_code == 200


# --- a full disk ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted by root only")
def test_a_full_disk_is_told_as_507_and_leaves_nothing(settings: Settings, small_disk: Path) -> None:
    tight = settings.model_copy(update={"auth": "open", "data_dir": small_disk})
    with serving(tight) as client:
        refused = client.post(
            PLACE, content=bytes(8_000_000), headers={"Content-Type": "application/octet-stream"}
        )

        assert problem(refused, 507)
        assert lying(tight) == []
        assert sent(client).status_code == 201


def test_what_captures_need_of_a_disk_takes_no_file(settings: Settings) -> None:
    with serving(settings.model_copy(update={"auth": "open", "disk_low_percent": 100.0})) as client:
        refused = problem(sent(client), 507)

        assert refused["rule"] == "disk_low_percent"
        assert "100 % are kept for captures" in refused["detail"]
        assert lying(settings) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted by root only")
def test_a_file_is_broken_off_where_it_would_take_what_captures_need(settings: Settings, small_disk: Path) -> None:
    """There is room for all of it, but not for it and them."""
    tight = settings.model_copy(update={"auth": "open", "data_dir": small_disk, "disk_low_percent": 50.0})
    with serving(tight) as client:
        refused = client.post(
            PLACE, content=bytes(3_500_000), headers={"Content-Type": "application/octet-stream"}
        )

        assert problem(refused, 507)["rule"] == "disk_low_percent"
        assert lying(tight) == []
        assert sent(client).status_code == 201


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; needs root."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)
