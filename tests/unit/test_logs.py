"""Log lines: one form for all, and no credentials."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamrec import logs
from streamrec.settings import Settings


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Where this process's lines go during a test."""
    handlers, level, structure = logging.root.handlers, logging.root.level, structlog.get_config()
    raises = logging.raiseExceptions
    logs.configure(Settings(log_dir=tmp_path, log_format="json"), "test")
    yield tmp_path / "test.log"
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logging.root.handlers = handlers
    logging.root.setLevel(level)
    logging.raiseExceptions = raises
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()
    structlog.configure(**structure)


def last_line(path: Path) -> dict[str, object]:
    line: dict[str, object] = json.loads(path.read_text().splitlines()[-1])
    return line


def test_a_line_is_an_object_with_its_facts(log_file: Path) -> None:
    with structlog.contextvars.bound_contextvars(channel_id=7):
        structlog.get_logger("a.module").warning("capture stopped", reason="stalled")

    line = last_line(log_file)
    assert line.pop("timestamp").endswith("Z")  # type: ignore[attr-defined]
    assert line == {
        "event": "capture stopped",
        "level": "warning",
        "logger": "a.module",
        "process": "test",
        "channel_id": 7,
        "reason": "stalled",
    }


def test_lines_of_libraries_take_the_same_form(log_file: Path) -> None:
    logging.getLogger("alembic").info("step %s", 3, extra={"revision": "0001"})

    line = last_line(log_file)
    assert (line["event"], line["revision"], line["process"]) == ("step 3", "0001", "test")


def test_a_full_disk_costs_lines_and_nothing_else(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_file.unlink()
    log_file.symlink_to("/dev/full")
    for _ in range(3):
        structlog.get_logger("test").info(
            "lost", url="http://user:secret@host/"
        )  # the second finds the buffer full

    log_file.unlink()
    structlog.get_logger("test").info("kept")

    assert last_line(log_file)["event"] == "kept"
    assert "secret" not in capsys.readouterr().err


def test_a_traceback_is_one_line_and_shows_no_password(log_file: Path) -> None:
    try:
        raise ConnectionError("cannot open http://ann:hidden@radio.example/live")
    except ConnectionError:
        logging.getLogger("a.module").exception("failed")

    assert "ConnectionError: cannot open http://***@radio.example/live" in str(last_line(log_file)["exception"])
    assert "hidden" not in log_file.read_text()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("open http://ann:pw@host:80/a failed", "open http://***@host:80/a failed"),
        ("rtsp://user:p@ss:w@rd@cam/stream", "rtsp://***@cam/stream"),
        ("HTTPS://token@host", "HTTPS://***@host"),
        ("srt://host:9000?passphrase=hidden&mode=caller rest", "srt://host:9000?*** rest"),
        ("'https://host/a.m3u8?st=x&e=1#t'", "'https://host/a.m3u8?***#t'"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("mail ann@host about http://host/a@b", "mail ann@host about http://host/a@b"),
        ("no secret: http://host:8000/a/b.mp3", "no secret: http://host:8000/a/b.mp3"),
    ],
)
def test_credentials_are_taken_out_of_any_text(text: str, clean: str) -> None:
    assert logs.redacted(text) == clean


def test_nested_facts_and_secret_names_are_cleaned(log_file: Path) -> None:
    facts = {"urls": ["http://a:b@c/"], "headers": {"Cookie": "session=1"}, "error": ValueError("ftp://u:p@h/")}
    structlog.get_logger("a.module").info("request", api_key="streamrec_abc", **facts)

    line = last_line(log_file)
    assert (line["urls"], line["headers"], line["api_key"], line["error"]) == (
        ["http://***@c/"],
        {"Cookie": "***"},
        "***",
        "ftp://***@h/",
    )


@given(st.text(alphabet=st.characters(exclude_characters="/?#\"'<> \t\n\r\v\f", exclude_categories=["Z", "C"])))
def test_no_user_information_survives(secret: str) -> None:
    text = logs.redacted(f"say http://user:SECRET{secret}@host/path end")

    assert "SECRET" not in text
    assert text.endswith("@host/path end")


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = logs.redacted(text)

    assert logs.redacted(once) == once
