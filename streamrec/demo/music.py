"""The radio's programme: six arpeggio tunes of fifteen seconds, as stereo samples. Pure."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice

RATE = 24_000
TUNE_SECONDS = 15
_STEP_SECONDS = 0.25
_STEPS_PER_CHORD = 8

_MAJOR = (0, 4, 7, 12)
_MINOR = (0, 3, 7, 12)
_UP = (0, 1, 2, 3)
_DOWN = (3, 2, 1, 0)
_WAVE = (0, 2, 1, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class Tune:
    """What is announced, and the chords it is played on as (MIDI root, intervals)."""

    title: str
    chords: tuple[tuple[int, tuple[int, ...]], ...]
    figure: tuple[int, ...]


TUNES = (
    Tune("Ada & the Engines - First Light", ((60, _MAJOR), (57, _MINOR), (53, _MAJOR), (55, _MAJOR)), _UP),
    Tune("Ada & the Engines - Second Thoughts", ((57, _MINOR), (53, _MAJOR), (60, _MAJOR), (55, _MAJOR)), _WAVE),
    Tune("Die Töne - Am Fluß", ((62, _MINOR), (58, _MAJOR), (65, _MAJOR), (60, _MAJOR)), _DOWN),
    Tune("Quatre Ondes - L'heure bleue", ((64, _MINOR), (60, _MAJOR), (55, _MAJOR), (62, _MAJOR)), _WAVE),
    Tune("Ledger Brothers - Every Second Counts", ((55, _MAJOR), (62, _MAJOR), (64, _MINOR), (60, _MAJOR)), _UP),
    Tune("Night Shift - Carrier", ((53, _MAJOR), (55, _MAJOR), (57, _MINOR), (60, _MAJOR)), _DOWN),
)


@cache
def _pluck(note: int, seconds: float) -> array[int]:
    """A plucked string at a MIDI note number (69 is 440 Hz), faded out at its end so that notes join quietly."""
    frequency = 440 * 2 ** ((note - 69) / 12)
    count = round(seconds * RATE)
    samples = array("h", bytes(2 * count))
    for index in range(count):
        at = index / RATE
        phase = 2 * math.pi * frequency * at
        tone = math.sin(phase) + 0.4 * math.sin(2 * phase) * math.exp(-6 * at)
        attack, release = min(1.0, index / 200), min(1.0, (count - index) / 400)
        samples[index] = int(9000 * tone * math.exp(-2.5 * at / seconds) * attack * release)
    return samples


def _melody(tune: Tune) -> array[int]:
    """The upper voice: one chord tone a step."""
    steps = round(TUNE_SECONDS / _STEP_SECONDS)
    samples = array("h")
    for step, tone in enumerate(islice(cycle(tune.figure), steps)):
        root, intervals = tune.chords[step // _STEPS_PER_CHORD % len(tune.chords)]
        samples.extend(_pluck(root + 12 + intervals[tone], _STEP_SECONDS))
    return samples


def _bass(tune: Tune) -> array[int]:
    """The lower voice: the chord's root, twice a chord, cut to the tune's length."""
    seconds = _STEP_SECONDS * _STEPS_PER_CHORD / 2
    samples = array("h")
    for stroke in range(math.ceil(TUNE_SECONDS / seconds)):
        root, _ = tune.chords[stroke // 2 % len(tune.chords)]
        samples.extend(_pluck(root - 12, seconds))
    return samples[: TUNE_SECONDS * RATE]


def pcm() -> bytes:
    """All tunes in turn as 16-bit little-endian stereo at `RATE`: melody left, bass right, for a mixer behind."""
    stereo = array("h", bytes(4 * RATE * TUNE_SECONDS * len(TUNES)))
    for number, tune in enumerate(TUNES):
        begin = 2 * number * TUNE_SECONDS * RATE
        end = begin + 2 * TUNE_SECONDS * RATE
        stereo[begin:end:2] = _melody(tune)
        stereo[begin + 1 : end : 2] = _bass(tune)
    return stereo.tobytes()
