"""The plainest media playlists, read without the library: most lists are, and are read every few seconds. Pure.

Anything that is not known here makes a list not plain; playlist.py has the library for the rest.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

_STAMP: Final = (
    r"#EXT-X-PROGRAM-DATE-TIME:(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}|\.\d{6})?(?:Z|[+-]\d\d:?\d\d))\n"
)
_HEAD: Final = re.compile(
    r"#EXTM3U\n(?:#EXT-X-(?:VERSION:\d{1,2}|INDEPENDENT-SEGMENTS|ALLOW-CACHE:(?:YES|NO)"
    r"|TARGETDURATION:(\d{1,4})|MEDIA-SEQUENCE:(\d{1,18})|DISCONTINUITY-SEQUENCE:(\d{1,18}))\n)*",
    re.ASCII,
)
_ENTRY: Final = re.compile(
    rf"(#EXT-X-DISCONTINUITY\n)?(?:{_STAMP})?#EXTINF:(\d{{1,2}}(?:\.\d{{1,9}})?),[ -~]*\n"
    rf"(?:{_STAMP})?([!-\"$-~][!-~]*)\n",
    re.ASCII,
)


class Entry(NamedTuple):
    """One segment."""

    uri: str
    seconds: float
    said_at: datetime | None
    is_discontinuous: bool


class Listed(NamedTuple):
    """A list; what it does not say is 0."""

    target: int
    sequence: int
    discontinuities: int
    entries: list[Entry]


def read(text: str) -> Listed | None:
    """What the list says, or None if it is not plain."""
    text = text.replace("\r\n", "\n")
    head = _HEAD.match(text)
    if head is None:
        return None
    at = head.end()
    entries: list[Entry] = []
    while (match := _ENTRY.match(text, at)) is not None:
        discontinuous, before, seconds, behind, uri = match.groups()
        try:
            said_at = datetime.fromisoformat(behind or before) if behind or before else None
        except ValueError:
            return None
        entries.append(Entry(uri, float(seconds), said_at, discontinuous is not None))
        at = match.end()
    if at < len(text):
        return None
    target, sequence, discontinuities = (int(number or 0) for number in head.groups())
    return Listed(target, sequence, discontinuities, entries)
