"""An archive as a recorder leaves it, written by its own writer and ledger in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from streamrec import db, indexes
from streamrec.archive.files import Tree
from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat, GapReason
from streamrec.recorder import book
from streamrec.recorder.facts import GapNoted, RunStarted
from streamrec.recorder.spool import Spool
from streamrec.recorder.writer import SegmentWriter
from streamrec.settings import Settings
from tests import samples

CODECS = {FileFormat.MP3: "mp3", FileFormat.AAC: "aac", FileFormat.TS: "h264+aac", FileFormat.MP4: "h264+aac"}
_TONE = "-f lavfi -i sine=frequency=440:sample_rate=44100:duration={0}"
_PICTURE = "-f lavfi -i testsrc2=size=160x120:rate=12:duration={0} " + _TONE
_X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 24 -keyint_min 24 -sc_threshold 0 -c:a aac"
_RECIPES = {
    FileFormat.MP3: f"{_TONE} -c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0 -f mp3",
    FileFormat.AAC: f"{_TONE} -c:a aac -b:a 64k -f adts",
    FileFormat.TS: f"{_PICTURE} {_X264} -f mpegts",
    FileFormat.MP4: f"{_PICTURE} {_X264} -f mp4 -movflags +empty_moov+default_base_moof+frag_keyframe",
}


def clip(folder: Path, form: FileFormat, seconds: int) -> bytes:
    """A tone, and a test picture with a key frame every two seconds."""
    path = folder / f"clip-{seconds}.{form.value}"
    if not path.exists():
        samples.ffmpeg(*_RECIPES[form].format(seconds).split(), str(path))
    return path.read_bytes()


@dataclass
class Deck:
    """Records what it is given."""

    settings: Settings
    channel_id: int
    format: FileFormat

    def units(self, data: bytes) -> list[Unit]:
        """What a recorder makes of a stream."""
        framer = framer_for(self.format)
        return [*framer.feed(data), *framer.flush()]

    def record(
        self, units: Sequence[Unit], start: datetime, *, segment_seconds: int = 10, is_over: bool = True
    ) -> datetime:
        """A run that begins at `start`; where it ends. Without `is_over` its last file is still being written."""
        run = RunStarted(uuid4(), self.channel_id, uuid4(), "icy", self.format, CODECS[self.format], start)
        length = sum(unit.duration for unit in units)

        def wall(media: int) -> datetime:
            return start + timedelta(microseconds=media * 1_000_000 // FLICKS)

        folder = self.settings.spool_dir / uuid4().hex
        with Tree(self.settings.archive_dir) as archive, Spool(folder) as spool:
            writer = SegmentWriter(
                archive=archive,
                spool=spool,
                run=run,
                keyname="tape-deck_",
                segment_seconds=segment_seconds,
            )
            for at in range(0, len(units), 10):
                writer.append(units[at : at + 10], wall)
            growing = writer.growing
            if is_over:
                writer.close(wall, "stalled")
            with db.Session.begin() as session:
                for fact in spool.pending():
                    book.record(session, fact)
                if growing is not None and not is_over:
                    indexes.grow(session, [(self.channel_id, growing)])
        return wall(length)

    def lose(self, start: datetime, end: datetime) -> None:
        """A gap."""
        fact = GapNoted(uuid4(), self.channel_id, start, end, GapReason.STALLED, "No media.")
        with db.Session.begin() as session:
            book.record(session, fact)


def split(units: Sequence[Unit], seconds: float) -> tuple[list[Unit], list[Unit]]:
    """What comes before the first cut at or after so many seconds, and what from there on."""
    media = 0
    for number, unit in enumerate(units):
        if media >= seconds * FLICKS and unit.is_cut:
            return list(units[:number]), list(units[number:])
        media += unit.duration
    return list(units), []
