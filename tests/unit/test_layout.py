"""Keys of the archive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.archive import layout
from streamrec.models import FileFormat

RUN = UUID("0123456789abcdef0123456789abcdef")
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


def test_a_key_says_channel_day_start_and_run() -> None:
    start = datetime(2026, 11, 20, 23, 59, 59, 999_999, UTC)

    key = layout.key(keyname="radio-one_", start_time=start, run_id=RUN, format=FileFormat.MP3)

    assert key == "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab.mp3"


def test_two_epochs_never_share_a_name() -> None:
    start = datetime(2026, 11, 20, 23, 59, 59, 999_999, UTC)
    keys = {
        layout.key(keyname="radio-one_", start_time=start, run_id=RUN, epoch=epoch, format=FileFormat.MP3)
        for epoch in (None, 1, 2, 11)
    }

    assert len(keys) == 4
    assert "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab-11.mp3" in keys


def test_a_key_is_in_utc_whatever_the_zone() -> None:
    start = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))

    key = layout.key(keyname="radio-one_", start_time=start, run_id=RUN, format=FileFormat.TS)

    assert key.startswith("radio-one_/2025/12/31/20251231T233000.000Z-")


@given(
    keyname=st.from_regex(r"[A-Za-z0-9_-]{10}", fullmatch=True),
    start=INSTANTS,
    run=st.uuids(),
    epoch=st.none() | st.integers(1, 2**53),
    file_format=st.sampled_from(FileFormat),
)
def test_parse_gives_back_what_key_was_given(
    keyname: str, start: datetime, run: UUID, epoch: int | None, file_format: FileFormat
) -> None:
    key = layout.key(keyname=keyname, start_time=start, run_id=run, epoch=epoch, format=file_format)

    milliseconds = start.replace(microsecond=start.microsecond // 1000 * 1000)
    assert layout.parse(key) == layout.Name(keyname, milliseconds, run.hex[:12], file_format, epoch)
    assert key.startswith(layout.day_folder(keyname, start) + "/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab.mp3.part",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab.ogg",
        "radio-one_/2026/11/21/20261120T235959.999Z-0123456789ab.mp3",
        "radio-one_/2026/11/20/20261131T235959.999Z-0123456789ab.mp3",
        "../../../2026/11/20/20261120T235959.999Z-0123456789ab.mp3",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab.mp3\n",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789AB.mp3",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab-.mp3",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab-0.mp3",
        "radio-one_/2026/11/20/20261120T235959.999Z-0123456789ab--1.mp3",
    ],
)
def test_anything_else_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|another day|out of range|does not match"):
        layout.parse(text)


@pytest.mark.parametrize("keyname", ["short", "eleven-char", "../../etc/", "radio one_", "radiöradio"])
def test_no_key_is_made_from_a_bad_keyname(keyname: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        layout.key(keyname=keyname, start_time=datetime(2026, 1, 1, tzinfo=UTC), run_id=RUN, format=FileFormat.AAC)
