"""Playlists and media over what a recorder left, and who may have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from streamrec import apikeys, db, losses
from streamrec.archive import layout
from streamrec.archive.looking import Fault
from streamrec.archive.pieces import gap_parts
from streamrec.clock import now
from streamrec.models import Loss, Recording, RecordingIndex
from streamrec.settings import Settings
from tests import samples
from tests.factories import channel
from tests.serving import serving
from tests.tapes import Deck

GAP = timedelta(seconds=8)


@dataclass
class Tape:
    """Six seconds of noise, a gap, and six seconds more."""

    channel_id: int
    data: bytes
    start: datetime
    end: datetime

    @property
    def path(self) -> str:
        return f"/channel/{self.channel_id}/catchup.m3u8"

    @property
    def range(self) -> dict[str, str]:
        return {"from": self.start.isoformat(), "to": self.end.isoformat()}


def taped(settings: Settings, name: str = "mp3.mp3", *, ago: float = 60.0, is_over: bool = True) -> Tape:
    with db.Session.begin() as session:
        channel_id = channel(session).id
    deck = Deck(settings, channel_id, samples.format_of(name))
    start = now() - timedelta(seconds=ago)
    units = deck.units(samples.sample(name))
    middle = deck.record(units, start, segment_seconds=5)
    deck.lose(middle, middle + GAP)
    end = deck.record(units, middle + GAP, segment_seconds=5 if is_over else 86_400, is_over=is_over)
    return Tape(channel_id, samples.joined(units), start, end)


def pieces(client: httpx.Client, answer: httpx.Response) -> list[bytes]:
    """What a player gets that follows a playlist, gaps left out."""
    got = []
    for size, offset, url in re.findall(r"#EXTINF.*\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n(.+)", answer.text):
        span = {"Range": f"bytes={offset}-{int(offset) + int(size) - 1}"}
        part = client.get(str(answer.url.join(url)), headers=span)
        assert (part.status_code, len(part.content)) == (206, int(size)), part.text
        got.append(part.content)
    return got


@pytest.mark.parametrize("name", ["mp3.mp3", "aac.aac", "tv.ts", "tv.mp4"])
def test_the_pieces_are_what_was_recorded(api: httpx.Client, settings: Settings, name: str) -> None:
    tape = taped(settings, name)

    answer = api.get(tape.path, params=tape.range)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert b"".join(pieces(api, answer)) == 2 * tape.data
    assert answer.text.count("#EXT-X-GAP") == 2
    assert answer.text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert answer.text.count("#EXTINF") == answer.text.count("#EXT-X-PROGRAM-DATE-TIME")


def test_a_recording_that_is_lost_is_a_gap_to_players(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)
    with db.Session.begin() as session:
        _, before, lost, behind, *_ = session.scalars(sa.select(Recording).order_by(Recording.start_time)).all()
        losses.note(session, lost, Fault(Loss.ALTERED, "has another SHA-256"))

    catchup, live = api.get(tape.path, params=tape.range), api.get(f"/channel/{tape.channel_id}/live.m3u8")
    media = api.get(f"/channel/{tape.channel_id}/media/{lost.uuid}.0.mp3")

    for answer in (catchup, live):
        assert str(lost.uuid) not in answer.text
        assert answer.text.count("#EXT-X-GAP") >= gap_parts(before.end_time, behind.start_time)
    assert (media.status_code, media.json()["lost"]) == (410, "altered")


def test_a_range_has_the_pieces_that_overlap_it(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)
    after = {"from": (tape.start + timedelta(seconds=7)).isoformat(), "to": tape.end.isoformat()}

    answer = api.get(tape.path, params=after)

    assert b"".join(pieces(api, answer)) == tape.data


def test_recordings_without_an_index_get_one_that_is_kept(api: httpx.Client, settings: Settings) -> None:
    """Those of a crash, and those from before there were any."""
    tape = taped(settings, "tv.ts")
    with db.Session.begin() as session:
        before = session.execute(sa.select(RecordingIndex.data).order_by(RecordingIndex.recording_id)).all()
        session.execute(sa.delete(RecordingIndex))

    answer = api.get(tape.path, params=tape.range)

    assert b"".join(pieces(api, answer)) == 2 * tape.data
    with db.Session.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(RecordingIndex)) == len(before)


def test_live_has_the_file_that_is_being_written(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings, ago=21, is_over=False)
    path = f"/channel/{tape.channel_id}/live.m3u8"

    answer = api.get(path)

    assert answer.status_code == 200
    assert "#EXT-X-ENDLIST" not in answer.text
    got = b"".join(pieces(api, answer))
    assert got.startswith(tape.data)
    assert 4 * 16_000 <= len(got) - len(tape.data) <= len(tape.data)


def test_live_numbers_stay_when_the_window_moves(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings, ago=40)
    path = f"/channel/{tape.channel_id}/live.m3u8"

    def numbers(window: int) -> dict[str, int]:
        text = api.get(path, params={"window": window}).text
        first = int(re.findall(r"MEDIA-SEQUENCE:(\d+)", text)[0])
        return {time: first + at for at, time in enumerate(re.findall(r"DATE-TIME:(.+)", text))}

    longer, shorter = numbers(120), numbers(30)

    assert 0 < len(shorter) < len(longer)
    assert shorter.items() <= longer.items()


def test_an_open_file_keeps_its_address_when_it_is_closed(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings, ago=21, is_over=False)
    url = re.findall(r"^media/.+$", api.get(f"/channel/{tape.channel_id}/live.m3u8").text, re.MULTILINE)[-1]
    before = api.get(f"/channel/{tape.channel_id}/{url}").content
    (part,) = settings.archive_dir.rglob(f"*{layout.PART}")

    part.rename(part.with_suffix(""))

    assert api.get(f"/channel/{tape.channel_id}/{url}").content == before


def test_what_a_power_cut_took_is_not_listed(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings, ago=21, is_over=False)
    (part,) = settings.archive_dir.rglob(f"*{layout.PART}")
    part.write_bytes(part.read_bytes()[:1000])

    answer = api.get(f"/channel/{tape.channel_id}/live.m3u8")

    assert b"".join(pieces(api, answer)) == tape.data


RANGES = {
    "bytes=0-3": (206, slice(0, 4), "bytes 0-3/{}"),
    "bytes=4-": (206, slice(4, None), "bytes 4-{last}/{}"),
    "bytes=-5": (206, slice(-5, None), "bytes {tail}-{last}/{}"),
    "bytes=0-999999999": (206, slice(None), "bytes 0-{last}/{}"),
    "bytes=5-2": (200, slice(None), ""),
    "bytes=0-1,4-5": (200, slice(None), ""),
    "pages=1": (200, slice(None), ""),
}


def test_one_range_of_media_is_followed_and_others_ignored(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)
    url = re.findall(r"^media/.+$", api.get(tape.path, params=tape.range).text, re.MULTILINE)[0]
    everything = api.get(f"/channel/{tape.channel_id}/{url}").content
    size = len(everything)

    for given, (status, content, expected) in RANGES.items():
        answer = api.get(f"/channel/{tape.channel_id}/{url}", headers={"Range": given})
        head = api.head(f"/channel/{tape.channel_id}/{url}", headers={"Range": given})

        assert (answer.status_code, answer.content) == (status, everything[content])
        assert answer.headers.get("content-range", "") == expected.format(size, last=size - 1, tail=size - 5)
        assert (head.status_code, head.content) == (status, b"")


def test_a_range_behind_the_end_is_416(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)
    url = re.findall(r"^media/.+$", api.get(tape.path, params=tape.range).text, re.MULTILINE)[0]

    answer = api.get(f"/channel/{tape.channel_id}/{url}", headers={"Range": "bytes=99999999-"})

    assert answer.status_code == 416
    assert answer.headers["content-range"].startswith("bytes */")


def test_a_file_that_is_gone_is_410(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)
    url = re.findall(r"^media/.+$", api.get(tape.path, params=tape.range).text, re.MULTILINE)[0]
    for path in settings.archive_dir.rglob("*.mp3"):
        path.unlink()

    assert api.get(f"/channel/{tape.channel_id}/{url}").status_code == 410


def test_a_bad_range_names_the_field(api: httpx.Client, settings: Settings) -> None:
    with db.Session.begin() as session:
        channel_id = channel(session).id
    day, later = "2026-11-01T00:00:00Z", "2026-11-02T01:00:01Z"
    ranges = [
        ({}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2190-01-01T00:00:00Z"}, "from"),
        ({"from": day, "to": "2190-01-01T00:00:00Z"}, "to"),
        ({"from": day, "to": day}, "to"),
        ({"from": day, "to": later}, "to"),
    ]

    for given, field in ranges:
        answer = api.get(f"/channel/{channel_id}/catchup.m3u8", params=given)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(field)
        assert api.post(f"/channel/{channel_id}/link", json={"to": later, **given}).status_code == 400


def test_media_that_nobody_listed_is_404(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)

    for name in ("x.mp3", "00000000-0000-0000-0000-000000000000.mp3", "..%2F..%2Fetc", "%00"):
        assert api.get(f"/channel/{tape.channel_id}/media/{name}").status_code in {400, 404}


def test_nothing_to_play_is_404(api: httpx.Client, settings: Settings) -> None:
    with db.Session.begin() as session:
        channel_id = channel(session).id

    assert api.get(f"/channel/{channel_id}/live.m3u8").status_code == 404
    past = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}
    assert api.get(f"/channel/{channel_id}/catchup.m3u8", params=past).status_code == 404
    assert api.get(f"/channel/{channel_id + 1}/live.m3u8").status_code == 404


# --- who may ------------------------------------------------------------------------------------------------


@pytest.fixture
def key(closed_api: httpx.Client) -> dict[str, str]:
    with db.Session.begin() as session:
        return {"X-API-Key": apikeys.create(session, "tests")}


def link(api: httpx.Client, tape: Tape, key: dict[str, str], **body: object) -> str:
    answer = api.post(f"/channel/{tape.channel_id}/link", json=body, headers=key)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


def test_a_link_opens_its_range_without_a_key(
    closed_api: httpx.Client, settings: Settings, key: dict[str, str]
) -> None:
    """Also what the playlist names."""
    tape = taped(settings)

    answer = closed_api.get(link(closed_api, tape, key, **tape.range))

    assert answer.status_code == 200
    assert b"".join(pieces(closed_api, answer)) == 2 * tape.data
    assert closed_api.get(tape.path, params=tape.range).status_code == 401


def test_a_link_opens_nothing_else(closed_api: httpx.Client, settings: Settings, key: dict[str, str]) -> None:
    """Neither more time, nor live, nor another channel, nor another route."""
    tape = taped(settings)
    later = tape.start + timedelta(seconds=14)
    url = link(closed_api, tape, key, **{"from": later.isoformat(), "to": tape.end.isoformat()})
    access = url.rpartition("access=")[2]
    playlist = closed_api.get(tape.path, params=tape.range, headers=key).text
    first = re.findall(r"^media/.+$", playlist, re.MULTILINE)[0]
    with db.Session.begin() as session:
        other = channel(session, keyname="other-one_").id

    def status(path: str, **more: str) -> int:
        return closed_api.get(path, params={"access": access, **more}).status_code

    assert status(tape.path, **tape.range) == 403
    assert status(f"/channel/{tape.channel_id}/{first}") == 403
    assert status(f"/channel/{tape.channel_id}/live.m3u8") == 403
    assert status(f"/channel/{other}/catchup.m3u8", **tape.range) == 401
    assert status("/channel") == 401


def test_a_changed_or_expired_link_is_401(
    closed_api: httpx.Client, settings: Settings, key: dict[str, str]
) -> None:
    tape = taped(settings)
    access = link(closed_api, tape, key, **tape.range).rpartition("access=")[2]
    expires, start, end, mac = access.split(".")
    wrong = [
        f"{int(expires) + 1}.{start}.{end}.{mac}",
        f"{expires}.{int(start) - 1}.{end}.{mac}",
        f"{expires}.{start}..{mac}",
        f"{expires}.{start}.{end}.{mac[:-1]}{'A' if mac[-1] != 'A' else 'B'}",
        "x",
        "9" * 190,
    ]

    for text in wrong:
        assert closed_api.get(tape.path, params={**tape.range, "access": text}).status_code == 401, text


def test_a_live_link_plays_live(closed_api: httpx.Client, settings: Settings, key: dict[str, str]) -> None:
    tape = taped(settings, ago=25, is_over=False)

    answer = closed_api.get(link(closed_api, tape, key, expires_in=60))

    assert answer.status_code == 200
    assert pieces(closed_api, answer)


def test_the_key_of_links_is_kept_for_the_owner_only(
    closed_api: httpx.Client, settings: Settings, key: dict[str, str]
) -> None:
    link(closed_api, taped(settings), key)

    made = settings.data_dir / "access.key"
    assert (len(made.read_bytes()), made.stat().st_mode & 0o777) == (32, 0o600)
    assert [path.name for path in settings.data_dir.glob("access.key*")] == ["access.key"]


def test_a_key_that_cannot_be_kept_is_503(
    closed_api: httpx.Client, settings: Settings, key: dict[str, str]
) -> None:
    tape = taped(settings)
    (settings.data_dir / "access.key").mkdir()

    answer = closed_api.post(f"/channel/{tape.channel_id}/link", json={}, headers=key)

    assert answer.status_code == 503
    assert closed_api.get(tape.path, params={**tape.range, "access": "x"}).status_code == 503


@pytest.fixture
def shared_with(settings: Settings) -> Iterator[httpx.Client]:
    """An API that a website may play from."""
    with serving(settings.model_copy(update={"auth": "open", "cors_origins": ["https://site.example"]})) as client:
        yield client


def test_other_origins_may_play_if_they_are_named(shared_with: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)

    def allowed(origin: str, path: str) -> str | None:
        answer = shared_with.get(path, params=tape.range, headers={"Origin": origin})
        return answer.headers.get("access-control-allow-origin")

    assert allowed("https://site.example", tape.path) == "https://site.example"
    assert allowed("https://evil.example", tape.path) is None
    assert allowed("https://site.example", "/channel") is None
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    preflight = shared_with.options(tape.path, headers={"Origin": "https://site.example", **asked})
    assert preflight.status_code == 200


def test_no_other_origin_may_by_default(api: httpx.Client, settings: Settings) -> None:
    tape = taped(settings)

    answer = api.get(tape.path, params=tape.range, headers={"Origin": "https://site.example"})

    assert "access-control-allow-origin" not in answer.headers
