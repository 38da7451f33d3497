"""From an address to the media playlist that is followed, and back when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamrec.egress import StreamUrl
from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import resolve
from streamrec.recorder.fetch.session import Session
from streamrec.recorder.hls import playlist
from streamrec.recorder.hls.playlist import Master, Media, Variant

SECONDS: Final = 5.0
_UNHEARD: Final = frozenset({"wvtt", "stpp"})  # subtitles
_FIELDS: Final = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


class SeparateSound(Exception):
    """The best variant has its sound in another playlist."""

    def __init__(self, picture: StreamUrl, sound: StreamUrl) -> None:
        super().__init__("the sound is in another playlist")
        self.picture = picture
        self.sound = sound


def ranked(variants: Sequence[Variant], max_bandwidth: int | None) -> list[Variant]:
    """The variants that may be recorded, best first; above the limit only where there is nothing below. Pure."""
    usable = [each for each in variants if _is_media(each)]
    below = [each for each in usable if max_bandwidth is None or each.bandwidth <= max_bandwidth]
    if below:
        return sorted(below, key=lambda each: -each.bandwidth)
    return sorted(usable, key=lambda each: each.bandwidth)


def _is_media(variant: Variant) -> bool:
    codecs = {codec.strip().partition(".")[0] for codec in variant.codecs.split(",")} - {""}
    return not codecs or bool(codecs - _UNHEARD)


class Lists:
    """Loads the media playlist at, or behind, an address; `address` is where it came from last."""

    def __init__(self, session: Session, start: StreamUrl, *, max_bandwidth: int | None = None) -> None:
        self._session = session
        self._start = start
        self._max_bandwidth = max_bandwidth
        self._variant: str | None = None  # as the master writes it
        self._failed: set[str] = set()
        self._url = start
        self.address = start
        self.is_other_variant = False
        """Whether the playlist is another one than before; whoever has seen that unsets it."""
        self._is_found = False
        self._validators: dict[str, str] = {}
        self._body = b""

    async def load(self) -> Media | None:
        """The media playlist; None if it is as it was.

        Raises Refused, and SeparateSound.
        """
        if not self._is_found:
            found = await self._read(self._start, {})
            if not isinstance(found, Master):
                self._is_found = True
                return found
            self._choose(found)
        media = await self._read(self._url, self._validators)
        if isinstance(media, Master):
            raise Refused(GapReason.SOURCE_ERROR, "The playlist's variants lead to playlists of variants.")
        self._is_found = True
        return media

    async def find_again(self) -> None:
        """Begin at the start again, and take another variant if the master still has the one that fails.

        Raises Refused.
        """
        self._url, self._validators, self._body = self._start, {}, b""
        if self._variant is None:
            return
        found = await self._read(self._start, {})
        if isinstance(found, Master):
            self._failed.add(self._variant)
            self._choose(found)
        self._validators, self._body = {}, b""

    def _choose(self, master: Master) -> None:
        variants = ranked(master.variants, self._max_bandwidth)
        if not variants:
            raise Refused(GapReason.NOT_MEDIA, "The playlist has no variant with sound or pictures.")
        chosen = next((each for each in variants if each.uri not in self._failed), variants[0])
        if chosen.uri in self._failed:
            self._failed.clear()  # all of them; the best may be back
        if chosen.sound_uri is not None:
            raise SeparateSound(resolve(self.address, chosen.uri), resolve(self.address, chosen.sound_uri))
        before, self._variant = self._variant, chosen.uri
        self.is_other_variant = before is not None and _path(before) != _path(chosen.uri)
        self._url = resolve(self.address, chosen.uri)

    async def _read(self, url: StreamUrl, validators: dict[str, str]) -> Media | Master | None:
        """The playlist at `url`; None if it is as it was. Sets `address`, to which its addresses are relative."""
        reply = await self._session.get(url, most_bytes=playlist.MOST_BYTES, seconds=SECONDS, headers=validators)
        if reply.is_unchanged or (self._is_found and reply.body == self._body):
            return None
        self._body, self.address = reply.body, reply.url
        named = {field: reply.head.text(name) for name, field in _FIELDS.items()}
        self._validators = {field: text for field, text in named.items() if text.isascii() and text.isprintable()}
        self._validators = {field: text for field, text in self._validators.items() if 0 < len(text) < 256}
        return playlist.parse(reply.body)


def _path(uri: str) -> str:
    return uri.partition("?")[0]
