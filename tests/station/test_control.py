"""Commands over HTTP, and the proxy."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.station import control, faulty, hls, programs, proxy
from tests.station.live import Live
from tests.station.mount import Fault
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedSound


@pytest.fixture
def station() -> Iterator[faulty.Station]:
    with faulty.running() as station:
        station.add("a", Numbered(1), own_door=True)
        yield station


def _first_byte_after(port: int) -> float:
    """Seconds from asking to the first byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        began = time.monotonic()
        client.sendall(b"GET /a HTTP/1.0\r\n\r\n")
        assert client.recv(1) == b"H"
        return time.monotonic() - began


def test_a_fault_is_commanded_and_stands_in_the_journal(station: faulty.Station) -> None:
    """What was done is part of the truth."""
    with control.controlled(station) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        statuses = [
            client.post("/fault", json={"mount": "a", "fault": name}).status_code for name in ("STALL", None)
        ]
        rows = [json.loads(line) for line in client.get("/journal").text.splitlines()]

    assert statuses == [204, 204]
    assert [row["facts"]["fault"] for row in rows if row.get("what") == "fault"] == ["STALL", None]


def test_a_presentation_of_hls_is_commanded_alike(station: faulty.Station) -> None:
    """Its list stands still, and then is numbered higher; both are in the journal."""
    with hls.running() as origin:
        live = Live("l0", NumberedSound(0), station.journal)
        origin.lives["l0"] = live
        with (
            control.controlled(station, origin=origin, lives=[live]) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            url = client.get("/mounts").json()["l0"]
            orders = [
                ("/fault", {"fault": "FROZEN"}),
                ("/jump", {}),
                ("/fault", {"fault": "SHUT"}),
                ("/hang_up", {}),
            ]
            statuses = [client.post(path, json={"mount": "l0", **more}).status_code for path, more in orders]
            master = httpx.get(url).text
            done = [row["what"] for row in map(json.loads, client.get("/journal").text.splitlines())]

    assert statuses == [204, 204, 400, 400]
    assert (master.splitlines()[0], done) == ("#EXTM3U", ["fault", "jump"])


def test_a_door_is_shut_and_opened_at_the_same_address(station: faulty.Station) -> None:
    """Who comes meanwhile is refused."""
    mount = station.mounts["/a"]
    with control.controlled(station) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        client.post("/shut", json={"mount": "a"}).raise_for_status()
        fault, was_open = mount.fault, programs.listens(mount.door)
        client.post("/reopen", json={"mount": "a"}).raise_for_status()

    assert (fault, was_open) == (Fault.SHUT, False)
    assert programs.listens(mount.door)


def test_what_is_no_command_is_refused(station: faulty.Station) -> None:
    """An unknown fault, mount or path."""
    orders = [("/fault", {"mount": "a", "fault": "NONE"}), ("/fault", {"mount": "b"}), ("/dance", {"mount": "a"})]
    with control.controlled(station) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        statuses = [client.post(path, json=order).status_code for path, order in orders]

    assert statuses == [400, 400, 400]


def test_a_proxy_is_late_by_what_it_is_told(station: faulty.Station) -> None:
    """Both ways, so twice."""
    with proxy.running(station.mounts["/a"].door) as network:
        network.delay = 0.2

        assert 0.4 <= _first_byte_after(network.port) < 1.5
