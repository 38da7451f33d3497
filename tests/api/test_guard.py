"""What is refused before any handler is asked; each request here once was a 500 or worse somewhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamrec.errors import Invalid
from streamrec.handlers import _body, _guard
from streamrec.handlers._problems import Refused
from streamrec.settings import Settings
from tests.serving import serving

CHANNEL = {
    "keyname": "gr-rstpk-1",
    "name": "RastaPank",
    "type": "radio",
    "url": "http://rs.example.org/uoc_64.mp3",
}


@pytest.fixture
def api(shared_api: httpx.Client) -> httpx.Client:
    """Nothing here leaves anything behind that another test would see."""
    return shared_api


def exchange(api: httpx.Client, request: bytes) -> str:
    """The answer to bytes that no HTTP library would send."""
    with socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer.decode("utf-8", "replace")


def status_of(api: httpx.Client, request: bytes) -> int:
    return int(exchange(api, request).split(" ", 2)[1])


def head(target: str, *fields: str, method: str = "GET", host: str = "localhost") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


# --- the head ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/health%00", "/%ff", "/%c3%28", "/health?q=%00", "/health?q=%ff", "/%0d%0aX: y"]
)
def test_bytes_that_are_no_text_are_400(api: httpx.Client, target: str) -> None:
    assert status_of(api, head(target.replace(" ", "%20"))) == 400


@pytest.mark.parametrize(
    "target", ["//health", "/channel//1", "/channel/", "/channel/abc", "/channel/1/", "/.", "/../x"]
)
def test_paths_that_lead_nowhere_are_404_and_never_a_redirect(api: httpx.Client, target: str) -> None:
    assert status_of(api, head(target)) == 404


def test_an_absolute_target_of_another_host_does_not_get_through(api: httpx.Client) -> None:
    """RFC 9112, 3.2.2: its host would override ours, and a proxy might have trusted it."""
    answer = exchange(api, head("http://evil.example/health", host="evil.example"))

    assert answer.startswith(("HTTP/1.1 400", "HTTP/1.1 421"))


def test_a_path_too_long_is_414(api: httpx.Client) -> None:
    assert status_of(api, head("/channel/" + "9" * 5000)) == 414


def test_an_id_beyond_64_bits_is_400_and_names_the_parameter(api: httpx.Client) -> None:
    answer = api.get("/channel/" + "9" * 30)

    assert answer.status_code == 400
    assert answer.json()["field"] == "channel_id"


def test_too_many_header_fields_are_431(api: httpx.Client) -> None:
    assert status_of(api, head("/health", *(f"X-{n}: 1" for n in range(150)))) == 431


def test_too_large_header_fields_are_431(api: httpx.Client) -> None:
    assert status_of(api, head("/health", "X-Long: " + "x" * 40_000)) in {400, 431}


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil"]
)
def test_a_host_that_is_not_ours_is_refused(api: httpx.Client, host: str) -> None:
    assert status_of(api, head("/health", host=host)) in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "192.0.2.7:8000"])
def test_loopback_names_and_literal_addresses_are_ours(host: str) -> None:
    assert _guard.Hosts(Settings()).check([host.encode()]) == host.lower()


def test_listed_hosts_are_the_only_ones() -> None:
    hosts = _guard.Hosts(Settings(allowed_hosts=["api.example.org", ".stations.example"]))

    assert hosts.check([b"api.example.org:443"]) == "api.example.org:443"
    assert hosts.check([b"one.stations.example"]) == "one.stations.example"
    for other in (b"localhost", b"example.org", b"stations.example", b"xapi.example.org"):
        with pytest.raises(Refused):
            hosts.check([other])


@pytest.mark.parametrize(
    "given", [[], [b"localhost", b"localhost"], [b""], [b"a b"], [b"localhost:99999999"], [b"\xff"]]
)
def test_a_host_is_given_exactly_once_and_well_formed(given: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        _guard.Hosts(Settings()).check(given)

    assert caught.value.status == 400


@given(st.binary(max_size=50))
@example(b"http://[::1")
@example("http://\xbd.example".encode("latin-1"))
def test_any_origin_but_ours_is_refused(origin: bytes) -> None:
    with pytest.raises(Refused) as caught:
        _guard.check_origin([origin], "localhost:8000")

    assert caught.value.status == 403


def test_a_query_of_a_thousand_parameters_is_400(api: httpx.Client) -> None:
    answer = api.get("/channel?" + "&".join(["limit=1"] * 1000))

    assert answer.status_code == 400
    assert answer.json()["field"] == "query"


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_any_target_passes_or_is_refused(path: bytes, query: bytes) -> None:
    with suppress(Refused):
        _guard.check_target(path, query)


# --- the body ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
        (b'{"name": NaN}', "body"),
        (b'{"name": "\\ud800"}', "body"),
        (b'{"name": "a\\u0000b"}', "name"),
        (b'{"a\\u0000b": 1}', "body"),
        (b'{"tags": ["x", "\\u0000"]}', "tags[1]"),
        (b'{"name": "a", "name": "b"}', "name"),
        (b"[" * 100_000, "body"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "body"),
        (b"1" * 100_000, "body"),
    ],
)
def test_a_body_that_is_no_sound_json_object_is_400(api: httpx.Client, body: bytes, field: str) -> None:
    answer = api.post("/channel", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["field"] == field


def test_a_huge_number_is_400_and_names_the_field(api: httpx.Client) -> None:
    answer = api.post("/channel", json=CHANNEL | {"segment_seconds": 10**40})

    assert answer.status_code == 400
    assert answer.json()["field"] == "segment_seconds"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(body: bytes) -> None:
    with suppress(Invalid):
        _body.json_value(body)


def test_a_newline_behind_a_keyname_does_not_pass(api: httpx.Client) -> None:
    assert api.post("/channel", json=CHANNEL | {"keyname": "gr-rstpk-\n"}).status_code == 400
    assert api.post("/channel", json=CHANNEL | {"keyname": "gr-rstpk-1\n"}).status_code == 400


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_another_content_type_is_415(api: httpx.Client, kind: str) -> None:
    assert api.post("/channel", content=b"{}", headers={"Content-Type": kind}).status_code == 415


def test_a_body_without_content_type_is_415(api: httpx.Client) -> None:
    request = head("/channel", "Content-Length: 2", method="POST") + b"{}"

    assert status_of(api, request) == 415


@pytest.mark.parametrize("kind", ["application/json; charset=utf-16", "application/json; charset=latin-1"])
def test_another_charset_is_415(api: httpx.Client, kind: str) -> None:
    assert api.post("/channel", content=b"{}", headers={"Content-Type": kind}).status_code == 415


def test_a_compressed_body_is_415(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert api.post("/channel", content=b"x", headers=headers).status_code == 415


def test_a_chunked_body_is_taken(api: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"keyname": "gr-rstpk-1", "name": "RastaPank", '
        yield b'"type": "radio", "url": "http://rs.example.org/uoc_64.mp3"}'

    answer = api.post("/channel", content=pieces(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 201, answer.text


def test_a_form_that_nobody_asked_for_is_not_parsed(api: httpx.Client) -> None:
    request = (
        head("/channel", "Content-Type: multipart/form-data; boundary=", "Content-Length: 9") + b"--x\r\n\r\n--"
    )

    assert status_of(api, request) == 200


def test_a_declared_length_above_the_limit_is_413_at_once(api: httpx.Client) -> None:
    """Nothing of the body is read."""
    request = head("/channel", "Content-Type: application/json", "Content-Length: 99999999999", method="POST")

    answer = exchange(api, request)

    assert answer.startswith("HTTP/1.1 413")
    assert '"limit_bytes":1048576' in answer


def test_an_undeclared_length_above_the_limit_is_413(api: httpx.Client) -> None:
    pieces = (b" " * 65536 for _ in range(40))

    answer = api.post("/channel", content=pieces, headers={"Content-Type": "application/json"})

    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_408(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "IDLE_SECONDS", 0.2)
    request = head("/channel", "Content-Type: application/json", "Content-Length: 100", method="POST")

    assert status_of(api, request + b"{") == 408


# --- what every answer carries ----------------------------------------------------------------------------


def test_every_answer_carries_the_headers_that_protect_browsers(api: httpx.Client) -> None:
    for path in ("/", "/health", "/ui/", "/nothing", "/%ff"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "'unsafe-eval'" not in headers["content-security-policy"]


def test_a_sound_request_id_is_kept(api: httpx.Client) -> None:
    assert (
        api.get("/health", headers={"X-Request-ID": "from-the-proxy.1"}).headers["x-request-id"]
        == "from-the-proxy.1"
    )


@pytest.mark.parametrize("given", ["short", "x" * 65, "with blank", 'quote"s-and-such'])
def test_an_unsound_request_id_is_replaced(api: httpx.Client, given: str) -> None:
    answer = api.get("/health", headers={"X-Request-ID": given})

    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


def test_unknown_and_repeated_parameters_are_400(api: httpx.Client) -> None:
    assert api.get("/channel?colour=red").json()["field"] == "colour"
    assert api.get("/channel?limit=1&limit=2").json()["field"] == "limit"


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1e2", "1_0", " 1", "٣", "9" * 30, "", "1.0"])
def test_a_limit_is_a_plain_number_from_1_to_1000(api: httpx.Client, limit: str) -> None:
    answer = api.get("/channel", params={"limit": limit})

    assert answer.status_code == 400
    assert answer.json()["field"] == "limit"


def test_another_instance_reports_its_own_size_limit(settings: Settings) -> None:
    with serving(settings.model_copy(update={"auth": "open", "max_body_bytes": 1024})) as api:
        answer = api.post("/channel", json=CHANNEL | {"name": "x" * 2000})

    assert answer.status_code == 413
    assert answer.json()["limit_bytes"] == 1024
