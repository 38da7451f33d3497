"""The console: it shows what is there, escapes what is hostile, and asks for a key when the API does."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import httpx
import pytest

from streamrec import apikeys, channels, db
from streamrec.channel_fields import checked
from streamrec.clock import now
from streamrec.models import CaptureState, Coverage, CoverageKind, GapReason
from streamrec.settings import Settings
from streamrec.web import console
from tests import factories as make
from tests.serving import serving


def test_an_empty_instance_says_so(api: httpx.Client) -> None:
    page = api.get("/console/")

    assert page.status_code == 200
    assert "No recorder has ever run here." in page.text
    assert "There is no channel yet" in page.text


def test_channels_recordings_and_gaps_are_shown_and_escaped(api: httpx.Client) -> None:
    with db.Session.begin() as session:
        made = make.channel(session, name="<script>alert(1)</script>")
        recording = make.captured(session, made.id, 0, 60)
        make.capturing(session, made.id, CaptureState.RUNNING)
        row = make.covered(session, made.id, 60, 70, CoverageKind.GAP, GapReason.STALLED)
        session.get_one(Coverage, row.id).start_time = now() - timedelta(minutes=1)
        row.end_time = now()

    page = api.get("/console/").text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Artist - &lt;b&gt;Song&lt;/b&gt;" in page
    assert f'<a href="/recording/{recording.id}/media">' in page
    assert "stalled" in page
    assert "1 of 1" in page


def test_its_style_and_script_are_its_own_files(api: httpx.Client) -> None:
    page = api.get("/console/")

    assert "<style" not in page.text
    assert "style=" not in page.text
    assert "script-src 'self';" in page.headers["content-security-policy"]
    for name in ("console.css", "console.js"):
        assert f"/console/static/{name}" in page.text
        assert api.get(f"/console/static/{name}").status_code == 200


def test_it_only_reads(api: httpx.Client) -> None:
    assert api.post("/console/").status_code == 405


def test_a_closed_api_has_a_closed_console(closed_api: httpx.Client) -> None:
    with db.Session.begin() as session:
        key = apikeys.create(session, "desk")
        channels.create(session, checked(make.fields(url="http://46.4.37.132:9382/;")))

    refused = [
        closed_api.get("/console/"),
        closed_api.get("/console/", auth=("", "wrong")),
        closed_api.get("/console/", headers={"Authorization": f"Bearer {key}"}),
    ]
    shown = [closed_api.get("/console/", auth=("", key)) for _ in range(2)]

    assert [answer.status_code for answer in refused] == [401, 401, 401]
    assert refused[0].headers["www-authenticate"].startswith("Basic ")
    assert all("RastaPank" not in answer.text for answer in refused)
    assert all("RastaPank" in answer.text for answer in shown)


def test_a_running_channel_can_be_listened_to_without_a_key_by_the_address_on_the_page(
    closed_api: httpx.Client,
) -> None:
    """A player sends no headers, so the page signs the address; without that it is closed."""
    with db.Session.begin() as session:
        key = apikeys.create(session, "operator")
        made = make.channel(session, name='Radio "One"')
        make.capturing(session, made.id, CaptureState.RUNNING)

    page = closed_api.get("/console/", auth=("", key)).text

    found = re.search(r'data-live="([^"]+)" data-name="([^"]+)"', page)
    assert found is not None
    assert html.unescape(found[2]) == 'Radio "One"'
    assert closed_api.get(f"/channel/{made.id}/live.m3u8").status_code == 401
    assert closed_api.get(html.unescape(found[1])).status_code != 401


def test_without_a_database_the_page_says_so(settings: Settings) -> None:
    away = settings.model_copy(
        update={"auth": "open", "database_url": settings.database_url.__class__("postgresql://127.0.0.1:1/x")}
    )

    with serving(away) as api:
        page = api.get("/console/")

    assert page.status_code == 503
    assert "The database does not answer." in page.text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (console.length(None), ""),
        (console.length(5.25), "5.2 s"),
        (console.length(timedelta(seconds=65)), "1 min 5 s"),
        (console.length(timedelta(hours=2, minutes=3)), "2 h 3 min"),
        (console.length(timedelta(days=2, hours=5)), "2 d 5 h"),
        (console.size(None), ""),
        (console.size(999), "999 B"),
        (console.size(1_500), "1.5 kB"),
        (console.size(2_500_000), "2.5 MB"),
        (console.size(3_200_000_000), "3.2 GB"),
        (console.rate(None), ""),
        (console.rate(64_000), "64 kbit/s"),
        (console.moment(None), ""),
        (console.moment(make.T0), "2026-11-01 12:00:00"),
        (console.ago(None), ""),
    ],
)
def test_figures_are_written_for_people(written: str, text: str) -> None:
    assert written == text
