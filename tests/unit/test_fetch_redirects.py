"""Where redirects and playlists may lead."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from streamrec import egress
from streamrec.egress import Credentials
from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import MOST_HOPS, Trail, resolve
from streamrec.recorder.fetch.request import compose

START = egress.parse("http://radio.example/live/a.mp3?x=1")
SECRET = Credentials("user", "canary")


def test_credentials_stay_with_their_server():
    """Same scheme, host and port; and back again when the trail comes back."""
    trail = Trail(START, SECRET)

    shown = [trail.credentials]
    for place in ("/other", "http://radio.example:8000/", "https://radio.example/", "http://radio.example/back"):
        trail.follow(place)
        shown.append(trail.credentials)

    assert shown == [SECRET, SECRET, None, None, SECRET]


def test_a_circle_is_seen_at_once():
    """A, B, A."""
    trail = Trail(START)
    trail.follow("/b")

    with pytest.raises(Refused, match="circle"):
        trail.follow(START.url)


def test_hops_are_counted():
    """Five are followed, the sixth is not."""
    trail = Trail(START)
    for hop in range(MOST_HOPS):
        trail.follow(f"/{hop}")

    with pytest.raises(Refused, match="too often"):
        trail.follow("/more")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("b.mp3", "http://radio.example/live/b.mp3"),
        ("//cdn.example/b", "http://cdn.example/b"),
        (" https://cdn.example/a b?c=ä#t ", "https://cdn.example/a%20b?c=%C3%A4"),
        ("http://eve:pass@cdn.example/%41", "http://cdn.example/%41"),
    ],
)
def test_references_are_resolved_as_browsers_do(reference: str, expected: str):
    """Relative ones, and ones with bytes that no URL has."""
    assert resolve(START, reference).url == expected


@pytest.mark.parametrize(
    "reference",
    ["file:///etc/passwd", "rtmp://a.example/b", "data:text/plain,a", "http://[::1", "http://a\\b/"],
)
def test_references_to_anything_but_http_are_refused(reference: str):
    """However they are written."""
    with pytest.raises(Refused) as refusal:
        resolve(START, reference)

    assert refusal.value.reason is GapReason.UNSUPPORTED


@pytest.mark.parametrize(
    "base",
    [
        "http://a.example",
        "https://a.example:8443/x/y.m3u8?z=/w",
        "http://a.example/p/../q/l.m3u8",
        "http://a.example/",
    ],
)
@pytest.mark.parametrize(
    "name", ["a.ts", "b/c-1.ts", "a.ts?t=%2F~1", "a", "..ts", "../a.ts", "b//a.ts", "b/./a.ts"]
)
def test_what_lies_beside_a_playlist_is_where_a_browser_would_look(base: str, name: str):
    assert resolve(egress.parse(base), name) == egress.parse(urljoin(base, name))


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://a.example", "GET / HTTP/1.1", "Host: a.example"),
        ("http://a.example?b=c/d", "GET /?b=c/d HTTP/1.1", "Host: a.example"),
        ("https://a.example:443/x/y?z", "GET /x/y?z HTTP/1.1", "Host: a.example"),
        ("http://[2001:4860::1]:8000/;", "GET /; HTTP/1.1", "Host: [2001:4860::1]:8000"),
    ],
)
def test_a_request_names_path_and_host(url: str, line: str, host: str):
    """RFC 9112 section 3.2."""
    lines = compose(egress.parse(url), None, {"Icy-MetaData": "1"}).decode().split("\r\n")

    assert (lines[0], lines[1], lines[-3:]) == (line, host, ["Icy-MetaData: 1", "", ""])


def test_a_request_carries_basic_credentials():
    """RFC 7617, in UTF-8."""
    request = compose(START, Credentials("us er", "pä"), {})

    assert b"\r\nAuthorization: Basic dXMgZXI6cMOk\r\n" in request
