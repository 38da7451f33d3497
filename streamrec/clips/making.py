"""Makes a clip's file: plan, cuts, bytes, hash, and only then the row."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

from streamrec import __version__, db
from streamrec.archive import room
from streamrec.archive.files import Tree
from streamrec.archive.places import Reading
from streamrec.clips import converting, cutting, filling, recipes, rows
from streamrec.clips.bridging import ZERO_SECONDS, Bridge
from streamrec.clips.converting import Given
from streamrec.clips.cutting import Cut, Recordings
from streamrec.clips.plan import Plan, Source, Take, planned, stretches
from streamrec.clips.recipes import ClipFormat, Recipe
from streamrec.clips.wanted import Wanted, Work
from streamrec.clock import now
from streamrec.errors import Conflict, Unavailable
from streamrec.keyset import Row
from streamrec.media import binary
from streamrec.media.process import FilePart
from streamrec.models import FileFormat, GapPolicy
from streamrec.settings import Settings
from streamrec.timeline import Span, written

WAVE_BYTES: Final = 192_000  # a second of 48 kHz, 16 bit, stereo
SPARE_BYTES: Final = 1 << 30  # that are to be left free
PART: Final = ".part"
BEHIND: Final = timedelta(seconds=2)
WARM_UP: Final = 12  # frames of audio before a cut, so that the first one wanted decodes as it did on air


@dataclass
class Making:
    """One attempt at one clip."""

    work: Wanted
    archive: Recordings
    target: Tree
    executable: Callable[[], str]
    clip: Row
    plan: Plan
    wide: Plan
    """With a little more at the end, because the sound of a transport stream comes behind its picture."""
    gaps: list[dict[str, Any]]
    cuts: list[Cut] = field(default_factory=list)
    stretches: list[list[Cut]] = field(default_factory=list)
    """The cuts, by what goes on without a jump of time stamps."""
    filled: list[dict[str, Any]] = field(default_factory=list)
    _is_wide: bool = False  # read up to `wide`, and cut off at the end of the range
    _filled_seconds: float = 0.0
    _done: int = 0  # bytes

    @property
    def format(self) -> ClipFormat:
        return ClipFormat(self.clip.format)

    @property
    def key(self) -> str:
        """Names the attempt, so that no two ever write the same file."""
        made = self.clip.created_at
        return f"{made:%Y/%m}/{self.clip.id}-{self.work.attempt}.{self.format}"

    @cached_property
    def _size(self) -> int:
        """Bytes of the recordings."""
        return sum(take.source.size_bytes for take in self.plan.takes)

    def make(self) -> rows.Made:
        """The file, durable under its key. Raises StreamrecError; leaves nothing behind then."""
        part = self.key + PART
        self._check_room()
        try:
            recipe = self._written(part)
            made = self._closed(part, recipe)
        except BaseException:
            with suppress(OSError):
                self.target.unlink(part)
            raise
        return made

    def _check_room(self) -> None:
        """A clip must not take the room that the recorder needs."""
        needed = self._size
        if self.format in {ClipFormat.WAV, ClipFormat.FLAC}:
            needed = max(needed, int(self._length() * WAVE_BYTES))
        if room.of(self.target.path).free_bytes - needed < SPARE_BYTES:
            raise Unavailable("There is not enough room on the disk for this clip.", rule="room")

    # --- bytes

    def _written(self, part: str) -> Recipe:
        if self.format is ClipFormat.ZIP:
            self._zip(part)
            return Recipe(None)
        first = self.plan.takes[0].source
        is_bridged = self._is_bridged(first)
        recipe = recipes.recipe(
            first.format, first.codecs, self.format, exact=self.clip.exact, is_bridged=is_bridged
        )
        self._cut(recipe, is_bridged=is_bridged)
        if is_bridged:
            self._convert_bridged(part, recipe)
        elif recipe.coding is None:
            self._join(part)
        else:
            self._convert(part, recipe)
        self._count_lead(recipe)
        return recipe

    def _count_lead(self, recipe: Recipe) -> None:
        """What is before the range and in the file is told as in it; MP4 alone can skip pictures."""
        first = self.cuts[0]
        is_copied = recipe.coding is None or recipe.coding.video == "copy"
        if is_copied and self.format is not ClipFormat.MP4:
            self.cuts[0] = replace(first, start=first.start - first.lead, lead=timedelta())

    @property
    def _fills(self) -> bool:
        return self.clip.gaps is GapPolicy.FILL and bool(self.plan.holes)

    def _is_bridged(self, first: Source) -> bool:
        """Whether media with time stamps comes in several pieces, each with its own, or is to be filled."""
        if recipes.is_bare(first.format) or not recipes.can_fill(first.format, first.codecs):
            return False
        return self._fills or len(stretches(self.plan.takes)) > 1

    def _cut(self, recipe: Recipe, *, is_bridged: bool) -> None:
        """Only the first of what comes one after the other brings MP4's header."""
        self._is_wide = recipe.coding is not None and self.plan.takes[0].source.format is FileFormat.TS
        for group in stretches(self._wide_takes() if self._is_wide else self.plan.takes):
            cuts: list[Cut] = []
            for take in group:
                self.work.check()
                warm_up = WARM_UP if recipe.decodes and not self.cuts else 0
                is_first = not cuts if is_bridged else not self.cuts
                piece = cutting.cut(self.archive, take, warm_up=warm_up, is_first=is_first)
                if piece is not None:
                    self.cuts.append(piece)
                    cuts.append(piece)
            if cuts:
                self.stretches.append(cuts)
        if not self.cuts:
            raise Unavailable("No frame begins in this range.")

    def _wide_takes(self) -> list[Take]:
        """Behind the range another coding may have begun, which is not to be mixed in."""
        first = self.plan.takes[0].source
        coding = (first.format, first.codecs)
        return [take for take in self.wide.takes if (take.source.format, take.source.codecs) == coding]

    def _join(self, part: str) -> None:
        file = self.target.create(part)
        try:
            for piece in self._pieces():
                if isinstance(piece, bytes):
                    cutting.write(file, piece)
                else:
                    cutting.copied(self.archive, piece, file, told=self._tell)
        finally:
            os.close(file)

    def _convert(self, part: str, recipe: Recipe) -> None:
        assert recipe.coding is not None
        os.close(self.target.create(part))  # the one file that ffmpeg can write
        lead = (self.cuts[0].lead + cutting.skew(self.archive, self.cuts[0])).total_seconds()
        converting.convert(
            self.executable(),
            recipe.coding,
            self._fed(),
            self.target.path / part,
            lead_seconds=lead,
            seconds=None if recipes.is_bare(recipe.coding.source) else self._length(),
            patience_seconds=60.0 + 2 * self._length(),
            check=self.work.check,
        )

    def _convert_bridged(self, part: str, recipe: Recipe) -> None:
        assert recipe.coding is not None
        os.close(self.target.create(part))
        window = Span(self.clip.start_time, self.clip.end_time)
        bridge = Bridge(self.executable(), window, self.stretches, self._fills, self._read, self.work.check)
        with closing(bridge.packets()) as packets:
            converting.convert(
                self.executable(),
                recipe.coding,
                packets,
                self.target.path / part,
                lead_seconds=bridge.lead.total_seconds(),
                seconds=window.duration.total_seconds() if self._fills else self._length(),
                zero_seconds=ZERO_SECONDS,
                patience_seconds=60.0 + 2 * window.duration.total_seconds(),
                check=self.work.check,
            )
        for span, count in bridge.filled:
            self._note_filled(span.start, span.end, count)

    def _note_filled(self, start: datetime, end: datetime, count: int) -> None:
        self.filled.append({"start_time": written(start), "end_time": written(end), "frames": count})
        self._filled_seconds += (end - start).total_seconds()

    def _read(self, piece: Cut) -> Iterator[Given]:
        for part in cutting.parts(self.archive, piece):
            yield part
            self._tell(part.size if isinstance(part, FilePart) else len(part))

    def _length(self) -> float:
        """Of what is wanted, without the holes that are left out."""
        return sum(take.span.duration.total_seconds() for take in self.plan.takes)

    def _fed(self) -> Iterator[Given]:
        for piece in self._pieces():
            if isinstance(piece, bytes):
                yield piece
                continue
            yield from self._read(piece)

    def _pieces(self) -> Iterator[Cut | bytes]:
        """The cuts, with silence between them where that is wanted."""
        if not self._fills:
            yield from self.cuts
            return
        frame = filling.silent_frame(self.executable(), self.archive, self.cuts[0].source)
        cursor = self.clip.start_time
        for piece in [*self.cuts, None]:
            until = self.clip.end_time if piece is None else piece.start
            is_hole = any(hole.start < until and cursor < hole.end for hole in self.plan.holes)
            count = frame.count(until - cursor) if is_hole else 0
            if count:
                self._note_filled(cursor, until, count)
                yield frame.data * count
            if piece is not None:
                yield piece
                cursor = piece.end

    def _zip(self, part: str) -> None:
        """The original files and a list of them; stored, because media does not shrink."""
        os.close(self.target.create(part))
        with zipfile.ZipFile(self.target.path / part, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for take in self.plan.takes:
                source = take.source
                piece = Cut(source, 0, source.size_bytes, source.span.start, source.span.end)
                self.cuts.append(piece)
                info = zipfile.ZipInfo(source.key, source.span.start.timetuple()[:6])
                info.file_size = source.size_bytes
                with archive.open(info, "w") as entry:
                    for data in cutting.originals(self.archive, source):
                        entry.write(data)
                        self._tell(len(data))
            archive.writestr("manifest.json", json.dumps(self._origin(), indent=1))

    def _tell(self, count: int) -> None:
        self._done += count
        self.work.progress(0.95 * min(1.0, self._done / max(1, self._size)))  # more may be read than was wanted

    # --- what it is

    def _closed(self, part: str, recipe: Recipe) -> rows.Made:
        file = self.target.open(part, os.O_RDWR)
        with os.fdopen(file, "rb") as readable:
            sha256 = hashlib.file_digest(readable, "sha256").hexdigest()
            size = os.fstat(readable.fileno()).st_size
            os.fsync(readable.fileno())
        if self._is_one_original(recipe):
            cutting.check_hash(self.cuts[0].source, sha256)
        self.target.rename(part, self.key)
        seconds = self._filled_seconds + sum(
            max(0.0, (min(piece.end, self._end) - piece.start).total_seconds()) for piece in self.cuts
        )
        told = {**self._origin(), "sha256": sha256, "size_bytes": size, "lossless": recipe.is_lossless}
        return rows.Made(self.key, size, sha256, recipe.is_lossless, round(seconds, 6), told)

    def _is_one_original(self, recipe: Recipe) -> bool:
        """Whether the clip's hash is a recording's, too, so that to compare them costs nothing."""
        is_joined = recipe.coding is None and self.format is not ClipFormat.ZIP and not self.filled
        return is_joined and len(self.cuts) == 1 and self.cuts[0].is_whole

    @property
    def _end(self) -> datetime:
        """Of what is in it. A zip has whole files; a copied transport stream goes on to the next picture."""
        end = self.clip.end_time if self._fills else self.cuts[-1].end
        goes_on = self.format in {ClipFormat.ZIP, ClipFormat.TS} and not self._is_wide
        return end if goes_on else min(end, self.clip.end_time)

    @property
    def _start(self) -> datetime:
        start = self.cuts[0].start
        return min(self.clip.start_time, start) if self._fills else start

    def _origin(self) -> dict[str, Any]:
        """Where the clip comes from: recordings, hashes, the bytes taken of each, gaps, and what made it."""
        return {
            "clip": str(self.clip.id),
            "channel_id": self.clip.channel_id,
            "from": written(self.clip.start_time),
            "to": written(self.clip.end_time),
            "start_time": written(self._start),
            "end_time": written(self._end),
            "format": str(self.format),
            "exact": self.clip.exact,
            "recordings": [_of(piece) for piece in self.cuts],
            "gaps": self.gaps,
            "filled": self.filled,
            "made_by": f"streamrec {__version__}",
            "made_at": written(now()),
        }


def _of(piece: Cut) -> dict[str, Any]:
    source = piece.source
    return {
        "id": source.recording_id,
        "path": source.key,
        "sha256": source.sha256,
        "size_bytes": source.size_bytes,
        "start_time": written(piece.start),
        "end_time": written(piece.end),
        "first_byte": piece.first,
        "end_byte": piece.last,
    }


# --- the task ---------------------------------------------------------------------------------------------


def make(settings: Settings, work: Work) -> str | None:
    """Make the clip of a job; the path of its row in the API, or None if it was deleted meanwhile.

    Raises:
        Invalid, Conflict, Unavailable: it cannot be made; the text says why.
        Lost: a recording is not what was recorded; `recording_id` in its context tells which.
        DatabaseAway.
    """
    with db.away_as_unavailable(), db.Session.begin() as session:
        clip = rows.of_job(session, work.job_id)
        if clip is None:
            return None
        window = Span(clip.start_time, clip.end_time)
        around = Span(window.start, window.end + BEHIND)
        # Before the sources, so that what comes meanwhile is among them.
        gaps = rows.gaps_in(session, clip.channel_id, window)
        rows.check_told(gaps)
        sources = rows.sources_in(session, clip.channel_id, around)
        plan, wide = planned(sources, window), planned(sources, around)
        rows.check(plan, _order(clip))
    try:
        with Tree(settings.archive_dir) as tree, Tree(settings.clips_dir) as target:
            recordings = Recordings(tree, Reading(settings), settings.clips_dir)
            making = Making(
                Wanted(work, clip.id), recordings, target, _executable(settings), clip, plan, wide, gaps
            )
            _note(settings, making, making.make())
    except OSError as exc:
        raise Unavailable(f"The clip could not be written: {exc.strerror}.") from exc
    return f"/clip/{clip.id}"


def _executable(settings: Settings) -> Callable[[], str]:
    """Looked for only where it is needed."""
    return lambda: binary.find(settings.ffmpeg).path


def _order(clip: Row) -> rows.Order:
    window = Span(clip.start_time, clip.end_time)
    return rows.Order(clip.channel_id, window, ClipFormat(clip.format), clip.exact, clip.gaps)


def _note(settings: Settings, making: Making, made: rows.Made) -> None:
    keep = timedelta(days=settings.clip_days)
    with db.away_as_unavailable(), db.Session.begin() as session:
        if rows.complete(session, making.clip.id, made, attempt=making.work.attempt, keep=keep):
            return
    making.target.unlink(made.path)
    raise Conflict("The clip was deleted, or is made by another attempt.")
