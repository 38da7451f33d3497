"""Answers' heads as servers write them, and as they should not."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.models import GapReason
from streamrec.recorder.fetch import head
from streamrec.recorder.fetch.errors import Refused


def parsed(data: bytes) -> tuple[head.Head, bytes]:
    result = head.parse(data)
    assert result is not None
    return result


@pytest.mark.parametrize(
    "start", ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK", "ICY 200 OK", "http/1.1 200", "icy 200 OK"]
)
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_every_dialect_is_understood(start: str, end: str):
    """Icecast, SHOUTcast v1 and servers that are careless with line ends."""
    lines = [start, "Content-Type: audio/mpeg", "icy-metaint:8192", "", "\xff\xfbmedia"]

    found, rest = parsed(end.join(lines).encode("latin-1"))

    assert (found.status, found.number("ICY-MetaInt"), found.text("content-type")) == (200, 8192, "audio/mpeg")
    assert rest == b"\xff\xfbmedia"


@given(st.integers(0, 60))
def test_a_head_that_is_not_whole_is_waited_for(length: int):
    """Wherever it is cut."""
    whole = b"HTTP/1.1 200 OK\r\nServer: Icecast 2.4.4\r\nicy-name: A station\r\n\r\n"

    assert head.parse(whole[:length]) is None


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH", b"\xff\xfb\x90\x64", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 two\r\n\r\n"]
)
def test_what_is_no_answer_is_refused(data: bytes):
    """Another protocol, or none."""
    with pytest.raises(Refused) as refusal:
        head.parse(data)

    assert refusal.value.reason is GapReason.NOT_MEDIA


@pytest.mark.parametrize("fields", [b"X-Long: " + b"a" * head.HEAD_BYTES, b"A: b\r\n" * 101 + b"\r\n"])
def test_a_head_without_end_is_refused(fields: bytes):
    """16 KiB and 100 fields are enough for anyone."""
    with pytest.raises(Refused) as refusal:
        head.parse(b"HTTP/1.1 200 OK\r\n" + fields)

    assert refusal.value.reason is GapReason.SOURCE_ERROR


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes):
    """A server may send what it likes."""
    with contextlib.suppress(Refused):
        head.parse(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "source_denied"),
        (403, "source_denied"),
        (404, "source_denied"),
        (410, "source_denied"),
        (451, "source_denied"),
        (429, "source_error"),
        (500, "source_error"),
        (503, "source_error"),
    ],
)
def test_a_status_becomes_a_reason(status: int, reason: str):
    """What lasts is told from what may pass, in our own words: the server's may be anything."""
    found, _ = parsed(f"HTTP/1.1 {status} canary\r\nRetry-After: 7\r\n\r\n".encode())

    with pytest.raises(Refused) as refusal:
        found.require_success()

    assert refusal.value.reason == reason
    assert refusal.value.detail == f"The server answered {status} {HTTPStatus(status).phrase}."
    assert refusal.value.retry_after_seconds == (7.0 if status in {429, 503} else None)


@pytest.mark.parametrize("text", ["soon", "-3", "Fri, 99 Nov 2026", "Thu, 01 Jan 1970 00:00:00", "9" * 400])
def test_a_retry_after_that_says_nothing_is_none(text: str):
    """Nonsense, and a date without a zone."""
    found, _ = parsed(f"HTTP/1.1 503 No\r\nRetry-After: {text}\r\n\r\n".encode())

    assert found.retry_after_seconds is None


def test_a_retry_after_in_the_past_is_now():
    """RFC 9110 section 10.2.3 allows a date."""
    found, _ = parsed(b"HTTP/1.1 503 No\r\nRetry-After: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n")

    assert found.retry_after_seconds == 0.0


@pytest.mark.parametrize(
    ("start", "connection", "expected"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "foo, Close", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "Keep-Alive", True),
        ("ICY", "keep-alive", False),
    ],
)
def test_a_connection_is_kept_only_where_both_mean_it(start: str, connection: str, expected: bool):
    """RFC 9112 section 9.3."""
    found, _ = parsed(f"{start} 200 OK\r\nConnection: {connection}\r\n\r\n".encode())

    assert found.keeps_alive is expected
