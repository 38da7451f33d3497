"""The demo's stations as a player meets them: started as a newcomer's `./run.sh demo` starts them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from streamrec import demo
from streamrec.settings import PROJECT
from tests.station import programs


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where both stations are on air."""
    port = programs.free_port()
    log = tmp_path_factory.mktemp("demo") / "demo.log"
    command = [sys.executable, "-m", "streamrec.demo", "--port", str(port)]
    with programs.running(command, log, cwd=PROJECT) as process:
        programs.eventually(lambda: programs.listens(port), 10, "the demo listens")
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None


@pytest.mark.parametrize("path", [demo.RADIO_PATH, demo.TELEVISION_PATH])
def test_a_player_plays_it_live_without_an_error(base_url: str, path: str) -> None:
    """ffmpeg decodes three seconds of it strictly."""
    command = [programs.ffmpeg(), "-v", "error", "-xerror", "-i", base_url + path, "-t", "3", "-f", "null", "-"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_radio_sends_a_burst_and_then_keeps_to_the_clock(base_url: str) -> None:
    """After two seconds a listener has the burst and two seconds more, within a quarter of a second."""
    with httpx.stream("GET", base_url + demo.RADIO_PATH, timeout=10) as answer:
        began, received = time.monotonic(), 0
        for piece in answer.iter_raw():
            received += len(piece)
            if (elapsed := time.monotonic() - began) > 2:
                break

    assert received - 65536 == pytest.approx(16_000 * elapsed, abs=8_000)


def test_the_radio_announces_titles_only_to_who_asks(base_url: str) -> None:
    """`Icy-MetaData: 1` turns the blocks on."""
    with httpx.stream("GET", base_url + demo.RADIO_PATH) as plain:
        assert "icy-metaint" not in plain.headers
    with httpx.stream("GET", base_url + demo.RADIO_PATH, headers={"Icy-MetaData": "1"}) as tagged:
        interval = int(tagged.headers["icy-metaint"])
        start = b""
        for piece in tagged.iter_raw():
            start += piece
            if len(start) > interval + 64:
                break

    assert start[interval + 1 :].startswith(b"StreamTitle='")


def test_the_television_says_when_each_segment_was_sent(base_url: str) -> None:
    """The playlist carries EXT-X-PROGRAM-DATE-TIME (RFC 8216, 4.3.2.6)."""
    assert "#EXT-X-PROGRAM-DATE-TIME:" in httpx.get(base_url + demo.TELEVISION_PATH).text


@pytest.mark.parametrize("path", ["/", "/tv/", "/tv/../live.m3u8", "/tv/%2e%2e/passwd", "/tv/1.ts"])
def test_nothing_but_the_stations_is_served(base_url: str, path: str) -> None:
    """Other paths, and segments that are not there, are 404."""
    assert httpx.get(base_url + path).status_code == 404


def test_the_picture_comes_back_when_its_ffmpeg_is_killed(base_url: str) -> None:
    """A new child takes over and new segments appear."""
    before = httpx.get(base_url + demo.TELEVISION_PATH).text
    _ffmpeg_of(base_url).kill()

    def is_renewed() -> bool:
        text = httpx.get(base_url + demo.TELEVISION_PATH).text
        return text.splitlines()[-1] != before.splitlines()[-1]

    programs.eventually(is_renewed, 15, "the playlist has a segment that it had not")


def _ffmpeg_of(base_url: str) -> psutil.Process:
    port = int(base_url.rpartition(":")[2])
    mine = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
    return mine[0].children()[0]


def test_it_ends_at_once_and_leaves_neither_child_nor_folder(tmp_path: Path) -> None:
    """SIGTERM ends the server, its ffmpeg and its temporary folder."""
    port = programs.free_port()
    command = [sys.executable, "-m", "streamrec.demo", "--port", str(port)]
    with programs.running(
        command, tmp_path / "log", environment={"TMPDIR": str(tmp_path)}, cwd=PROJECT
    ) as process:
        programs.eventually(lambda: programs.listens(port), 10, "the demo listens")
        children = psutil.Process(process.pid).children()
        process.terminate()
        process.wait(5)

    assert [child for child in children if child.is_running()] == []
    assert list(tmp_path.glob("streamrec-demo-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_without_a_word_while_somebody_listens(tmp_path: Path, number: signal.Signals) -> None:
    port, log = programs.free_port(), tmp_path / "log"
    with programs.running(
        [sys.executable, "-m", "streamrec.demo", "--port", str(port)], log, cwd=PROJECT
    ) as process:
        programs.eventually(lambda: programs.listens(port), 10, "the demo listens")
        with httpx.stream("GET", f"http://127.0.0.1:{port}{demo.RADIO_PATH}") as answer:
            next(answer.iter_raw())
            process.send_signal(number)
            process.wait(5)

    assert [word for word in ("Traceback", "Aborted!") if word in log.read_text()] == []
