"""Makes pictures and keeps them: a cache by content in front of children that decode."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from streamrec.archive import files
from streamrec.errors import Unavailable
from streamrec.media.decoders import Decoders, Undecodable
from streamrec.media.stretches import Stretch
from streamrec.pictures.cache import Cache
from streamrec.pictures.sound import Sound
from streamrec.pictures.waveform import Part

log = structlog.get_logger("streamrec.pictures")

_CHILDREN: Final = 1  # in each API worker
_PATIENCE_SECONDS: Final = 20.0  # of one request; what it has made until then is kept for the next


class Studio:
    """One in each API worker. `close` it in the end."""

    def __init__(self, *, archive_dir: Path, cache_dir: Path) -> None:
        self._archive_dir = archive_dir
        self.cache = Cache(cache_dir)
        self._decoders = Decoders(_CHILDREN)

    def close(self) -> None:
        """End the children."""
        self._decoders.close()

    def parts(self, sounds: Iterable[Sound]) -> Iterator[Part]:
        """The peaks of each recording; one that is gone or cannot be decoded is left out.

        Raises:
            Unavailable: it takes too long; what has been made is kept, so that asking again gets further.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with files.Tree(self._archive_dir) as tree:
            for sound in sounds:
                if time.monotonic() > deadline:
                    raise Unavailable("There is much to decode in this range: ask again, and it goes on.")
                if tree.exists(sound.path):
                    yield Part(sound.start_time, self._peaks(sound))

    def drawn(self, pairs: Sequence[tuple[int, int]], height: int) -> bytes:
        """A PNG of a waveform."""
        return self._decoders.drawn(pairs, height)

    def _peaks(self, sound: Sound) -> bytes:
        return self.cache.get(f"peaks/{sound.sha256[:2]}/{sound.sha256}", lambda: self._decoded(sound))

    def _decoded(self, sound: Sound) -> bytes:
        """Nothing for what cannot be decoded, which is kept too, and so not tried again."""
        stretch = Stretch(self._archive_dir / sound.path, 0, sound.size_bytes)
        try:
            return self._decoders.peaks([stretch], sound.format)
        except Undecodable as error:
            log.warning("no peaks", path=sound.path, error=str(error))
            return b""
