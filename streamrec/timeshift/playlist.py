"""Plans as HLS playlists (RFC 8216 and draft-pantos-hls-rfc8216bis). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from time import gmtime, strftime
from typing import Final, NamedTuple

from streamrec.models import FileFormat
from streamrec.timeshift.plan import Entry, Plan, Source

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
    longest = max((block.longest for block in _blocks(plan)), default=0)
    rounded = (longest + _SECOND // 2) // _SECOND
    return next((target for target in _TARGETS if rounded <= target), rounded)


class _Block(NamedTuple):
    """Entries that follow each other: all of a source, or one."""

    entries: Sequence[Entry]
    is_whole: bool

    @property
    def longest(self) -> int:
        """Microseconds."""
        first = self.entries[0]
        return first.source.longest if self.is_whole and first.source else first.duration


def _blocks(plan: Plan) -> Iterator[_Block]:
    at, entries = 0, plan.entries
    while at < len(entries):
        source = entries[at].source
        own = source.entries if source is not None else ()
        behind = at + len(own)
        is_whole = bool(own) and behind <= len(entries) and entries[at].offset == own[0].offset
        is_whole = (
            is_whole and entries[behind - 1].source is source and entries[behind - 1].offset == own[-1].offset
        )
        following = behind if is_whole else at + 1
        yield _Block(entries[at:following], is_whole)
        at = following


def _body(plan: Plan, query: str) -> list[str]:
    """Every entry with its wall time; made for a day of them, of which most have been written before."""
    lines: list[str] = []
    source: Source | None = None
    ending, has_header = _ending(plan), False
    for block in _blocks(plan):
        first = block.entries[0]
        if first.is_break and lines:
            lines.append("#EXT-X-DISCONTINUITY")
        if first.source is not None and first.source is not source:
            source, ending = first.source, first.source.format.value
            if source.format is FileFormat.MP4 and (first.is_break or not has_header):
                has_header = True
                lines.append(_map(source, query))
        if source is not None and block.is_whole:
            lines.append(_addressed(_text(source), ending, query))
        else:
            lines += [_line(entry, ending, query) for entry in block.entries]
    return lines


def _map(source: Source, query: str) -> str:
    size = source.index.header_bytes
    return f'#EXT-X-MAP:URI="media/{source.uuid}.{source.format.value}{query}",BYTERANGE="{size}@0"'


def _text(source: Source) -> str:
    """All entries of a source, without a query; written once."""
    if not source.texts:
        source.texts.append("\n".join(_line(entry, source.format.value, "") for entry in source.entries))
    return source.texts[0]


def _addressed(text: str, ending: str, query: str) -> str:
    """With the query behind every address; only addresses end like that."""
    return text.replace(f".{ending}\n", f".{ending}{query}\n") + query if query else text


def _line(entry: Entry, ending: str, query: str) -> str:
    since, duration, source, offset, size, _ = entry
    day, second = divmod(since // _SECOND, _DAY)
    told = (
        f"#EXT-X-PROGRAM-DATE-TIME:{_date(day)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        f".{since // 1000 % 1000:03d}Z\n#EXTINF:{duration / _SECOND:.5f},\n"
    )
    if source is None:
        # With a range, because ffmpeg keeps that of the piece before otherwise.
        size = len(_FILLERS[FileFormat(ending)])
        return f"{told}#EXT-X-GAP\n#EXT-X-BYTERANGE:{size}@0\nmedia/{GAP}{ending}{query}"
    # Each with a name of its own: ffmpeg 9 joins ranges of one name, and then leaves some out.
    return f"{told}#EXT-X-BYTERANGE:{size}@{offset}\nmedia/{source.uuid}.{offset}.{ending}{query}"


def _ending(plan: Plan) -> str:
    """What an address that is never to be asked for ends with: ffmpeg holds even those against the format."""
    return next((entry.source.format.value for entry in plan.entries if entry.source is not None), "ts")


@cache
def _date(day: int) -> str:
    return strftime("%Y-%m-%d", gmtime(day * _DAY))
