"""What recordings look like."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from streamrec import channels
from streamrec.clock import now
from streamrec.db import Session
from streamrec.errors import Gone, Invalid, NotFound
from streamrec.handlers import _current, _query, _reply
from streamrec.handlers._reply import Reply
from streamrec.media.decoders import BINS_PER_SECOND, Undecodable
from streamrec.pictures import scenes, sound
from streamrec.pictures.waveform import Waveform, waveform
from streamrec.timeline import Span

_LONGEST: Final = timedelta(hours=24)
_USUAL: Final = timedelta(hours=1)
_HEIGHT: Final = 256


def get_channel_thumbnail(channel_id: int, at: str | None = None, width: int = 320) -> Reply:
    moment = _query.instant(at, "at")
    with Session.begin() as session:
        channels.require(session, channel_id)
        scene = scenes.find(session, channel_id, moment)
    if scene is None or not scene.has_picture:
        raise NotFound("There is no picture of that moment.", channel_id=channel_id)
    try:
        picture = _current.studio().thumbnail(scene, width)
    except FileNotFoundError as error:
        raise Gone("The file of that moment is no longer in the archive.", channel_id=channel_id) from error
    except Undecodable as error:
        raise NotFound("There is no picture of that moment that can be decoded.", channel_id=channel_id) from error
    return _reply.picture(picture, media_type="image/jpeg", is_lasting=moment is not None)


def get_channel_thumbnails(
    channel_id: int,
    from_: str | None = None,
    to: str | None = None,
    count: int = 10,
    width: int = 160,
    height: int = 90,
) -> Reply:
    moment = now()
    span = _query.window(from_, to, default=Span(moment - _USUAL, moment))
    if span.duration > _LONGEST:
        raise Invalid("to: may be at most 24 hours after from", field="to")
    with Session.begin() as session:
        channels.require(session, channel_id)
        moments = [span.start + span.duration * index / count for index in range(count)]
        found = [scenes.find(session, channel_id, each) for each in moments]
    shown = [scene if scene is not None and scene.has_picture else None for scene in found]
    strip = _current.studio().strip(shown, width, height)
    return _reply.picture(strip, media_type="image/jpeg", is_lasting=False)


def get_channel_waveform(
    channel_id: int,
    from_: str | None = None,
    to: str | None = None,
    pixels: int = 1000,
    format_: str = "json",
) -> Reply:
    moment = now()
    span = _query.window(from_, to, default=Span(moment - _USUAL, moment))
    _require_fit(span, pixels)
    with Session.begin() as session:
        channels.require(session, channel_id)
        sounds = sound.recorded(session, channel_id, span)
    studio = _current.studio()
    found = waveform(span, pixels, studio.parts(sounds))
    return _drawn(found, format_)


def _require_fit(span: Span, pixels: int) -> None:
    if span.duration > _LONGEST:
        raise Invalid("to: may be at most 24 hours after from", field="to")
    if span.duration * BINS_PER_SECOND < pixels * timedelta(seconds=1):
        raise Invalid("pixels: a pixel must be at least a hundredth of a second", field="pixels")


def _drawn(found: Waveform, kind: str) -> Reply:
    if kind == "svg":
        return _reply.text(found.svg(), media_type="image/svg+xml")
    if kind == "png":
        return _reply.picture(_current.studio().drawn(found.pairs, _HEIGHT), media_type="image/png")
    return _reply.ok(found.document())
