"""Answers over kept connections."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import pytest

from streamrec import egress
from streamrec.clock import SystemClock
from streamrec.models import GapReason
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.session import Reply, Session
from tests.station import hls
from tests.station.hls import Origin


@pytest.fixture
def origin() -> Iterator[Origin]:
    with hls.running() as running:
        yield running


def got(origin: Origin, *paths: str, most_bytes: int = 1000, span: tuple[int, int] | None = None) -> list[Reply]:
    """The answers at these paths, one after the other in one session."""

    async def run() -> list[Reply]:
        resolver = Resolver(SystemClock(), (origin.authority,))
        session = Session(resolver, egress.parse(origin.url()), None)
        try:
            urls = [egress.parse(origin.url(path)) for path in paths]
            return [await session.get(url, most_bytes=most_bytes, seconds=1, span=span) for url in urls]
        finally:
            session.close()

    return asyncio.run(run())


def refusal(origin: Origin, **options) -> GapReason:
    with pytest.raises(Refused) as raised:
        got(origin, "x", **options)
    return raised.value.reason


def test_one_connection_serves_many_requests(origin: Origin):
    origin.pages["x"] = lambda _: hls.answer(b"here")

    replies = got(origin, "x", "x", "x")

    assert [reply.body for reply in replies] == [b"here"] * 3
    assert {request.connection for request in origin.requests} == {1}


def test_a_kept_connection_that_the_server_closed_is_replaced(origin: Origin):
    """Servers do so after some seconds, without a word."""
    origin.pages["x"] = lambda _: hls.answer(b"here")
    origin.hang_ups["x"] = 1

    replies = got(origin, "x", "x")

    assert [reply.body for reply in replies] == [b"here"] * 2
    assert [request.connection for request in origin.requests] == [1, 2]


@pytest.mark.parametrize("count", [4, 5])
def test_a_body_may_be_so_long_and_no_longer(origin: Origin, count: int):
    origin.pages["x"] = lambda _: hls.answer(b"a" * count)

    if count == 4:
        assert got(origin, "x", most_bytes=4)[0].body == b"aaaa"
    else:
        assert refusal(origin, most_bytes=4) is GapReason.SOURCE_ERROR


@pytest.mark.parametrize("count", [900, 1001])
def test_a_compressed_body_is_bounded_by_what_it_becomes(origin: Origin, count: int):
    body = gzip.compress(b"a" * count)
    origin.pages["x"] = lambda _: hls.answer(body, Content_Encoding="gzip")

    if count == 900:
        assert got(origin, "x")[0].body == b"a" * 900
    else:
        assert refusal(origin) is GapReason.SOURCE_ERROR


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (hls.answer(b"\x1f\x8bnonsense", Content_Encoding="gzip"), GapReason.SOURCE_ERROR),
        (hls.answer(gzip.compress(b"a" * 99)[:-9], Content_Encoding="gzip"), GapReason.SOURCE_ENDED),
        (hls.answer(b"a", Content_Encoding="br"), GapReason.UNSUPPORTED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", GapReason.SOURCE_ERROR),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", GapReason.STALLED),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", GapReason.SOURCE_DENIED),
    ],
    ids=["damaged", "torn", "unknown", "chunks", "slow", "denied"],
)
def test_what_goes_wrong_has_a_reason(origin: Origin, reply: bytes, reason: GapReason):
    origin.pages["x"] = lambda _: reply

    assert refusal(origin) is reason


@pytest.mark.parametrize("status", ["206 Partial Content", "200 OK"])
def test_a_range_is_cut_out_of_whatever_comes(origin: Origin, status: str):
    """Some servers send all of it."""
    whole = b"0123456789"
    origin.pages["x"] = lambda _: hls.answer(whole[2:5] if status.startswith("206") else whole, status)

    assert got(origin, "x", span=(2, 3))[0].body == b"234"


def test_a_range_that_is_too_short_is_refused(origin: Origin):
    origin.pages["x"] = lambda _: hls.answer(b"ab", "206 Partial Content")

    assert refusal(origin, span=(2, 3)) is GapReason.SOURCE_ERROR
