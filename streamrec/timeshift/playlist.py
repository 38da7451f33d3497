"""Plans as HLS playlists (RFC 8216 and draft-pantos-hls-rfc8216bis). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from time import gmtime, strftime
from typing import Final

from streamrec.models import FileFormat
from streamrec.timeshift.plan import Plan, Source

VERSION: Final = 8
GAP: Final = "gap."
"""What the name of nothing begins with."""
_TAG: Final = b"ID3\x04" + bytes(6)
_FILLERS: Final = {
    FileFormat.MP3: _TAG,  # without a frame
    FileFormat.AAC: _TAG,
    FileFormat.TS: b"\x47\x1f\xff\x10" + b"\xff" * 184,  # a null packet
    FileFormat.MP4: b"\0\0\0\x08free",
}
_TARGETS: Final = (6, 12)
"""Seconds; a target duration must not change while a list is played (RFC 8216, 4.3.3.1)."""
_SECOND: Final = 1_000_000
_DAY: Final = 86_400


def written(plan: Plan, *, is_live: bool, query: str = "") -> str:
    """The playlist; `query` is put behind every address, which is relative to /channel/{id}/."""
    return "\n".join([*_head(plan, is_live), *_body(plan, query), *([] if is_live else ["#EXT-X-ENDLIST"]), ""])


def _head(plan: Plan, is_live: bool) -> Iterator[str]:
    yield "#EXTM3U"
    yield f"#EXT-X-VERSION:{VERSION}"
    yield f"#EXT-X-TARGETDURATION:{target_seconds(plan)}"
    if is_live:
        yield f"#EXT-X-MEDIA-SEQUENCE:{plan.place.number}"
        yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{plan.place.discontinuity}"
    else:
        yield "#EXT-X-MEDIA-SEQUENCE:0"
        yield "#EXT-X-PLAYLIST-TYPE:VOD"


def filler(name: str) -> tuple[FileFormat, bytes]:
    """What a gap's address gives to players that do not know gaps and ask: no media, and no harm."""
    ending = name.removeprefix(GAP)
    form = FileFormat(ending) if ending in set(FileFormat) else FileFormat.TS
    return form, _FILLERS[form]


def target_seconds(plan: Plan) -> int:
    """No entry is longer, rounded to whole seconds; one of few values, whatever is in the list at the moment."""
    longest = max((entry.duration for entry in plan.entries), default=0)
    rounded = (longest + _SECOND // 2) // _SECOND
    return next((target for target in _TARGETS if rounded <= target), rounded)


def _body(plan: Plan, query: str) -> list[str]:
    """Every entry with its wall time; made for a day of them, hence one loop."""
    lines: list[str] = []
    source: Source | None = None
    address, ending, has_header = "", _ending(plan), False
    for since, duration, its_source, offset, size, is_break in plan.entries:
        if is_break and lines:
            lines.append("#EXT-X-DISCONTINUITY")
        if its_source is not None and its_source is not source:
            source = its_source
            ending, address = source.format.value, f"media/{source.uuid}"
            if source.format is FileFormat.MP4 and (is_break or not has_header):
                has_header = True
                header = source.index.header_bytes
                lines.append(f'#EXT-X-MAP:URI="{address}.{ending}{query}",BYTERANGE="{header}@0"')
        day, second = divmod(since // _SECOND, _DAY)
        lines.append(
            f"#EXT-X-PROGRAM-DATE-TIME:{_date(day)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            f".{since // 1000 % 1000:03d}Z\n#EXTINF:{duration / _SECOND:.5f},"
        )
        if its_source is None:
            # With a range, because ffmpeg keeps that of the piece before otherwise.
            size = len(_FILLERS[FileFormat(ending)])
            lines.append(f"#EXT-X-GAP\n#EXT-X-BYTERANGE:{size}@0\nmedia/{GAP}{ending}{query}")
        else:
            # Each with a name of its own: ffmpeg 9 joins ranges of one name, and then leaves some out.
            lines.append(f"#EXT-X-BYTERANGE:{size}@{offset}\n{address}.{offset}.{ending}{query}")
    return lines


def _ending(plan: Plan) -> str:
    """What an address that is never to be asked for ends with: ffmpeg holds even those against the format."""
    return next((entry.source.format.value for entry in plan.entries if entry.source is not None), "ts")


@cache
def _date(day: int) -> str:
    return strftime("%Y-%m-%d", gmtime(day * _DAY))
