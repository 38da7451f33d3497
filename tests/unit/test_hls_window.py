"""A window that moves: each segment once and in order, whatever its numbers do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.recorder.hls.playlist import Media, Part, Segment
from streamrec.recorder.hls.window import Break, Last, Seen, age_seconds, beginning, unlisted_seconds


def segment(sequence: int, name: str | None = None, seconds: float = 2.0) -> Segment:
    part = Part(f"{sequence if name is None else name}.ts")
    return Segment(sequence, 0, part, seconds, None, None, is_gap=False, said_at=None)


def media(first: int, count: int, shift: int = 0) -> Media:
    """Segments by number; their names are `shift` further."""
    listed = tuple(segment(number, str(number + shift)) for number in range(first, first + count))
    return Media(2.0, listed, is_over=False, is_on_demand=False)


def names(segments: object) -> list[str]:
    return [each.media.uri for each in segments]


def seen(first: int, count: int) -> Seen:
    seen = Seen()
    listed = media(first, count)
    seen.begin(listed.segments, listed)
    return seen


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(5, 9))
def test_a_window_that_is_looked_at_in_time_is_seen_whole(steps: list[int], size: int) -> None:
    """However far it moves between two looks, if not by more than itself."""
    watched, first, told = seen(0, size), 0, list(range(size))
    for step in steps:
        first += step
        news = watched.news(media(first, size), 2.0)
        assert news.broken is Break.NONE
        told += [each.sequence for each in news.segments]

    assert told == list(range(first + size))


def test_numbers_that_were_never_listed_are_a_jump() -> None:
    news = seen(0, 5).news(media(8, 5), 16.0)

    assert (news.broken, names(news.segments)) == (Break.JUMP, [f"{n}.ts" for n in range(8, 13)])


def test_what_is_listed_anew_under_higher_numbers_is_looked_at_only_as_far_back_as_need_be() -> None:
    news = seen(0, 50).news(media(1000, 50), 2.0)

    assert (news.broken, len(news.segments)) == (Break.JUMP, 3)


def test_bytes_are_compared_after_numbers_jumped() -> None:
    watched = seen(0, 5)
    assert not watched.is_known(b"news")

    watched.news(media(1000, 5), 2.0)

    assert watched.is_known(b"news")


def test_an_older_list_has_no_news() -> None:
    watched = seen(10, 5)

    assert watched.news(media(8, 5), 2.0).segments == ()
    assert names(watched.news(media(11, 5), 2.0).segments) == ["15.ts"]


def test_numbers_far_below_began_anew() -> None:
    news = seen(1000, 5).news(media(0, 2, shift=1004), 2.0)

    assert (news.broken, names(news.segments)) == (Break.RESET, ["1004.ts", "1005.ts"])


def test_an_older_list_that_stays_is_no_older_list() -> None:
    watched = seen(10, 5)

    breaks = [watched.news(media(7 + n, 5), 2.0).broken for n in range(3)]

    assert breaks == [Break.NONE, Break.NONE, Break.RESET]


def test_other_names_under_known_numbers_began_anew() -> None:
    news = seen(0, 5).news(media(2, 5, shift=100), 2.0)

    assert news.broken is Break.RESET


def test_another_variant_has_other_names_and_the_same_numbers() -> None:
    watched = seen(0, 5)
    watched.forget_names()

    news = watched.news(media(2, 5, shift=100), 2.0)

    assert (news.broken, names(news.segments)) == (Break.NONE, ["105.ts", "106.ts"])


def test_what_is_listed_anew_is_looked_at_only_as_far_back_as_need_be() -> None:
    news = seen(1000, 50).news(media(0, 50, shift=1001), 1.0)

    assert names(news.segments) == ["1049.ts", "1050.ts"]


def test_what_was_listed_before_an_attempt_began_is_old_after_a_jump_too() -> None:
    """It was not wanted, so its bytes were never seen."""
    watched, listed = Seen(), media(0, 8)
    watched.begin(listed.segments[-3:], listed)

    news = watched.news(media(1000, 9, shift=-1000), 2.0)

    assert names(news.segments) == ["7.ts", "8.ts"]


def test_bytes_are_compared_only_after_numbers_began_anew() -> None:
    """A station may well send the same silence twice."""
    watched = seen(1000, 5)
    assert not watched.is_known(b"silence")
    assert not watched.is_known(b"silence")

    watched.news(media(0, 2), 2.0)

    assert watched.is_known(b"silence")
    assert not watched.is_known(b"news")
    assert not watched.is_known(b"silence")


def test_an_attempt_begins_with_the_last_segment_of_the_one_before() -> None:
    begun = beginning(media(5, 10), Last(9, segment(9).name), None)

    assert names(begun)[0] == "9.ts"


def test_an_attempt_begins_with_what_is_wanted_though_later_segments_were_fetched() -> None:
    """They may not have reached the disk."""
    begun = beginning(media(5, 10), Last(13, segment(13).name), 7.0)

    assert names(begun)[0] == "10.ts"


def test_a_last_segment_that_has_another_name_by_now_is_not_believed() -> None:
    begun = beginning(media(5, 10), replace(Last(9, "x"), name="other"), None)

    assert names(begun) == ["12.ts", "13.ts", "14.ts"]


@given(st.integers(1, 100), st.floats(0, 300))
def test_as_much_is_fetched_as_is_wanted_and_not_much_more(count: int, wanted: float) -> None:
    begun = beginning(media(0, count), None, wanted)

    length = sum(each.duration for each in begun)
    assert begun[-1].sequence == count - 1
    assert length >= min(wanted + 2, 2 * count, 120)
    assert length <= min(wanted, 120) + 4


@given(st.integers(1, 30), st.floats(-0.5, 0.5), st.sampled_from([1.0, 2.0, 6.0]))
def test_numbers_that_were_never_listed_are_a_segment_each(missing: int, off: float, seconds: float) -> None:
    """After a stop of the process the newest segment may have appeared at any moment of its length."""
    after = [segment(5 + missing, seconds=seconds), segment(6 + missing, seconds=seconds)]

    hole = unlisted_seconds(segment(4, seconds=seconds), after, (missing + off) * seconds, seconds)

    assert hole == missing * seconds


@given(st.integers(1, 30), st.floats(-0.5, 0.5), st.floats(0, 20), st.booleans())
def test_a_list_that_was_long_awaited_may_be_as_old_as_its_question(
    missing: int, off: float, awaited: float, is_dated: bool
) -> None:
    """As when the process was stopped meanwhile, and takes what the list had for just live."""
    began = datetime(2026, 11, 27, tzinfo=UTC)
    before, after = segment(4), segment(5 + missing)
    if is_dated:
        before = before._replace(said_at=began)
        after = after._replace(said_at=began + timedelta(seconds=2 + 2 * missing))

    hole = unlisted_seconds(before, [after], (missing + off) * 2.0 - awaited, 2.0, under=awaited)

    assert hole == pytest.approx(missing * 2.0)


@given(st.integers(-1000, 1000), st.floats(-0.2, 0.2))
def test_numbers_alone_are_no_hole(jump: int, off: float) -> None:
    """A packager that begins to count elsewhere goes on in time."""
    assert unlisted_seconds(segment(4), [segment(5 + jump)], off * 2.0, 2.0) == 0.0


@given(st.floats(2.1, 4.3), st.floats(0, 3))
def test_dates_that_go_on_evenly_hide_no_hole_that_was_longer_than_a_segment(elapsed: float, doubt: float) -> None:
    """A packager that dates by its media alone, and counts anew behind what it left out."""
    began = datetime(2026, 11, 27, tzinfo=UTC)
    before = segment(4)._replace(said_at=began)
    after = segment(1000)._replace(said_at=began + timedelta(seconds=2))

    assert unlisted_seconds(before, [after], elapsed, 2.0, under=doubt, over=doubt) == elapsed


@given(st.floats(1.6, 100))
def test_where_numbers_do_not_go_on_time_tells_how_much_was_never_listed(elapsed: float) -> None:
    assert unlisted_seconds(segment(4), [segment(0)], elapsed, 2.0) == elapsed


@given(st.floats(0.1, 60), st.floats(-1.9, 1.9), st.integers(0, 9))
def test_the_stations_own_times_are_believed_before_its_numbers(said: float, off: float, jump: int) -> None:
    began = datetime(2026, 11, 27, tzinfo=UTC)
    before = segment(4)._replace(said_at=began)
    after = segment(5 + jump)._replace(said_at=began + timedelta(seconds=2 + said))

    assert unlisted_seconds(before, [after], said + off, 2.0) == pytest.approx(said, abs=1e-5)


@given(st.integers(1, 20), st.integers(1, 9), st.floats(0.1, 20))
def test_a_list_that_stood_still_is_as_old_as_the_numbers_behind_it_say(
    missing: int, listed: int, elapsed: float
) -> None:
    after = [segment(5 + missing + index) for index in range(listed)]
    age = 2.0 * (missing + listed) - elapsed

    assert age_seconds(segment(4), after, elapsed) == (pytest.approx(age) if age > 0 else 0.0)


@pytest.mark.parametrize("jump", [-3, 0, 100_000])
def test_numbers_that_cannot_be_tell_nothing_of_a_lists_age(jump: int) -> None:
    """They went on where they were, began anew, or jumped further than any window reaches."""
    assert age_seconds(segment(4), [segment(5 + jump)], 1.0) == 0.0
