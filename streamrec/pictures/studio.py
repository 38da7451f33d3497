"""Makes pictures and keeps them: a cache by content in front of children that decode."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import structlog

from streamrec import roots
from streamrec.archive import files
from streamrec.archive.places import Placed, Reading
from streamrec.errors import Unavailable
from streamrec.media.decoders import Decoders, Moment, Undecodable
from streamrec.media.stretches import Stretch
from streamrec.models import Store
from streamrec.pictures.cache import Cache
from streamrec.pictures.scenes import Scene
from streamrec.pictures.sound import Sound
from streamrec.pictures.waveform import Part
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.pictures")

_CHILDREN: Final = 1  # in each API worker
_PATIENCE_SECONDS: Final = 20.0  # of one request; what it has made until then is kept for the next


class Studio:
    """One in each API worker. `close` it in the end."""

    def __init__(self, settings: Settings, reading: Reading) -> None:
        self.cache = Cache(settings.cache_dir)
        self._archive_dir = settings.archive_dir
        self._reading = reading
        self._decoders = Decoders(_CHILDREN)

    def close(self) -> None:
        """End the children."""
        self._decoders.close()

    # --- television

    def thumbnail(self, scene: Scene, width: int) -> bytes:
        """A JPEG of a scene, at most `width` pixels wide. Raises FileNotFoundError, StorageAway, Undecodable."""

        def make() -> bytes:
            with self._local(scene, scene.ranges) as stretches:
                return self._decoders.thumbnail((stretches, scene.format.value, scene.seconds), width)

        at = f"{scene.ranges[-1][0]}-{round(scene.seconds * 1000)}-{width}"
        return self.cache.get(f"thumbnail/{scene.name[:2]}/{scene.name}-{at}", make)

    def strip(self, scenes: Sequence[Scene | None], width: int, height: int) -> bytes:
        """A JPEG of the key pictures of scenes, side by side; black where there is none."""
        with ExitStack() as stack:
            moments = [self._moment(scene, stack) for scene in scenes]
            return self._decoders.strip(moments, width, height)

    def _moment(self, scene: Scene | None, stack: ExitStack) -> Moment | None:
        if scene is None:
            return None
        try:
            stretches = stack.enter_context(self._local(scene, scene.ranges))
        except FileNotFoundError:
            return None
        return stretches, scene.format.value, 0.0

    # --- sound

    def parts(self, sounds: Iterable[Sound]) -> Iterator[Part]:
        """The peaks of each recording; one that is gone or cannot be decoded is left out.

        Raises:
            Unavailable: it takes too long; what has been made is kept, so that asking again gets further.
            StorageAway.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for sound in sounds:
            if time.monotonic() > deadline:
                raise Unavailable("There is much to decode in this range: ask again, and it goes on.")
            try:
                yield Part(sound.start_time, self._peaks(sound))
            except FileNotFoundError:
                continue

    def drawn(self, pairs: Sequence[tuple[int, int]], height: int) -> bytes:
        """A PNG of a waveform."""
        return self._decoders.drawn(pairs, height)

    def _peaks(self, sound: Sound) -> bytes:
        return self.cache.get(f"peaks/{sound.sha256[:2]}/{sound.sha256}", lambda: self._decoded(sound))

    def _decoded(self, sound: Sound) -> bytes:
        """Nothing for what cannot be decoded, which is kept too, and so not tried again."""
        try:
            with self._local(sound, [(0, sound.size_bytes)]) as stretches:
                return self._decoders.peaks(stretches, sound.format.value)
        except Undecodable as error:
            log.warning("no peaks", path=sound.path, error=str(error))
            return b""

    # --- bytes

    @contextmanager
    def _local(self, row: Placed, ranges: Sequence[tuple[int, int]]) -> Iterator[list[Stretch]]:
        """The ranges of a recording as stretches of local files; what lies in a bucket is fetched meanwhile."""
        if row.store is Store.LOCAL:
            with files.Tree(self._archive_dir) as tree:
                if not tree.exists(row.path):
                    raise FileNotFoundError(row.path)
            yield [Stretch(self._archive_dir / row.path, start, length) for start, length in ranges]
            return
        with tempfile.NamedTemporaryFile() as copy:
            with roots.proving_bucket(self._reading):
                for start, length in ranges:
                    copy.writelines(self._reading.stream(row, start, start + length))
            copy.flush()
            yield [Stretch(Path(copy.name), 0, sum(length for _, length in ranges))]
