"""Pictures and peaks out of recorded bytes. Runs in a child of `decoders`, because what it decodes is hostile.

Formats are pinned and nothing but the given bytes is opened, so no file or address in the media is ever followed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.error import FFmpegError

from streamrec.media import keypicture
from streamrec.media.decoders import BINS_PER_SECOND, Undecodable
from streamrec.media.stretches import Stretch, Stretches

DEMUXERS: Final = {"mp3": "mp3", "aac": "aac", "ts": "mpegts", "mp4": "mp4"}
_MOST_PIXELS: Final = 8192 * 4352  # of one decoded picture
_MOST_FRAMES: Final = 1500  # decoded to reach one instant: a minute of television
_NEAR_SECONDS: Final = 0.5
_PROBING: Final = {"probesize": "262144"}  # of five megabytes, which nothing here needs
_JPEG: Final = "yuvj420p"
_LOUDEST: Final = 127
_INK: Final = (38, 70, 110)


def thumbnail(stretches: Sequence[Stretch], container: str, seconds: float, width: int) -> bytes:
    """A JPEG of the picture `seconds` after the first one, at most `width` pixels wide, in its own proportions.

    `container` is a key of DEMUXERS; the bytes must begin at or before a key picture. Raises Undecodable.
    """
    return _jpeg(_scaled(_picture(stretches, container, seconds), width))


def strip(moments: Sequence[tuple[Sequence[Stretch], str, float] | None], width: int, height: int) -> bytes:
    """A JPEG of pictures side by side, each `width` by `height`; black where there is none or it is broken."""
    canvas = np.zeros((height, width * len(moments), 3), np.uint8)
    for index, moment in enumerate(moments):
        if moment is None:
            continue
        try:
            frame = _fitted(_picture(*moment), width, height)
        except Undecodable:
            continue
        top, left = (height - frame.shape[0]) // 2, index * width + (width - frame.shape[1]) // 2
        canvas[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return _jpeg(av.VideoFrame.from_ndarray(canvas, format="rgb24"))


def peaks(stretches: Sequence[Stretch], container: str) -> bytes:
    """The lowest and the highest sample of every hundredth of a second, as pairs of signed bytes.

    All channels of the first sound stream count; full scale is 127. Raises Undecodable.
    """
    lows: list[Any] = []
    with Stretches(stretches) as file, _opened(file, container) as media:
        if not media.streams.audio:
            raise Undecodable("there is no sound")
        binned = _Bins()
        for samples, rate in _sound(media):
            lows.append(binned.add(samples, rate))
        lows.append(binned.rest())
    found = [each for each in lows if len(each)]
    if not found:
        raise Undecodable("there is no sound")
    return np.concatenate(found).astype(np.int8).tobytes()


class _Bins:
    """Groups samples into hundredths of a second; a rate that 100 does not divide is met on average."""

    def __init__(self) -> None:
        self._left: Any = np.empty(0, np.float32)
        self._low: Any = np.empty(0, np.float32)
        self._rate = 0

    def add(self, samples: Any, rate: int) -> Any:
        """Pairs of the bins that are full now; `samples` has a row for each channel."""
        self._rate = rate
        low = np.concatenate([self._low, samples.min(axis=0)])
        high = np.concatenate([self._left, samples.max(axis=0)])
        size = max(1, round(rate / BINS_PER_SECOND))
        full = len(low) // size * size
        self._low, self._left = low[full:], high[full:]
        return _pairs(low[:full].reshape(-1, size).min(axis=1), high[:full].reshape(-1, size).max(axis=1))

    def rest(self) -> Any:
        """The pair of a last bin that is not full."""
        if not len(self._low):
            return np.empty((0, 2), np.float32)
        return _pairs(self._low.min(keepdims=True), self._left.max(keepdims=True))


def _pairs(low: Any, high: Any) -> Any:
    return np.clip(np.rint(np.stack([low, high], axis=1) * _LOUDEST), -128, _LOUDEST)


def _sound(media: Any) -> Iterator[tuple[Any, int]]:
    """Float samples, a row a channel, and their rate. A broken packet is left out."""
    for packet in media.demux(media.streams.audio[0]):
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        for frame in frames:
            plain = frame.to_ndarray()
            if frame.format.is_planar is False:
                plain = plain.reshape(-1, frame.layout.nb_channels).T
            if plain.dtype.kind == "i":
                plain = plain.astype(np.float32) / np.iinfo(plain.dtype).max
            yield plain.astype(np.float32, copy=False), frame.sample_rate


def _opened(file: io.RawIOBase, container: str) -> Any:
    try:
        return av.open(file, format=DEMUXERS[container], options=_PROBING)
    except (FFmpegError, ValueError) as error:
        raise Undecodable(f"not {container}: {error}") from error


def _picture(stretches: Sequence[Stretch], container: str, seconds: float) -> Any:
    with Stretches(stretches) as file:
        if container == "ts" and seconds <= 0:
            found = keypicture.first_picture(file, _MOST_PIXELS)
            if found is not None:
                return found
            file.seek(0)
        return _sought(file, container, seconds)


def _sought(file: io.RawIOBase, container: str, seconds: float) -> Any:
    """The picture so many seconds after the first one, or the last one before."""
    with _opened(file, container) as media:
        if not media.streams.video:
            raise Undecodable("there is no picture")
        stream = media.streams.video[0]
        _bound(stream)
        found = first = None
        try:
            for count, frame in enumerate(_decoded(media, stream, seconds)):
                found, first = frame, first or frame
                if count >= _MOST_FRAMES or None in (frame.time, first.time) or frame.time - first.time >= seconds:
                    break
        except FFmpegError as error:
            if found is None:
                raise Undecodable(str(error)) from error
        if found is None:
            raise Undecodable("there is no whole picture")
        return found


def _decoded(media: Any, stream: Any, seconds: float) -> Iterator[Any]:
    """Every picture near the one wanted; before that only those that others are made from."""
    begins: float | None = None
    for packet in media.demux(stream):
        at = None if packet.pts is None else float(packet.pts * packet.time_base)
        begins = at if begins is None else begins
        is_before = at is not None and begins is not None and at - begins < seconds - _NEAR_SECONDS
        stream.codec_context.skip_frame = "NONREF" if is_before else "DEFAULT"
        yield from packet.decode()


def _bound(stream: Any) -> None:
    """A header may claim any size, and the decoder would allocate it."""
    context = stream.codec_context
    if context.width * context.height > _MOST_PIXELS:
        raise Undecodable("the picture is too large")
    context.options = {"max_pixels": str(_MOST_PIXELS)}
    stream.thread_type = "NONE"


def _scaled(frame: Any, width: int) -> Any:
    """At most `width` wide and shown in its display proportions (sample aspect ratio applied)."""
    aspect = frame.width * _sample_aspect(frame) / frame.height
    wide = min(width, max(2, round(frame.height * aspect)))
    return frame.reformat(_even(wide), _even(round(wide / aspect)), format=_JPEG)


def _fitted(frame: Any, width: int, height: int) -> Any:
    """An RGB picture as large as fits into `width` by `height`."""
    aspect = frame.width * _sample_aspect(frame) / frame.height
    wide = min(width, round(height * aspect))
    return frame.reformat(max(1, wide), max(1, min(height, round(wide / aspect))), format="rgb24").to_ndarray()


def _sample_aspect(frame: Any) -> Fraction:
    return getattr(frame, "sample_aspect_ratio", None) or Fraction(1)


def _even(value: int) -> int:
    return max(2, value // 2 * 2)


def _jpeg(frame: Any) -> bytes:
    return _encoded(frame.reformat(format=_JPEG), "mjpeg", _JPEG)


def drawn(pairs: Sequence[tuple[int, int]], height: int) -> bytes:
    """A PNG with a vertical line from the lower to the higher of each pair of signed bytes, dark on white."""
    low, high = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    rows = np.arange(height)[:, None]
    top, bottom = ((128 - edge) * (height - 1) // 256 for edge in (high, low))
    pixels = np.full((height, len(pairs), 3), 255, np.uint8)
    pixels[(rows >= top) & (rows <= bottom)] = _INK
    return _encoded(av.VideoFrame.from_ndarray(pixels, format="rgb24"), "png", "rgb24")


def _encoded(frame: Any, codec: str, pixel_format: str) -> bytes:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, pixel_format
    encoder.time_base = Fraction(1, 25)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
