"""The account of one channel's time: one gap an outage, exact bounds, never over what is recorded."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamrec.models import GapReason
from streamrec.recorder.account import Account
from tests.fakes import NOON


def at(seconds: float):
    return NOON + timedelta(seconds=seconds)


def account(*, reason: GapReason = GapReason.STARTING, covered: float = 0, began: float = 0) -> Account:
    return Account(7, covered_until=at(covered), began=at(began), reason=reason)


def test_a_fresh_channel_has_a_gap_up_to_its_first_media():
    """From enabling to the first frame the reason is `starting`."""
    gap = account().resumption(at(1.5))

    assert (gap.start_time, gap.end_time, gap.reason) == (at(0), at(1.5), GapReason.STARTING)


def test_an_outage_is_one_gap_however_many_attempts_fail():
    """All notes carry one id; the reason is what ended the media, the words are the latest attempt's."""
    books = account()
    books.resume(at(0))
    books.recorded(at(10))
    books.lose(GapReason.SOURCE_ENDED, "The stream ended.")
    first = books.note(at(18))
    books.lose(GapReason.SOURCE_REFUSED, "The connection was refused.")
    last = books.resumption(at(30))

    assert first.uuid == last.uuid
    assert (last.start_time, last.end_time, last.reason) == (at(10), at(30), GapReason.SOURCE_ENDED)
    assert last.detail == "The connection was refused."


def test_a_channel_that_never_had_media_has_the_latest_attempt_s_reason():
    """No cause came before the attempts."""
    books = account()
    books.lose(GapReason.DNS, "There is no such host.")
    books.lose(GapReason.SOURCE_DENIED, "The server answered 404.")

    assert books.resumption(at(9)).reason is GapReason.SOURCE_DENIED


def test_a_burst_that_covers_a_noted_outage_withdraws_it():
    """The row goes, because nothing is missing after all."""
    books = account()
    books.note(at(8))

    gap = books.resumption(at(0))

    assert gap.start_time == gap.end_time


def test_an_outage_nobody_was_told_of_leaves_no_trace():
    """No row, no withdrawal."""
    assert account().resumption(at(0)) is None


def test_time_without_a_recorder_stays_a_gap_of_its_own():
    """What the station did later is not the reason for what the recorder missed."""
    books = account(reason=GapReason.RECORDER_DOWN, covered=0, began=60)
    down = books.lose(GapReason.SOURCE_REFUSED, "The connection was refused.")
    refused = books.resumption(at(90))

    assert (down.start_time, down.end_time, down.reason) == (at(0), at(60), GapReason.RECORDER_DOWN)
    assert (refused.start_time, refused.end_time, refused.reason) == (at(60), at(90), GapReason.SOURCE_REFUSED)


def test_an_outage_that_the_archive_s_end_bridges_is_withdrawn_whole():
    """The time without a recorder and the failures after it are two gaps, and neither is left."""
    books = account(reason=GapReason.RECORDER_DOWN, covered=0, began=3)
    down = books.lose(GapReason.SOURCE_REFUSED, "The connection was refused.")
    refused = books.note(at(5))

    withdrawn = books.rejoining()
    books.resume(books.archived_until)

    assert [gap.uuid for gap in withdrawn] == [down.uuid, refused.uuid]
    assert all(gap.start_time == gap.end_time for gap in withdrawn)
    assert books.covered_until == at(0)


def test_an_outage_that_nobody_was_told_of_needs_no_withdrawal():
    """A short restart inside the burst leaves the database as it was."""
    books = account(reason=GapReason.RECORDER_DOWN, covered=0, began=2)

    assert (books.rejoining(), books.archived_until) == ([], at(0))


def test_the_account_ends_where_the_file_does():
    """A clock that was steered meanwhile leaves no hole of milliseconds between a file and the gap after it."""
    books = account()
    books.resume(at(0))
    books.recorded(at(10.004))
    books.archived(at(10))
    books.lose(GapReason.SOURCE_ENDED, "The stream ended.")

    assert books.note(at(20)).start_time == at(10)


def test_the_last_moment_of_a_channel_is_told():
    """From the last frame to the disabling."""
    books = account()
    books.resume(at(0))
    books.recorded(at(10))

    gap = books.finish(at(10.2), GapReason.DISABLED, "The channel was disabled.")

    assert (gap.start_time, gap.end_time, gap.reason) == (at(10), at(10.2), GapReason.DISABLED)


def test_a_channel_recorded_past_its_end_has_no_last_gap():
    """The file may have run a moment longer than the order."""
    books = account()
    books.resume(at(0))
    books.recorded(at(10))

    assert books.finish(at(9), GapReason.DISABLED, "The channel was disabled.") is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["lose", "note", "resume", "record"]),
        st.floats(0.0, 30.0),
        st.sampled_from([GapReason.SOURCE_ENDED, GapReason.STALLED, GapReason.CLOCK]),
    ),
    max_size=40,
)


@given(steps)
def test_rows_never_overlap_and_leave_nothing_out(story):
    """Whatever happens: gaps and recorded stretches, in the end, tile the time from the first second on."""
    books, now, gaps, recorded = account(), 0.0, {}, []

    def tell(gap):
        if gap is not None:
            gaps[gap.uuid] = (gap.start_time, gap.end_time)

    for what, seconds, reason in story:
        now += seconds
        if what == "lose" and not books.is_out:
            tell(books.lose(reason, ""))
        elif what == "note":
            tell(books.note(at(now)))
        elif what == "resume" and books.is_out:
            begin = max(books.covered_until, at(now - 5))
            tell(books.resumption(begin))
            books.resume(begin)
        elif what == "record" and not books.is_out and at(now) > books.covered_until:
            recorded.append((books.covered_until, at(now)))
            books.recorded(at(now))
    tell(books.note(at(now + 60)))
    spans = sorted(span for span in [*gaps.values(), *recorded] if span[0] < span[1])

    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert not spans or spans[0][0] == at(0)


def test_an_attempt_of_which_nothing_is_kept_leaves_the_outage_one_gap():
    """A full disk takes the first bytes of each attempt and loses them again."""
    books = account()
    books.resume(at(0))
    books.recorded(at(10))
    books.lose(GapReason.DISK_FULL, "No space left.")
    first = books.resumption(at(14))
    books.resume(at(14))
    books.recorded(at(15))
    books.covered_until = at(14)  # the disk refused what came after
    books.lose(GapReason.DISK_FULL, "No space left.")
    last = books.resumption(at(30))

    assert first.uuid == last.uuid
    assert (last.start_time, last.end_time) == (at(10), at(30))
