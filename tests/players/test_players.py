"""What players make of the playlists: hls.js in Chromium, two ffmpegs, and mpv."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, sync_playwright

from streamrec import db
from streamrec.clips import making
from streamrec.clock import now
from streamrec.jobworker.work import Attempts
from streamrec.models import FileFormat, JobKind, Recording
from streamrec.settings import Settings
from streamrec.timeline import written
from tests import tapes
from tests.clips.archive import on_air
from tests.e2e.test_browser import QUIET
from tests.factories import T0, at, channel
from tests.players import pages
from tests.serving import serving
from tests.station import programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HALF = 16  # seconds, in files of ten
GAP = 8


@dataclass
class Tape:
    """A half, a gap and a half of a channel, in files that end at multiples of ten seconds."""

    url: str
    start: datetime
    frames: int


Tapes = dict[FileFormat, Tape]

LIGHTS = """async times => {
  const canvas = new OffscreenCanvas(16, 9).getContext("2d"), lights = [];
  for (const time of times) {
    await new Promise(done => { player.onseeked = done; player.currentTime = time; });
    canvas.drawImage(player, 0, 0, 16, 9);
    const data = canvas.getImageData(0, 0, 16, 9).data;
    lights.push(data.reduce((sum, value, at) => at % 4 == 3 ? sum : sum + value, 0) / (16 * 9 * 3));
  }
  return lights;
}"""
"""How bright the picture is at these seconds, of 255."""


@pytest.fixture
def recorded(settings: Settings, tmp_path: Path) -> Iterator[Tapes]:
    """An API that pages of any origin may play from, over a tape in each format."""
    with serving(settings.model_copy(update={"auth": "open", "cors_origins": ["*"]})) as client:
        yield {form: taped(client, settings, form, tmp_path) for form in FileFormat}


def taped(client: httpx.Client, settings: Settings, form: FileFormat, folder: Path) -> Tape:
    with db.Session.begin() as session:
        channel_id = channel(session, keyname=f"tape-{form.value}_____"[:10]).id
    deck = tapes.Deck(settings, channel_id, form)
    units = deck.units(tapes.clip(folder, form, 2 * HALF))
    first, second = tapes.split(units, HALF)
    start = (now() - timedelta(minutes=2)).replace(microsecond=0, second=3)
    middle = deck.record(first, start)
    deck.lose(middle, middle + timedelta(seconds=GAP))
    deck.record(second, middle + timedelta(seconds=GAP))
    url = f"{client.base_url}/channel/{channel_id}/catchup.m3u8?from={start:%Y-%m-%dT%H:%M:%SZ}"
    return Tape(url, start, len(units))


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of another origin, with hls.js on it."""
    chromium = programs.needed("chromium", "chromium")
    with pages.site() as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(QUIET))
        page = browser.new_page()
        page.goto(origin)
        yield page
        browser.close()


def wait(page: Page, condition: str) -> None:
    page.wait_for_function(f"fatal.length || ({condition})", timeout=30_000)
    assert page.evaluate("fatal") == []


def test_hlsjs_plays_seeks_across_files_and_survives_a_gap(page: Page, recorded: Tapes) -> None:
    """In each format; and says what time it was at what it plays."""
    for form, tape in recorded.items():
        page.reload()
        page.evaluate("url => { play(url) }", tape.url)
        wait(page, "player.currentTime > 0.5")
        page.evaluate(f"player.currentTime = {HALF - 1.5}")  # in another file than the first
        wait(page, f"player.currentTime > {HALF + GAP + 0.5}")  # behind the gap
        page.evaluate("player.currentTime = 8")
        wait(page, "player.currentTime > 8.4 && !player.seeking")

        assert page.evaluate("player.duration") == pytest.approx(2 * HALF + GAP, abs=1.5), form
        told, at = page.evaluate("[hls.playingDate.getTime() / 1000, player.currentTime]")
        assert told - tape.start.timestamp() == pytest.approx(at, abs=0.5), form


@pytest.mark.parametrize("program", ["ours", "debian"])
def test_ffmpeg_gets_every_frame_once(recorded: Tapes, program: str) -> None:
    """Across files and the gap, in the order in which they were recorded."""
    ffmpeg = programs.ffmpeg() if program == "ours" else programs.needed("ffmpeg", "ffmpeg")
    for form, tape in recorded.items():
        kind = "a" if form in {FileFormat.MP3, FileFormat.AAC} else "v"
        command = [ffmpeg, "-nostdin", "-v", "error", "-i", tape.url, "-map", f"0:{kind}:0", "-c", "copy"]
        done = subprocess.run(
            [*command, "-f", "framecrc", "-"], capture_output=True, text=True, timeout=60, check=True
        )
        lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
        wanted = tape.frames if form is not FileFormat.MP4 else 2 * HALF * 12
        assert len(lines) == wanted, (form, done.stderr)
        times = [int(line.split(",")[1]) for line in lines]
        assert all(a < b for a, b in pairwise(times)), form


def test_mpv_plays_across_a_gap_to_the_end(recorded: Tapes) -> None:
    """From its middle on, but for MP4: Debian's libavformat 5.1 cannot seek in any HLS of that kind."""
    mpv = programs.needed("mpv", "mpv")
    quick = ("--no-config", "--msg-level=all=error", "--no-video", "--ao=null", "--ao-null-untimed=yes")
    for form, tape in recorded.items():
        start = [] if form is FileFormat.MP4 else ["--start=12"]
        command = [mpv, *quick, *start, tape.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (form, done.stdout, done.stderr)


def test_a_clip_whose_gap_is_black_plays_across_it_and_seeks(page: Page, settings: Settings) -> None:
    """In Chromium's own player, in which the black is black."""
    with serving(settings.model_copy(update={"auth": "open", "cors_origins": ["*"]})) as client:
        with db.Session.begin() as session:
            channel_id = channel(session, type="TV", expected_from=T0).id
            on_air(session, settings, channel_id, "tv.ts")
            session.execute(sa.delete(Recording).where(Recording.start_time == at(2)))
        order = {"from": written(at(0.52)), "to": written(at(6)), "format": "mp4", "gaps": "fill"}
        clip = client.post("/clip", json={"channel_id": channel_id, **order}).json()
        Attempts({JobKind.CLIP: lambda work: making.make(settings, work)}).perform(
            UUID(clip["job_id"]), lambda: False
        )
        media = client.get(f"/clip/{clip['id']}/media").raise_for_status()

        page.evaluate(
            "bytes => { player.src = `data:video/mp4;base64,${bytes}` }", b64encode(media.content).decode()
        )
        page.evaluate("player.play()")
        wait(page, "player.currentTime > 4 || player.error")

        assert page.evaluate("player.error") is None
        assert page.evaluate("player.duration") == pytest.approx(5.48, abs=0.15)
        lights = page.evaluate(LIGHTS, [0.5, 2, 3, 4.5])
        assert [light > 50 for light in lights] == [True, False, False, True], lights
