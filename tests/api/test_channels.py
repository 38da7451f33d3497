"""Channels over HTTP: the document's own examples, rules, versions, lists."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamrec.settings import Settings
from tests.serving import serving

RASTAPANK = {
    "keyname": "gr-rstpk12",
    "name": "RastaPank UOC11",
    "type": "radio",
    "url": "http://rs.radio.uoc.gr:8000/uoc_64.mp3",
}


def created(api: httpx.Client, **changes: Any) -> dict[str, Any]:
    answer = api.post("/channel", json={**RASTAPANK, **changes})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    return found


# --- the document's examples, as written ------------------------------------------------------------------


def test_the_documents_post_creates(api: httpx.Client) -> None:
    answer = api.post("/channel", json=RASTAPANK)

    assert answer.status_code == 201
    body = answer.json()
    assert {key: body[key] for key in RASTAPANK} == RASTAPANK
    assert answer.headers["location"] == f"/channel/{body['id']}"
    assert api.get(answer.headers["location"]).json() == body
    assert {key: body[key] for key in ("enabled", "segment_seconds", "capture", "tags", "capture_state")} == {
        "enabled": True,
        "segment_seconds": 60,
        "capture": "auto",
        "tags": [],
        "capture_state": "stopped",
    }


def test_the_documents_put_creates_channel_4(api: httpx.Client) -> None:
    body = {**RASTAPANK, "keyname": "gr-rstp-04", "name": "RastaPank UOC "}

    first = api.put("/channel/4", json=body)
    again = api.put("/channel/4", json=body)

    assert (first.status_code, first.json()["id"], first.json()["name"]) == (201, 4, "RastaPank UOC ")
    assert (again.status_code, again.json()) == (200, first.json())


def test_the_documents_get_and_delete(api: httpx.Client) -> None:
    one, two = created(api), created(api, keyname="two-------")

    assert [c["id"] for c in api.get("/channel").json()] == [one["id"], two["id"]]
    answer = api.delete(f"/channel/{two['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    problem(api.get(f"/channel/{two['id']}"), 404)
    problem(api.delete(f"/channel/{two['id']}"), 404)
    assert api.get("/channel").json() == [one]


@pytest.mark.parametrize("path", ["/channel/0", "/channel/0/recording", "/recording/0"])
def test_nothing_has_the_id_0(api: httpx.Client, path: str) -> None:
    """The document's own tests ask for it; what is not there is 404."""
    problem(api.get(path), 404)


# --- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"keyname": "short"}, "keyname"),
        ({"keyname": "gr-rstpk12\n"}, "keyname"),
        ({"keyname": None}, "keyname"),
        ({"type": "tv"}, "type"),
        ({"url": "ftp://h.example/"}, "url"),
        ({"url": "http://127.0.0.1:8000/"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "http://0x7f.1/"}, "url"),
        ({"name": " "}, "name"),
        ({"segment_seconds": 4}, "segment_seconds"),
        ({"tags": [""]}, "tags[0]"),
        ({"country": "Greece"}, "country"),
        ({"language": "?"}, "language"),
        ({"id": 7}, "id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_created(
    shared_api: httpx.Client, change: dict[str, Any], field: str
) -> None:
    before = shared_api.get("/channel").json()

    answer = shared_api.post("/channel", json={**RASTAPANK, **change})

    assert problem(answer, 400)["field"] == field
    assert shared_api.get("/channel").json() == before


def test_a_keyname_that_is_taken_is_a_conflict(api: httpx.Client) -> None:
    created(api)

    assert problem(api.post("/channel", json=RASTAPANK), 409)["field"] == "keyname"


def test_put_with_one_field_changes_that(api: httpx.Client) -> None:
    made = created(api)

    changed = api.put(f"/channel/{made['id']}", json={"name": "New"}).json()

    assert changed == {**made, "name": "New", "updated_at": changed["updated_at"]}


def test_put_of_an_unknown_id_with_a_field_missing_is_404(api: httpx.Client) -> None:
    problem(api.put("/channel/77", json={"name": "New"}), 404)


def test_put_of_a_deleted_id_is_a_conflict(api: httpx.Client) -> None:
    made = created(api)
    api.delete(f"/channel/{made['id']}")

    problem(api.put(f"/channel/{made['id']}", json=RASTAPANK), 409)


def test_patch_with_null_clears_what_may_be_empty(api: httpx.Client) -> None:
    made = created(api, country="gr", language="el")

    changed = api.patch(
        f"/channel/{made['id']}", json={"country": None, "language": None, "enabled": False}
    ).json()

    assert (changed["country"], changed["language"], changed["enabled"]) == (None, None, False)
    assert problem(api.patch(f"/channel/{made['id']}", json={"name": None}), 400)["field"] == "name"


def test_if_match_guards_a_change(api: httpx.Client) -> None:
    path = f"/channel/{created(api)['id']}"
    stale = api.get(path).headers["etag"]
    assert api.patch(path, json={"name": "A"}, headers={"If-Match": stale}).status_code == 200

    for method in ("PATCH", "PUT", "DELETE"):
        body = None if method == "DELETE" else {"name": "B"}
        problem(api.request(method, path, json=body, headers={"If-Match": stale}), 412)
    assert api.get(path).json()["name"] == "A"
    assert api.delete(path, headers={"If-Match": api.get(path).headers["etag"]}).status_code == 204


def test_credentials_are_kept_and_shown_nowhere(api: httpx.Client) -> None:
    answer = api.post("/channel", json={**RASTAPANK, "url": "http://user:s3cret@h.invalid:8000/a"})
    again = api.patch(answer.headers["location"], json={"url": "http://h.invalid:8000/b"})
    export = api.get("/channel/export").text + api.get("/channel/export?format=csv").text
    conflict = api.post("/channel", json={**RASTAPANK, "url": "http://user:s3cret@h.invalid:8000/a"})
    refused = api.post("/channel", json={**RASTAPANK, "url": "http://user:s3cret@127.0.0.1/a"})

    assert (answer.json()["url"], answer.json()["has_credentials"]) == ("http://h.invalid:8000/a", True)
    assert again.json()["has_credentials"] is True
    for text in (answer.text, again.text, export, conflict.text, refused.text):
        assert "s3cret" not in text


def test_backup_urls_are_as_secret_as_the_url(api: httpx.Client) -> None:
    answer = api.post("/channel", json={**RASTAPANK, "backup_urls": ["https://user:s3cret@h.invalid/a"]})
    export = api.get("/channel/export").text + api.get("/channel/export?format=csv").text
    path = answer.headers["location"]
    denied = api.patch(path, json={"backup_urls": ["http://user:s3cret@127.0.0.1/a"]})
    twice = api.patch(path, json={"backup_urls": ["http://x.invalid/", "http://user:s3cret@x.invalid/"]})

    assert answer.json()["backup_urls"] == ["https://h.invalid/a"]
    assert problem(denied, 400)["field"] == problem(twice, 400)["field"] == "backup_urls"
    for text in (answer.text, export, denied.text, twice.text):
        assert "s3cret" not in text


def test_a_channel_says_how_its_sources_are_to_be_read(api: httpx.Client) -> None:
    made = created(api, tls_verify=False, max_bandwidth=800_000)
    changed = api.patch(f"/channel/{made['id']}", json={"tls_verify": True, "max_bandwidth": None}).json()

    assert (made["tls_verify"], made["max_bandwidth"]) == (False, 800_000)
    assert (changed["tls_verify"], changed["max_bandwidth"]) == (True, None)


# --- lists ------------------------------------------------------------------------------------------------


def test_a_list_is_filtered_sorted_and_paged(api: httpx.Client) -> None:
    for number, kind in enumerate(["radio", "TV", "radio"]):
        created(api, keyname=f"channel--{number}", name=f"Name {9 - number}", type=kind, tags=[f"tag{number}"])

    def names(query: str) -> list[str]:
        return [channel["keyname"][-1] for channel in api.get(f"/channel?{query}").json()]

    assert names("type=TV") == ["1"]
    assert names("enabled=false") == []
    assert names("q=tag2") == ["2"]
    assert names("tag=tag0") == ["0"]
    assert names("sort=name") == ["2", "1", "0"]
    pages = []
    answer = api.get("/channel?sort=-created_at&limit=2")
    while True:
        pages.append([channel["keyname"][-1] for channel in answer.json()])
        if "next" not in answer.links:
            break
        answer = api.get(answer.links["next"]["url"])
    assert pages == [["2", "1"], ["0"]]


@pytest.mark.parametrize("query", ["sort=url", "limit=0", "limit=1001", "cursor=abc", "type=tv", "q=", "x=1"])
def test_a_wrong_question_is_refused(shared_api: httpx.Client, query: str) -> None:
    problem(shared_api.get(f"/channel?{query}"), 400)


def test_a_cursor_belongs_to_its_order(api: httpx.Client) -> None:
    created(api)
    created(api, keyname="two-------")
    link = api.get("/channel?limit=1").links["next"]["url"]

    problem(api.get(link + "&sort=name"), 400)


# --- import and export ------------------------------------------------------------------------------------

M3U = """#EXTM3U
#EXTINF:-1 tvg-id="murcia" tvg-name="RTV Murcia" group-title="es",RTV Murcia
http://rtvmurcia_01-lh.akamaihd.net/i/rtvmurcia_1_0@507973/master.m3u8
#EXTINF:-1 radio="true" streamrec-keyname="gr-kriti-2",Kritikorama
http://46.4.37.132:9382/;
#EXTINF:-1,Inside
http://127.0.0.1/
"""


def test_an_import_reports_every_line_and_a_bad_one_spoils_no_other(api: httpx.Client) -> None:
    answer = api.post("/channel/import", content=M3U, headers={"Content-Type": "audio/x-mpegurl"})

    report = answer.json()
    assert [(line["line"], line["status"], line["field"]) for line in report["lines"]] == [
        (3, "created", None),
        (5, "created", None),
        (7, "refused", "url"),
    ]
    assert (report["created"], report["refused"]) == (2, 1)
    kritikorama = api.get("/channel?q=kritikorama").json()[0]
    assert (kritikorama["keyname"], kritikorama["type"]) == ("gr-kriti-2", "radio")


def test_a_dry_run_changes_nothing(api: httpx.Client) -> None:
    answer = api.post("/channel/import?dry_run=true", json={"format": "m3u", "content": M3U})

    report = answer.json()
    assert (report["dry_run"], report["created"]) == (True, 2)
    assert all(line["channel_id"] is None for line in report["lines"])
    assert api.get("/channel").json() == []


@pytest.mark.parametrize(("form", "media_type"), [("m3u", "audio/x-mpegurl"), ("csv", "text/csv")])
def test_an_export_can_be_imported_again(api: httpx.Client, form: str, media_type: str) -> None:
    created(api, name='=1+"1", a', tags=["a;b", "50%"], country="GR", language="el", segment_seconds=300)
    created(api, keyname="-two------", type="TV", enabled=False, capture="ffmpeg")
    answer = api.get("/channel/export", params={"format": form})

    report = api.post("/channel/import", content=answer.content, headers={"Content-Type": media_type}).json()

    assert answer.headers["content-type"].startswith(media_type)
    assert f"channels.{form}" in answer.headers["content-disposition"]
    assert [line["status"] for line in report["lines"]] == ["skipped", "skipped"]


def test_an_import_may_leave_known_channels_alone(api: httpx.Client) -> None:
    made = created(api)
    text = f"keyname,name,url\n{made['keyname']},Other,http://h.invalid/\n"

    report = api.post("/channel/import?existing=skip", json={"format": "csv", "content": text}).json()

    assert report["lines"][0]["status"] == "skipped"
    assert api.get(f"/channel/{made['id']}").json() == made


def test_an_import_updates_the_fields_that_it_gives(api: httpx.Client) -> None:
    made = created(api, tags=["kept"])
    text = f"keyname,name,url,type\n{made['keyname']},Other,{made['url']},radio\n"

    report = api.post("/channel/import", content=text, headers={"Content-Type": "text/csv"}).json()

    assert (report["updated"], report["lines"][0]["channel_id"]) == (1, made["id"])
    changed = api.get(f"/channel/{made['id']}").json()
    assert (changed["name"], changed["tags"]) == ("Other", ["kept"])


def test_a_text_that_is_no_list_is_refused(shared_api: httpx.Client) -> None:
    answer = shared_api.post("/channel/import", content="a,b\n1,2\n", headers={"Content-Type": "text/csv"})

    assert problem(answer, 400)["field"] == "body"


def test_a_channel_is_pinned_and_unpinned(api: httpx.Client) -> None:
    made = created(api, pin={"site": "berlin"})
    path = f"/channel/{made['id']}"
    changed = api.patch(path, json={"pin": {"network": "dmz-2"}}).json()
    freed = api.patch(path, json={"pin": {}}).json()

    assert [made["pin"], changed["pin"], freed["pin"]] == [{"site": "berlin"}, {"network": "dmz-2"}, {}]


@pytest.mark.parametrize(
    "pin", [{"rack": "1"}, {"site": ""}, {"site": "a b"}, {"site": "x" * 64}, {"site": 1}, [], None]
)
def test_a_pin_has_known_labels_only(api: httpx.Client, pin: object) -> None:
    made = created(api)

    assert api.patch(f"/channel/{made['id']}", json={"pin": pin}).status_code == 400


def test_a_channel_goes_to_a_bucket_only_where_there_is_one(api: httpx.Client, settings: Settings) -> None:
    refused = api.post("/channel", json={**RASTAPANK, "store": "s3"})

    assert (refused.status_code, refused.json()["field"]) == (400, "store")
    with serving(settings.model_copy(update={"auth": "open", "s3_bucket": "archive"})) as client:
        assert client.post("/channel", json={**RASTAPANK, "store": "s3"}).status_code == 201
