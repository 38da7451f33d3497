"""The canary's station on loopback, and the loop that compares what was recorded of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from streamrec import canary, channel_fields, db, deletion
from streamrec.archive.places import Placed, Reading
from streamrec.clock import Clock
from streamrec.demo.http import Request, Response, connected
from streamrec.settings import Settings

log = structlog.get_logger(__name__)

HOST: Final = "127.0.0.1"
PATH: Final = "/canary"
BURST_FRAMES: Final = 170  # 4 s, so that a capture that is interrupted can go on at the very frame
TICK_SECONDS: Final = 0.24
ROUND_SECONDS: Final = 10.0
MOST_BYTES: Final = 1 << 20  # of a recording, which has 120 kB


def endpoint(port: int) -> str:
    """The one address that the recorder may connect to for this."""
    return f"{HOST}:{port}"


class Station:
    """Plays the signal; listeners share no state, and so do two recorders that both play it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def serve(self, port: int) -> asyncio.Server:
        """Listen, also while the recorder that this one replaces does so. Raises OSError."""
        return await asyncio.start_server(connected(self._answer), HOST, port, reuse_port=True)

    async def _answer(self, request: Request, response: Response) -> None:
        if request.path != PATH:
            await response.whole(b"", "text/plain", "404 Not Found")
        elif await response.start({"Content-Type": "audio/mpeg"}):
            await self._play(response)

    async def _play(self, response: Response) -> None:
        position = canary.live(self._clock.now()) - BURST_FRAMES
        while True:
            live = canary.live(self._clock.now())
            if not position <= live <= position + 2 * BURST_FRAMES:
                return  # the clock was moved: the listener comes again, and begins where time is
            await response.write(b"".join(canary.frame(number) for number in range(position, live)))
            position = live
            await self._clock.sleep(TICK_SECONDS)


async def sing(clock: Clock, port: int, look: Callable[[], object]) -> None:
    """Play the signal, and `look` at what was recorded of it, for ever; without the port, say so and leave it."""
    try:
        server = await Station(clock).serve(port)
    except OSError as exc:
        log.error("the canary's port cannot be listened on", port=port, error=exc.strerror)
        return
    async with server:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(ROUND_SECONDS)


class Watch:
    """Keeps the canary's channel recorded, clipped, compared and small. Its work blocks, in threads."""

    def __init__(self, settings: Settings, recorder_id: UUID) -> None:
        self._settings = settings
        self._recorder_id = recorder_id
        self._endpoint = endpoint(settings.canary_port)
        # Whoever has no canary need not hold what makes clips, which is 12 MB.
        from streamrec.recorder.canary_clips import Clipping

        self._clipping = Clipping(settings)

    def look(self) -> None:
        """One round. Raises SQLAlchemyError, Unavailable or OSError."""
        with db.Session.begin() as session:
            channel_id = canary.ensure(session, self._draft())
            if not canary.is_held_by(session, channel_id, self._recorder_id):
                return
            rows, is_first_known = canary.due(session, channel_id)
        if len(rows) > is_first_known:
            pieces = [canary.Piece(row.start_time, row.end_time, self._content(row)) for row in rows]
            verdict = canary.compare(pieces, is_first_known=is_first_known)
            if verdict.faults:
                log.error(
                    "the canary was not recorded as it was sent", faults=verdict.faults, detail=verdict.detail
                )
            with db.Session.begin() as session:
                canary.note(session, channel_id, verdict, rows[-1].end_time)
        self._clipping.look(channel_id)
        self._tidy(channel_id)

    def _content(self, row: Placed) -> bytes | None:
        """A file that is gone is a fault of the archive's; a store that is away is none."""
        try:
            return Reading(self._settings).read(row, 0, MOST_BYTES)
        except FileNotFoundError:
            return None

    def _tidy(self, channel_id: int) -> None:
        with db.Session.begin() as session:
            old = canary.expired(session, channel_id)
        for recording_id in old:
            deletion.recording(recording_id, self._settings.archive_dir)

    def _draft(self) -> channel_fields.Draft:
        fields = {
            "name": "Canary",
            "keyname": canary.KEYNAME,
            "type": "radio",
            "url": f"http://{self._endpoint}{PATH}",
            "segment_seconds": canary.SEGMENT_SECONDS,
            "tags": ["canary"],
        }
        return channel_fields.checked(fields, allow=[self._endpoint])
