"""Channel lists: what foreign ones say, and that ours come back as they went."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec import channel_lists
from streamrec.channel_fields import checked
from streamrec.errors import Invalid
from streamrec.settings import PROJECT

SAMPLE = PROJECT / "config" / "sample"


def fields(text: str, form: str = "m3u") -> list[dict[str, Any]]:
    return [entry.fields for entry in channel_lists.parse(text, form)]


# --- M3U --------------------------------------------------------------------------------------------------


def test_an_iptv_list_is_understood() -> None:
    text = (
        "\ufeff#EXTM3U url-tvg=x\r\n"
        '#EXTINF:-1 tvg-id="mad.gr" tvg-name="MAD" tvg-country="GR;CY" tvg-language="Greek" '
        'group-title="Music;50%",MAD TV, Greece\r\n'
        "#EXTVLCOPT:http-user-agent=x\r\n"
        "https://itv.streams.ovh/magictv/playlist.m3u8\r\n"
    )

    [entry] = channel_lists.parse(text, "m3u")

    assert (entry.line, entry.identity) == (4, "mad.gr")
    assert entry.fields == {
        "name": "MAD TV, Greece",
        "url": "https://itv.streams.ovh/magictv/playlist.m3u8",
        "tags": ["Music", "50%"],
        "country": "GR",
        "type": "TV",
    }


def test_a_comma_in_quotes_does_not_begin_the_title() -> None:
    [found] = fields('#EXTINF:-1 group-title="a, b" radio=true,Rock "FM"\nhttp://h.example/x\n')

    assert (found["name"], found["tags"], found["type"]) == ('Rock "FM"', ["a, b"], "radio")


def test_a_plain_list_names_stations_by_their_host() -> None:
    assert [found["name"] for found in fields("http://u:p@h.example:8000/a.mp3\n")] == ["h.example"]


def test_extgrp_gives_the_group() -> None:
    [found] = fields("#EXTINF:0,News\n#EXTGRP:Talk\nhttp://h.example/\n")

    assert found["tags"] == ["Talk"]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://h.example/a.mp3", "radio"),
        ("http://46.4.37.132:9382/;", "radio"),
        ("http://h.example/a.AAC?x=1", "radio"),
        ("http://h.example/a.m3u8", "TV"),
        ("http://[x", "TV"),
    ],
)
def test_without_a_type_the_address_decides(url: str, kind: str) -> None:
    assert fields(f"#EXTINF:-1,A\n{url}\n")[0]["type"] == kind


def test_a_wrong_value_is_that_lines_problem_only() -> None:
    entries = channel_lists.parse(
        '#EXTINF:-1 streamrec-enabled="perhaps",A\nhttp://a.example/\n#EXTINF:-1,B\nhttp://b.example/\n', "m3u"
    )

    assert [entry.problem is None for entry in entries] == [False, True]


# --- CSV --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_with_every_usual_delimiter(delimiter: str) -> None:
    lines = ["Keyname,Name,Type,URL,segment_seconds", 'abcdefghij,"A\nB",TV,http://h.example/,300', "", ",,,,"]
    text = "\r\n".join(lines).replace(",", delimiter)

    [entry] = channel_lists.parse(text, "csv")

    assert entry.line == 2
    assert entry.fields == {
        "keyname": "abcdefghij",
        "name": "A\nB",
        "type": "TV",
        "url": "http://h.example/",
        "segment_seconds": 300,
    }


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n", "name,name,url\n", "name\nx\n"])
def test_a_csv_without_a_usable_header_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        channel_lists.parse(text, "csv")

    assert refused.value.context["rule"] == "header"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("x,http://h.example/,maybe,", "enabled"),
        ("x,http://h.example/,,6e1", "segment_seconds"),
        ("x,http://h.example/,,60,extra", "body"),
        ('x,"http://h.example/', "body"),
    ],
)
def test_a_wrong_line_names_its_field(line: str, field: str) -> None:
    [entry] = channel_lists.parse(f"name,url,enabled,segment_seconds\n{line}\n", "csv")

    assert entry.problem is not None
    assert entry.problem.context["field"] == field


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=x"])
def test_cells_that_a_spreadsheet_would_compute_are_marked(cell: str) -> None:
    assert channel_lists.guarded(cell) == "'" + cell


def test_a_table_has_empty_cells_for_nothing() -> None:
    assert channel_lists.table(["a", "b"], [["=x", None]]) == "a,b\r\n'=x,\r\n"


# --- both -------------------------------------------------------------------------------------------------


def test_a_list_that_is_too_long_is_refused() -> None:
    with pytest.raises(Invalid):
        channel_lists.parse("http://h.example/\n" * (channel_lists.MOST_ENTRIES + 1), "m3u")


printable = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
names = st.text(printable, min_size=1, max_size=30).map(str.strip).filter(bool)
tags = names.map(lambda tag: tag[:20].strip()).filter(bool)
stations = st.fixed_dictionaries(
    {
        "keyname": st.text(string.ascii_letters + string.digits + "-_", min_size=10, max_size=10),
        "name": names,
        "type": st.sampled_from(["radio", "TV"]),
        "url": st.sampled_from(["http://h.example/a.mp3", "http://46.4.37.132:9382/;", "rtmp://h.example/a@b,c"]),
        "enabled": st.booleans(),
        "segment_seconds": st.integers(5, 3600),
        "capture": st.sampled_from(["auto", "ffmpeg"]),
        "tags": st.lists(tags, max_size=3, unique=True),
        "country": st.sampled_from([None, "GR"]),
        "language": st.sampled_from([None, "el", "pt-BR"]),
        "backup_urls": st.lists(st.sampled_from(["http://h.example/;a,b", "srt://h.example:1?x=y"]), unique=True),
        "tls_verify": st.booleans(),
        "max_bandwidth": st.sampled_from([None, 1, 10**12]),
    }
)


@pytest.mark.parametrize("form", ["m3u", "csv"])
@given(given_stations=st.lists(stations, min_size=1, max_size=3))
def test_a_list_of_ours_comes_back_as_it_went(form: str, given_stations: list[dict[str, Any]]) -> None:
    write = channel_lists.m3u if form == "m3u" else channel_lists.csv_list

    found = fields(write(given_stations), form)

    empty = {"tags": [], "country": None, "language": None, "backup_urls": [], "max_bandwidth": None}
    assert [{**empty, **each} for each in found] == given_stations


@given(st.text(), st.sampled_from(["m3u", "csv"]))
def test_any_text_is_a_list_or_refused_by_name(text: str, form: str) -> None:
    try:
        entries = channel_lists.parse(text, form)
    except Invalid:
        return

    assert all(entry.line >= 1 for entry in entries)


@given(st.lists(st.text(), max_size=20))
def test_keynames_are_always_the_same_valid_and_unique(identities: list[str]) -> None:
    taken: set[str] = set()
    for identity in identities:
        keyname = channel_lists.keyname_for(identity, taken)
        assert keyname == channel_lists.keyname_for(identity, taken)
        assert keyname not in taken
        assert checked({"keyname": keyname}) == {"keyname": keyname}
        taken.add(keyname)


def test_a_keyname_can_be_read() -> None:
    assert channel_lists.keyname_for("Rock FM", set()).startswith("rock-")


@pytest.mark.parametrize("form", ["m3u", "csv"])
def test_the_sample_lists_hold_the_ten_stations(form: str) -> None:
    entries = channel_lists.parse((SAMPLE / f"channels.{form}").read_text(), form)

    assert len({entry.fields["keyname"] for entry in entries}) == 10
    for entry in entries:
        checked(entry.fields, resolve=lambda host: [])
