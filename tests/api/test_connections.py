"""Requests whose head never ends, or is none."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing, suppress

import httpx
import pytest

from streamrec import connections


def answer_to(api: httpx.Client, *pieces: bytes) -> tuple[str, dict[str, object]]:
    """The status line and the problem that come back before the server hangs up; empty if it only hangs up."""
    with socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=20) as connection:
        with suppress(ConnectionError):  # it may have hung up before it was sent everything
            for piece in pieces:
                connection.sendall(piece)
        received = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    head, _, body = received.decode().partition("\r\n\r\n")
    return head.split("\r\n")[0], json.loads(body) if body else {}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits as long as a client may."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)


@pytest.mark.parametrize("piece", [b"GET /" + b"a" * 300_000, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 50_000])
def test_a_head_without_end_is_not_kept(shared_api: httpx.Client, piece: bytes) -> None:
    status, problem = answer_to(shared_api, piece)

    assert status == "HTTP/1.1 431 Request Header Fields Too Large"
    assert problem["type"] == "urn:streamrec:problem:request-header-fields-too-large"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("beginning", [b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\nx"])
def test_a_head_that_comes_too_slowly_is_given_up(shared_api: httpx.Client, beginning: bytes) -> None:
    status, problem = answer_to(shared_api, beginning)

    assert (status, problem["status"]) == ("HTTP/1.1 408 Request Timeout", 408)


@pytest.mark.usefixtures("impatient")
def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word(shared_api: httpx.Client) -> None:
    assert answer_to(shared_api) == ("", {})


@pytest.mark.parametrize(
    "nonsense", [b"FOO / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9\r\n\r\n"]
)
def test_what_is_no_http_is_told_so_in_a_problem(shared_api: httpx.Client, nonsense: bytes) -> None:
    status, problem = answer_to(shared_api, nonsense)

    assert (status, problem["type"]) == ("HTTP/1.1 400 Bad Request", "urn:streamrec:problem:bad-request")


@pytest.mark.usefixtures("impatient")
def test_a_connection_is_kept_for_one_request_after_the_other(shared_api: httpx.Client) -> None:
    connection = http.client.HTTPConnection(shared_api.base_url.host, shared_api.base_url.port)
    with closing(connection):
        connection.request("GET", "/health")
        connection.getresponse().read()
        kept = connection.sock
        connection.request("GET", "/health")

        assert connection.getresponse().status == 200
        assert connection.sock is kept
