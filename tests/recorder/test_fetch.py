"""Names, connections and TLS, with real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from streamrec import egress
from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.models import GapReason
from streamrec.recorder.fetch import dial
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import Trail
from streamrec.recorder.fetch.request import get
from streamrec.recorder.gate import IN_FLIGHT
from streamrec.recorder.limits import Threads
from streamrec.recorder.worker import WAITING_THREADS
from tests.fakes import FakeClock
from tests.station import programs
from tests.station.scripted import TLS, End, Script, answer, redirect, serving

OK: Script = [answer(b"body")]


def fetched(url: str, *allow: str, credentials: Credentials | None = None, resolve=None) -> str:
    """What is found at `url` when `allow` is allowed."""

    async def scenario() -> str:
        resolver = Resolver(SystemClock(), allow, *([resolve] if resolve else []))
        found = await get(Trail(egress.parse(url), credentials), resolver, headers={})
        found.sock.close()
        return found.url.url

    return asyncio.run(asyncio.wait_for(scenario(), 15))


def refusal(url: str, *allow: str, **options) -> Refused:
    with pytest.raises(Refused) as caught:
        fetched(url, *allow, **options)
    return caught.value


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Our test authority is the one that is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))
    dial.trust.cache_clear()
    yield
    dial.trust.cache_clear()


@pytest.mark.usefixtures("authority")
def test_a_server_that_proves_its_name_is_talked_to():
    """A certificate for the address, by an authority that is trusted."""
    with serving(OK, certificate="good") as server:
        assert fetched(server.url, server.authority) == server.url


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize(("certificate", "word"), [("expired", "expired"), ("other", "mismatch")])
def test_a_server_that_does_not_is_refused(certificate: str, word: str):
    """Expired, or another's name; and nothing is asked of it."""
    with serving(OK, certificate=certificate) as server:
        refused = refusal(server.url, server.authority)

    assert refused.reason is GapReason.TLS
    assert word in refused.detail
    assert server.requests == []


def test_an_authority_that_nobody_knows_is_refused():
    """Self-signed, as far as this machine can tell."""
    with serving(OK, certificate="good") as server:
        assert refusal(server.url, server.authority).reason is GapReason.TLS


def test_tls_with_a_server_that_has_none():
    """It answers in plain text; there is no way back to http."""
    with serving(OK) as server:
        assert refusal(server.url.replace("http:", "https:"), server.authority).reason is GapReason.TLS


def test_a_redirect_takes_no_credentials_to_another_server():
    """Another port is another server."""
    with serving(OK) as target, serving(redirect(target.url)) as server:
        allowed = (server.authority, target.authority)
        where = fetched(server.url, *allowed, credentials=Credentials("user", "canary"))

    assert where == target.url
    assert "Authorization: Basic " in server.requests[0]
    assert "uthorization" not in target.requests[0]


def test_a_redirect_is_checked_like_the_address_it_comes_from():
    """The target listens, and is not allowed."""
    with serving(OK) as target, serving(redirect(target.url)) as server:
        refused = refusal(server.url, server.authority)

    assert refused.reason is GapReason.EGRESS_DENIED
    assert target.requests == []


def test_redirects_in_a_circle_end_at_once():
    """A to itself."""
    with serving(redirect("/live")) as server:
        began = time.monotonic()
        refused = refusal(server.url, server.authority)

    assert (refused.reason, len(server.requests)) == (GapReason.SOURCE_ERROR, 1)
    assert time.monotonic() - began < 2


def test_a_server_that_never_answers_is_left():
    """After five seconds."""
    with serving([End.HOLD]) as server:
        began = time.monotonic()
        refused = refusal(server.url, server.authority)

    assert refused.reason is GapReason.STALLED
    assert 4.5 < time.monotonic() - began < 5.5


@pytest.mark.parametrize("script", [[], [End.RESET], [b"HTTP/1.1 200 OK\r\nServer: x"]])
def test_a_server_that_hangs_up_in_the_head(script: Script):
    """At once, with a reset, and half-way."""
    with serving(script) as server:
        assert refusal(server.url, server.authority).reason is GapReason.SOURCE_ENDED


def test_an_address_that_swallows_everything_gives_way_to_the_next():
    """A full backlog drops the connection; the second address is tried a quarter of a second later."""
    with serving(OK) as server, socket.socket() as full:
        full.bind(("127.0.0.2", server.port))
        full.listen(0)
        with socket.create_connection(full.getsockname()), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            began = time.monotonic()
            url = f"http://station.invalid:{server.port}/live"
            found = fetched(url, f"station.invalid:{server.port}", resolve=lambda _: ["127.0.0.2", "127.0.0.1"])

    assert found == url
    assert time.monotonic() - began < 1.5


def test_all_addresses_are_tried_before_it_is_refused():
    """The first refuses at once."""
    with serving(OK) as server:
        url = f"http://station.invalid:{server.port}/live"
        found = fetched(url, f"station.invalid:{server.port}", resolve=lambda _: ["127.0.0.2", "127.0.0.1"])

    assert found == url


def test_nobody_listens():
    """Refused, and said so."""
    authority = f"127.0.0.1:{programs.free_port()}"

    refused = refusal(f"http://{authority}/", authority)

    assert (refused.reason, refused.detail) == (GapReason.SOURCE_REFUSED, "The connection was refused.")


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    """A name that means two things is not to be trusted with either."""
    refused = refusal("http://station.example/", resolve=lambda _: ["192.0.1.1", "10.0.0.1"])

    assert refused.reason is GapReason.EGRESS_DENIED


def test_the_last_good_answer_serves_for_an_hour_while_dns_fails():
    """And a new one replaces it at once."""
    answers: list[list[str]] = [["192.0.1.1"], [], ["192.0.1.2"], [], []]

    async def scenario() -> list[object]:
        clock = FakeClock()
        resolver = Resolver(clock, resolve=lambda _: answers.pop(0))
        found: list[object] = []
        for wait in (0, 60, 60, 3600, 1):
            await clock.advance(wait)
            try:
                found.append(await resolver.addresses("station.example", 80))
            except Refused as exc:
                found.append(exc.reason)
        return found

    first, second = ("192.0.1.1",), ("192.0.1.2",)
    assert asyncio.run(scenario()) == [first, first, second, second, GapReason.DNS]


def test_a_name_that_is_slow_to_resolve_keeps_no_other_waiting():
    """Nor does it matter that eight attempts wait for it."""
    answered = threading.Event()

    def resolve(host: str) -> list[str]:
        if host == "slow.example":
            answered.wait(10)
        return ["192.0.1.1"]

    async def scenario() -> bool:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Threads(WAITING_THREADS))
        resolver = Resolver(SystemClock(), resolve=resolve)
        slow = [asyncio.create_task(resolver.addresses("slow.example", 80)) for _ in range(IN_FLIGHT)]
        await resolver.addresses("station.example", 80)
        is_alone = not any(task.done() for task in slow)
        answered.set()
        await asyncio.gather(*slow)
        return is_alone

    assert asyncio.run(asyncio.wait_for(scenario(), 15))
