"""A bucket that takes connections and never answers, as clients of the API meet it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from streamrec import db
from streamrec.archive.admission import MOST_WAITING
from streamrec.archive.storage import Bucket
from streamrec.handlers._calls import MOST
from streamrec.models import Store
from streamrec.settings import Settings
from tests import factories as make
from tests import store as server
from tests.goods import kept_in
from tests.serving import serving

SOON = 3.0  # seconds; a hasty bucket is given up after five


def at(settings: Settings, address: str) -> Settings:
    """Settings with a bucket at an address."""
    key = {"access_key": server.ACCESS_KEY, "secret_key": server.SECRET_KEY}
    return kept_in(settings, Bucket("archive", address, **key), auth="open")


def piece() -> str:
    """The address of a piece of a recording that lies there."""
    with db.Session.begin() as session:
        channel_id = make.channel(session).id
        where = {"store": Store.S3, "object_key": "a.mp3", "size_bytes": 10, "sha256": "0" * 64}
        return f"/channel/{channel_id}/media/{make.captured(session, channel_id, 0, 60, **where).uuid}.0.mp3"


def test_all_else_is_answered_while_players_wait_for_a_bucket_that_hangs(settings: Settings) -> None:
    answered = threading.Semaphore(0)

    def asked(api: httpx.Client, path: str) -> int:
        status = api.get(path).status_code
        answered.release()
        return status

    with server.hanging() as address, serving(at(settings, address)) as api, ThreadPoolExecutor(2 * MOST) as pool:
        path = piece()
        players = [pool.submit(asked, api, path) for _ in range(2 * MOST)]
        for _ in range(2 * MOST - MOST_WAITING):
            answered.acquire(timeout=30)
        other = asked(api, "/channel")
        waiting = [player for player in players if not player.done()]
        found = {player.result() for player in players}

    assert (other, found) == (200, {503})
    assert waiting, "it was answered only after the bucket was given up"


def test_who_asks_once_it_is_known_to_hang_is_told_so_at_once(settings: Settings) -> None:
    with server.hanging() as address, serving(at(settings, address)) as api:
        path = piece()
        deadline = time.monotonic() + 60
        while (found := api.get("/health").json())["bucket"] is None:
            assert time.monotonic() < deadline, "the look at the bucket hangs"
        began = time.monotonic()
        answer = api.get(path)
        seconds = time.monotonic() - began

    assert not found["bucket"]["ok"]
    assert (answer.status_code, answer.json()["detail"]) == (503, found["bucket"]["detail"])
    assert "retry-after" in answer.headers
    assert seconds < SOON
