"""By when what is passed on to an ffmpeg had come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamrec.recorder.fetch.passage import MOST_BYTES, PAUSE_SECONDS, Passage

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n"


class Heard:
    """A passage, and the second that it is."""

    def __init__(self) -> None:
        self.now = 100.0
        self.passage = Passage(lambda: self.now)

    def comes(self, piece: bytes, after: float = 0.0) -> None:
        self.now += after
        self.passage.note(piece)


def test_what_lay_for_long_came_when_it_came() -> None:
    heard = Heard()
    heard.comes(HEAD + bytes(500))
    heard.comes(bytes(300), after=0.5)
    heard.comes(bytes(400), after=7.0)

    assert heard.passage.parts(0, 1200) == [(800, 100.5), (400, 107.5)]


def test_what_has_just_come_comes_now() -> None:
    heard = Heard()
    heard.comes(HEAD + bytes(500))
    heard.now += 0.9

    assert heard.passage.parts(0, 500) == [(500, 100.9)]


def test_a_head_in_pieces_is_no_media() -> None:
    heard = Heard()
    for at in range(0, len(HEAD), 7):
        heard.comes(HEAD[at : at + 7])
    heard.comes(bytes(10), after=3.0)
    heard.now += 2.0

    assert heard.passage.parts(0, 10) == [(10, 103.0)]


def test_bytes_that_are_not_known_come_now() -> None:
    """More than came: the answer was longer than is noted, or ffmpeg made something of its own."""
    heard = Heard()
    heard.comes(HEAD + bytes(100))
    heard.now += 5.0

    assert heard.passage.parts(50, 180) == [(50, 100.0), (80, 105.0)]


def test_of_a_long_answer_only_the_beginning_is_noted() -> None:
    heard = Heard()
    heard.comes(HEAD + bytes(MOST_BYTES))
    heard.comes(bytes(1000), after=10.0)
    heard.now += 10.0

    assert heard.passage.parts(MOST_BYTES, MOST_BYTES + 1000) == [(1000, 120.0)]


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 3)), max_size=30),
    st.integers(0, 40_000),
    st.integers(1, 40_000),
)
def test_parts_are_all_of_it_in_the_order_in_which_it_came(
    pieces: list[tuple[int, float]], begin: int, size: int
) -> None:
    heard = Heard()
    heard.comes(HEAD)
    for length, after in pieces:
        heard.comes(bytes(length), after=after)
    heard.now += PAUSE_SECONDS

    parts = heard.passage.parts(begin, begin + size)

    assert sum(part.size for part in parts) == size
    assert all(part.size > 0 for part in parts)
    assert [part.came_at for part in parts] == sorted(part.came_at for part in parts)
    assert parts[-1].came_at <= heard.now
