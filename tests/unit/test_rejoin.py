"""Finding the archive's end in new media: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat
from streamrec.recorder import rejoin
from streamrec.recorder.rejoin import Rejoin, Tail
from tests.fakes import NOON

FRAME = FLICKS * 24 // 1000
SILENCE = b"silence"


def units(words: Sequence[bytes], duration: int = FRAME) -> list[Unit]:
    return [Unit(word, duration, True) for word in words]


def noise(start: int, end: int) -> list[bytes]:
    """Frames of which each is unlike every other."""
    return [b"%d" % number for number in range(start, end)]


def tone(length: int, period: int = 10) -> list[bytes]:
    return [b"tone %d" % (number % period) for number in range(length)]


def tail_of(words: Sequence[bytes]) -> Tail:
    """The end of an archive of these."""
    return Tail(FileFormat.MP3, [rejoin.mark(FileFormat.MP3, unit) for unit in units(words)], NOON)


def joined(old: Sequence[bytes], new: Sequence[bytes], *, chunk: int = 7, duration: int = FRAME) -> Rejoin:
    """What is made of `new`, fed in pieces, until it is decided."""
    marks = rejoin.last(rejoin.mark(FileFormat.MP3, unit) for unit in units(old, duration))
    found = Rejoin(Tail(FileFormat.MP3, marks, NOON))
    for at in range(0, len(new), chunk):
        found.feed(units(new[at : at + chunk], duration))
        if found.is_over:
            break
    return found


@given(
    start=st.integers(0, 200),
    kept=st.integers(42, 300),
    overlap=st.integers(4, 300),
    more=st.integers(0, 50),
    chunk=st.integers(1, 60),
)
def test_the_end_is_found_wherever_the_burst_begins(
    start: int, kept: int, overlap: int, more: int, chunk: int
) -> None:
    """From four frames in common on, whether the archive or the burst goes back further."""
    end = start + 300
    old, new = noise(end - kept, end), noise(end - overlap, end + more)

    assert joined(old, new, chunk=chunk).archived == overlap


@given(
    blocks=st.lists(st.tuples(st.sampled_from(["noise", "silence", "tone"]), st.integers(1, 60)), min_size=1),
    data=st.data(),
)
def test_what_repeats_is_never_taken_for_the_end(blocks: list[tuple[str, int]], data: st.DataObject) -> None:
    """Noise, silence and a tone in any order: the place that is found is the true one, or there is none."""
    source: list[bytes] = []
    for number, (kind, length) in enumerate(blocks):
        kinds = {"noise": noise(1000 * number, 1000 * number + length), "silence": [SILENCE] * length}
        source += kinds.get(kind, tone(length))
    end = data.draw(st.integers(1, len(source)))
    begin = data.draw(st.integers(0, end - 1))
    overlap = data.draw(st.integers(1, end))
    chunk = data.draw(st.integers(1, 40))

    found = joined(source[begin:end], source[end - overlap :], chunk=chunk)

    assert found.archived in {None, overlap}


@pytest.mark.parametrize("length", [3, 40, 400])
def test_digital_silence_is_no_place(length: int) -> None:
    """However much of it is the same on both sides, also if it is just as long."""
    assert joined([SILENCE] * 40, [SILENCE] * length).archived is None


def test_an_archive_that_ends_in_silence_is_told_by_what_was_before() -> None:
    """The silence goes on in the new media, and is cut at the right frame."""
    old = [*noise(0, 50), *[SILENCE] * 20]

    assert joined(old, [*old[10:], *[SILENCE] * 30, *noise(50, 60)]).archived == 60


def test_a_jingle_that_is_played_again_is_no_place() -> None:
    """It stands at the archive's end and later in the new media, where the archive knows what is before it."""
    jingle = noise(900, 920)

    assert joined([*noise(0, 50), *jingle], [*noise(40, 50), *noise(50, 60), *jingle]).archived is None


@pytest.mark.parametrize("alike", [0, 1, 2, 3])
def test_fewer_than_four_frames_in_common_are_not_enough(alike: int) -> None:
    assert joined(noise(0, 50), noise(50 - alike, 90)).archived is None


def test_one_long_fragment_is_enough() -> None:
    """A fragment of a second is no accident."""
    assert joined(noise(0, 3), noise(2, 6), duration=FLICKS).archived == 1


@pytest.mark.parametrize("length", [4, 10, 25, 80, 200])
def test_an_archive_that_is_one_period_of_a_tone_is_not_gone_on_with(length: int) -> None:
    assert joined(tone(10), tone(length)).archived is None
    assert joined(tone(40, 40), tone(length, 40)).archived is None


@pytest.mark.parametrize("kept", [4, 10, 40])
def test_an_archive_of_a_moment_is_found_in_media_that_repeats_nothing(kept: int) -> None:
    """As behind a hole, where a disk was full a moment later."""
    assert joined(noise(100, 100 + kept), noise(50, 80)).archived is None
    assert joined(noise(100, 100 + kept), noise(50, 300)).archived == 50 + kept


@pytest.mark.parametrize("before", [[b"torn"], noise(5000, 5200)])
def test_what_the_archive_does_not_know_may_come_first(before: list[bytes]) -> None:
    """A torn first frame, or a greeting that a server plays to each listener."""
    assert joined(noise(0, 50), [*before, *noise(30, 60)]).archived == len(before) + 20


def test_a_server_that_lags_is_heard_until_it_comes_to_the_end() -> None:
    """Everything so far is archived; then the end comes."""
    late = joined(noise(0, 100), noise(20, 80))
    assert (late.archived, late.is_inside) == (None, True)

    late.feed(units(noise(80, 110)))

    assert (late.archived, late.is_inside) == (80, False)


def test_media_that_leaves_the_archive_s_path_is_not_inside_it() -> None:
    other = joined(noise(0, 100), noise(20, 80))

    other.feed(units(noise(500, 510)))

    assert (other.archived, other.is_inside) == (None, False)


def test_an_end_that_does_not_come_is_not_awaited_for_ever() -> None:
    """What is remembered is bounded."""
    assert joined(noise(0, 50), noise(1000, 1001 + rejoin.MOST_NEW), chunk=1000).is_over


def test_the_tail_is_bounded_in_time_and_in_number() -> None:
    long = [rejoin.Mark(b"", FLICKS)] * 200
    short = [rejoin.Mark(b"", 1)] * 9000

    assert len(rejoin.last(long)) == 60
    assert len(rejoin.last(short)) == rejoin.TAIL_UNITS


@given(st.integers(0, 1000), st.integers(1, 10), st.integers(-10, 10))
def test_where_the_clock_is_near_a_single_frame_in_common_tells_the_place(
    end: int, alike: int, error: int
) -> None:
    old, new = noise(end, end + 100), noise(end + 100 - alike, end + 200)

    assert rejoin.seam(tail_of(old), units(new), (alike + error) * FRAME) == alike


@given(st.integers(1, 40), st.integers(0, 100), st.integers(-10, 10))
def test_where_the_clock_is_near_an_archive_of_a_moment_tells_its_end(kept: int, before: int, error: int) -> None:
    old, new = noise(1000, 1000 + kept), noise(1000 - before, 1100)

    assert rejoin.seam(tail_of(old), units(new), (before + kept + error) * FRAME) == before + kept


@pytest.mark.parametrize("about", [-40, 0, 40, 100])
def test_nothing_in_common_is_no_seam(about: int) -> None:
    assert rejoin.seam(tail_of(noise(0, 100)), units(noise(101, 200)), about * FRAME) is None


def test_a_frame_in_common_far_from_where_the_clock_says_is_an_accident() -> None:
    assert rejoin.seam(tail_of(noise(0, 100)), units(noise(98, 200)), 40 * FRAME) is None


@pytest.mark.parametrize("torn", [[], [b"half"], [b"half", b"another"]])
def test_a_frame_that_was_torn_in_two_ways_hides_no_seam_near_the_clock(torn: list[bytes]) -> None:
    """As by a demuxer that begins at another byte: what follows the torn frame is alike, and long enough."""
    old, new = [*noise(0, 50), b"torn", *noise(51, 120)], [*noise(20, 50), *torn, *noise(51, 200)]

    assert rejoin.seam(tail_of(old), units(new), (100 + len(torn)) * FRAME) == 99 + len(torn)


@pytest.mark.parametrize("old", [[b"silence"] * 60, tone(60, 5), [*noise(0, 60), b"silence", b"silence"]])
def test_what_occurs_more_than_once_is_no_seam_even_near_the_clock(old: list[bytes]) -> None:
    assert rejoin.seam(tail_of(old), units([*old[-1:], *noise(500, 600)]), FRAME) is None


@pytest.mark.parametrize("about", [0, 1, 20, 90])
def test_media_that_the_archive_has_not_is_new_whatever_the_clock_says(about: int) -> None:
    assert rejoin.is_new(tail_of(noise(0, 100)), units(noise(101, 200)), about * FRAME)
    assert rejoin.is_new(tail_of(noise(0, 100)), units(noise(99, 200)), 0)
    assert not rejoin.is_new(tail_of(noise(0, 100)), units(noise(99, 200)), FRAME)
