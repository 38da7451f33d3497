"""Listening to what is being recorded: a real recorder, a real station, and a player that follows it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.instance import Instance
from tests.e2e.test_browser import QUIET
from tests.players import pages
from tests.station import clips, faulty, nginx, programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOLLOWED_SECONDS = 18
MOST_BEHIND = timedelta(seconds=10)


@dataclass
class Look:
    """A live playlist at a moment."""

    at: datetime
    numbers: dict[str, int]  # by wall time
    end: datetime


@pytest.fixture(scope="module")
def instance(
    tmp_path_factory: pytest.TempPathFactory,
    station: faulty.Station,
    hls_origin: nginx.Origin,
    radio_clip: clips.Clip,
    television_clip: clips.Clip,
) -> Iterator[tuple[Instance, dict[str, int]]]:
    """A recorder that records a radio and a television, and the ids of their channels."""
    station.add("live", radio_clip, burst_frames=0)
    hls_origin.play("live", television_clip)
    ports = (station.port, hls_origin.port)
    folder = tmp_path_factory.mktemp("timeshift")
    instance = Instance(folder, [f"127.0.0.1:{port}" for port in ports], STREAMREC_CORS_ORIGINS="*")
    instance.start()
    ids = {
        "radio": instance.add_channel("live-radio", station.url("live")),
        "television": instance.add_channel("live-telev", hls_origin.url("live"), "TV"),
    }
    for channel in ids.values():
        instance.await_recordings(channel, 1)
    instance.change(ids["radio"], segment_seconds=30)  # most of what is listed is still being written
    yield instance, ids
    instance.close()


def look(instance: Instance, channel: int) -> Look:
    at = datetime.now(UTC)
    answer = instance.client.get(f"/channel/{channel}/live.m3u8")
    assert answer.status_code == 200, answer.text
    first = int(re.findall(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", answer.text)[0])
    entries = re.findall(r"DATE-TIME:(.+)\n#EXTINF:([0-9.]+),", answer.text)
    start, length = entries[-1]
    end = datetime.fromisoformat(start) + timedelta(seconds=float(length))
    return Look(at, {each[0]: first + number for number, each in enumerate(entries)}, end)


def test_live_keeps_close_and_every_piece_keeps_its_number(instance: tuple[Instance, dict[str, int]]) -> None:
    """While files close and others begin."""
    recorder, ids = instance
    looks: dict[str, list[Look]] = {kind: [] for kind in ids}
    until = time.monotonic() + FOLLOWED_SECONDS

    def followed() -> bool:
        for kind, channel in ids.items():
            looks[kind].append(look(recorder, channel))
        return time.monotonic() > until

    programs.eventually(followed, 2 * FOLLOWED_SECONDS, "the lists were followed", every=0.4)

    for kind, seen in looks.items():
        numbers: dict[str, int] = {}
        for each in seen:
            assert all(numbers.get(at, number) == number for at, number in each.numbers.items()), kind
            numbers |= each.numbers
        assert sorted(numbers.values()) == list(range(min(numbers.values()), max(numbers.values()) + 1))
        behind = max(each.at - each.end for each in seen)
        assert behind <= MOST_BEHIND, (kind, behind)


def test_hlsjs_follows_live(instance: tuple[Instance, dict[str, int]]) -> None:
    """Across the ends of files, both kinds."""
    recorder, ids = instance
    chromium = programs.needed("chromium", "chromium")
    with pages.site() as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(QUIET))
        page_of = {kind: browser.new_page() for kind in ids}
        for kind, page in page_of.items():
            page.goto(origin)
            page.evaluate("url => { play(url) }", f"{recorder.address}/channel/{ids[kind]}/live.m3u8")
        for page in page_of.values():
            page.wait_for_function("fatal.length || player.currentTime > 0 && player.played.length")
            page.wait_for_function("fatal.length || player.currentTime > player.played.start(0) + 10")
            assert page.evaluate("fatal") == []
        browser.close()
