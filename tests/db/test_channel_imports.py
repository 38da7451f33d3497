"""Applying a list: what is new, what is known, and keynames that nobody gave."""

from __future__ import annotations

from sqlalchemy.orm import Session

from streamrec import channel_imports, channel_lists, channels
from tests import factories as make


def run(session: Session, text: str, *, form: str = "m3u", update: bool = True) -> list[channel_imports.Line]:
    prepared = channel_imports.prepare(channel_lists.parse(text, form))
    return channel_imports.apply(session, prepared, update=update)


def station(name: str, url: str) -> str:
    return f"#EXTINF:-1,{name}\n{url}\n"


def test_a_list_without_keynames_can_be_imported_twice(session: Session) -> None:
    text = station("News", "http://46.4.37.132/a") + station("News", "http://46.4.37.132/b")

    first, second = run(session, text), run(session, text)

    assert [line.status for line in first] == ["created", "created"]
    assert [line.status for line in second] == ["skipped", "skipped"]
    assert [line.keyname for line in first] == [line.keyname for line in second]


def test_a_station_that_moved_is_updated_by_its_name(session: Session) -> None:
    [made] = run(session, station("News", "http://46.4.37.132/a"))

    [moved] = run(session, station("News", "http://46.4.37.132/b"))

    assert (moved.status, moved.channel_id) == ("updated", made.channel_id)


def test_a_made_keyname_never_takes_another_channel(session: Session) -> None:
    keyname = channel_lists.keyname_for("News", set())
    other = make.channel(session, keyname=keyname, name="Something else")

    [line] = run(session, station("News", "http://46.4.37.132/a"))

    assert (line.status, line.keyname != keyname) == ("created", True)
    assert channels.get(session, other.id) == other


def test_a_keyname_twice_in_a_list_is_refused_the_second_time(session: Session) -> None:
    row = "abcdefghij,A,http://46.4.37.132/a"

    lines = run(session, f"keyname,name,url\n{row}\n{row}\n", form="csv")

    assert [(line.status, line.field) for line in lines] == [("created", None), ("refused", "keyname")]


def test_a_line_without_a_name_is_refused_with_its_field(session: Session) -> None:
    [line] = run(session, "keyname,url\nabcdefghij,http://46.4.37.132/a\n", form="csv")

    assert (line.status, line.field, line.keyname) == ("refused", "name", "abcdefghij")


def test_a_line_without_an_address_is_refused(session: Session) -> None:
    [line] = run(session, "name,url\nA,\n", form="csv")

    assert (line.status, line.field) == ("refused", "url")


def test_known_channels_may_be_left_alone(session: Session) -> None:
    made = make.channel(session)

    [line] = run(session, f"keyname,name,url\n{made.keyname},B,http://46.4.37.132/\n", form="csv", update=False)

    assert (line.status, channels.get(session, made.id)) == ("skipped", made)
