"""Has clips made of the canary's archive, as a client would, and compares them."""

from __future__ import annotations

from contextlib import suppress
from random import Random, SystemRandom
from typing import Final

import structlog

from streamrec import canary, canary_clips, db
from streamrec.archive.files import Tree
from streamrec.archive.places import Placed, Reading
from streamrec.canary import Verdict
from streamrec.canary_clips import Clip, Part
from streamrec.clock import now
from streamrec.errors import NotFound, StreamrecError
from streamrec.keyset import Row
from streamrec.models import JobState
from streamrec.settings import Settings
from streamrec.timeline import Span

log = structlog.get_logger(__name__)

MOST_BYTES: Final = 1 << 20  # of a clip, which has 720 kB at most


class Clipping:
    """One clip after the other: asked for, compared once it is made, removed."""

    def __init__(self, settings: Settings, draw: Random | None = None) -> None:
        self._settings = settings
        self._draw = draw or SystemRandom()

    def look(self, channel_id: int) -> None:
        """One round. Raises SQLAlchemyError, Unavailable or OSError."""
        with db.Session.begin() as session:
            clip = canary_clips.pending(session, channel_id)
        if clip is None:
            self._ask(channel_id)
        elif clip.created_at < now() - canary_clips.WITHDRAWN:
            self._end(channel_id, clip, None)
        elif (verdict := self._verdict(clip)) is not None:
            self._end(channel_id, clip, verdict)

    def _ask(self, channel_id: int) -> None:
        """What stands in its way now is told by the health once the clip is late."""
        try:
            with db.Session.begin() as session:
                canary_clips.ask(session, channel_id, self._draw)
        except StreamrecError as exc:
            log.info("no clip of the canary could be asked for", reason=exc.detail)

    def _verdict(self, clip: Row) -> Verdict | None:
        """None while it is not made, or its file is in another machine's folder, on its way to the bucket."""
        if clip.state is JobState.FAILED:
            return Verdict(0, 1, f"A clip of it could not be made: {clip.error}")
        if clip.state is not JobState.DONE:
            return None
        try:
            data = self._content(clip)
        except FileNotFoundError:
            return None
        window = Span(clip.start_time, clip.end_time)
        return canary_clips.compare(
            Clip(window, clip.seconds, clip.sha256, data), self._parts(clip.channel_id, window)
        )

    def _content(self, clip: Row) -> bytes:
        with Tree(self._settings.clips_dir) as tree:
            return Reading(self._settings, tree).read(clip, 0, MOST_BYTES)

    def _parts(self, channel_id: int, window: Span) -> list[Part]:
        with db.Session.begin() as session:
            found = canary_clips.recordings(session, channel_id, window)
        return [
            Part(Span(row.start_time, row.end_time), row.size_bytes // canary.FRAME_BYTES, self._first(row))
            for row in found
        ]

    def _first(self, row: Placed) -> int | None:
        try:
            return canary.number_of(Reading(self._settings).read(row, 0, canary.FRAME_BYTES))
        except FileNotFoundError:
            return None

    def _end(self, channel_id: int, clip: Row, verdict: Verdict | None) -> None:
        if verdict is not None and verdict.faults:
            log.error("a clip of the canary is not what was sent", faults=verdict.faults, detail=verdict.detail)
        with suppress(NotFound):  # somebody deleted it
            with db.Session.begin() as session:
                key = canary_clips.end(session, channel_id, clip, verdict)
            if key is not None:
                with Tree(self._settings.clips_dir) as tree:
                    tree.unlink(key)
