"""The demo as a newcomer sees it: `./run.sh demo` in one window, a browser in the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from tests.e2e import door
from tests.station import clips, programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# Without these Chromium looks up addresses of its maker's at every start.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[door.Instance]:
    """A demo that has recorded both stations."""
    with door.instance(tmp_path_factory.mktemp("demo") / "data", "demo") as started:
        started.await_health()
        for keyname in ("demo-radio", "demo-video"):
            programs.eventually(lambda key=keyname: recordings(started, key), 60, f"{keyname} is recorded")
        yield started


def recordings(instance: door.Instance, keyname: str) -> list[dict[str, Any]]:
    """The recordings of the channel with a keyname."""
    with httpx.Client(base_url=instance.address) as client:
        ids = {channel["keyname"]: channel["id"] for channel in client.get("/channel").json()}
        return list(client.get(f"/channel/{ids[keyname]}/recordings").json())


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a new browser, which fails the test if anything on it went wrong."""
    chromium = programs.needed("chromium", "chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=chromium, headless=True, args=list(QUIET)
        )
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: _note(errors, message))
        yield page
        context.close()
    assert errors == []


def _note(errors: list[str], message: ConsoleMessage) -> None:
    """Only the player that the browser makes itself has no icon to show."""
    if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
        errors.append(message.text)


def test_the_console_shows_both_stations_and_the_canary_being_recorded(demo: door.Instance, page: Page) -> None:
    """Names, states and the last files are on one page."""
    page.goto(f"{demo.address}/console")

    page.wait_for_selector("text=3 of 3")
    text = page.inner_text("main")
    assert "Demo radio" in text
    assert "Demo television" in text
    assert page.locator("a[href$='/media']").count() >= 2


def test_the_console_keeps_itself_up_to_date(demo: door.Instance, page: Page) -> None:
    """A new recording appears without a reload."""
    page.goto(f"{demo.address}/console")
    newest = page.locator("a[href$='/media']").first.get_attribute("href")

    programs.eventually(
        lambda: page.locator("a[href$='/media']").first.get_attribute("href") != newest, 30, "another newest file"
    )


@pytest.mark.parametrize("name", ["Demo radio", "Demo television"])
def test_a_channel_plays_live_on_the_console(demo: door.Instance, page: Page, name: str) -> None:
    """Its button opens a player, which goes on playing while the page renews itself."""
    page.goto(f"{demo.address}/console")

    page.click(f"button[data-name='{name}']")

    playing = "document.querySelector('#player video').currentTime"
    programs.eventually(lambda: page.evaluate(f"{playing} > 6"), 60, "it plays")
    page.click("#player button")
    assert page.locator("#player").is_hidden()


def test_a_recording_of_the_radio_plays_in_the_browser(demo: door.Instance, page: Page) -> None:
    """Opened from its link, it has its length and its time advances."""
    recording = recordings(demo, "demo-radio")[-1]

    page.goto(f"{demo.address}/recording/{recording['id']}/media")
    programs.eventually(
        lambda: page.evaluate("document.querySelector('video, audio')?.currentTime > 0.2"), 15, "it plays"
    )

    seconds = page.evaluate("document.querySelector('video, audio').duration")
    assert seconds == pytest.approx(recording["duration_seconds"], abs=0.3)


@pytest.mark.parametrize("keyname", ["demo-radio", "demo-video"])
def test_every_recording_of_the_demo_decodes(demo: door.Instance, keyname: str, tmp_path: Path) -> None:
    """What is downloaded plays from end to end without a complaint."""
    for recording in recordings(demo, keyname):
        path = tmp_path / f"{recording['id']}.{recording['format']}"
        path.write_bytes(httpx.get(f"{demo.address}/recording/{recording['id']}/media").content)

        assert clips.decode_errors(path) == ""


@pytest.mark.parametrize("keyname", ["demo-radio", "demo-video"])
def test_a_fresh_demo_met_no_station_that_was_not_there(demo: door.Instance, keyname: str) -> None:
    """The recorder waits for the stations, so that nothing was refused and nothing started again."""
    with httpx.Client(base_url=demo.address) as client:
        ids = {channel["keyname"]: channel["id"] for channel in client.get("/channel").json()}
        status = client.get(f"/channel/{ids[keyname]}/status").json()
        gaps = client.get(f"/channel/{ids[keyname]}/gaps").json()

    assert status["restarts"] == 0
    assert {gap["reason"] for gap in gaps} <= {"starting"}


def test_the_channels_can_be_listed_in_swagger_ui(demo: door.Instance, page: Page) -> None:
    """Its buttons "Try it out" and "Execute" show the demo's channels."""
    operation = '[id$=".list_channels"]'  # Swagger UI escapes the dot
    page.goto(f"{demo.address}/ui/")
    page.click(f"{operation} .opblock-summary-control")

    page.click(f"{operation} button.execute")

    page.wait_for_selector(f"{operation} .live-responses-table >> text=demo-radio")
