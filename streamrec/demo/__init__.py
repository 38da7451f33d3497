"""Two stations that this machine makes itself, so that a newcomer without internet has something to record."""

from __future__ import annotations

from typing import Any

RADIO_PATH = "/radio.mp3"
TELEVISION_PATH = "/tv/live.m3u8"


def stations(base_url: str) -> list[dict[str, Any]]:
    """The bodies for `POST /channel` that add both stations of the `python -m streamrec.demo` at `base_url`."""
    root = base_url.rstrip("/")
    return [
        {
            "name": "Demo radio",
            "keyname": "demo-radio",
            "type": "radio",
            "url": root + RADIO_PATH,
            "segment_seconds": 15,
            "tags": ["demo"],
        },
        {
            "name": "Demo television",
            "keyname": "demo-video",
            "type": "TV",
            "url": root + TELEVISION_PATH,
            "segment_seconds": 15,
            "tags": ["demo"],
        },
    ]
