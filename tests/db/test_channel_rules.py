"""Channels: rules, versions, periods and credentials."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import channels, numbering
from streamrec.channel_fields import checked
from streamrec.errors import Conflict, EgressDenied, Invalid, NotFound, PreconditionFailed
from streamrec.models import BackupCredential, CaptureState, ChannelCredential, EnabledPeriod
from streamrec.timeline import written
from tests import factories as make


def draft(**values: Any) -> dict[str, Any]:
    return checked(values, resolve=lambda host: [])


def periods(session: Session, channel_id: int) -> list[tuple[Any, Any]]:
    rows = session.execute(
        sa.select(EnabledPeriod.start_time, EnabledPeriod.end_time)
        .where(EnabledPeriod.channel_id == channel_id)
        .order_by(EnabledPeriod.start_time)
    )
    return [tuple(row) for row in rows]


def credentials(session: Session, channel_id: int) -> tuple[str, str] | None:
    row = session.execute(
        sa.select(ChannelCredential.username, ChannelCredential.password).where(
            ChannelCredential.channel_id == channel_id
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def test_what_create_answers_is_what_get_answers(session: Session) -> None:
    made = make.channel(session, tags=["rock", "rock"], country="gr", language="el", url="http://u:p@h.invalid/a")

    assert channels.get(session, made.id) == made
    assert (made.tags, made.country, made.has_credentials, made.url) == (
        ["rock"],
        "GR",
        True,
        "http://h.invalid/a",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 201),
        ("name", "a\x07b"),
        ("name", "a\u202eb"),
        ("name", 5),
        ("keyname", "short"),
        ("keyname", "gr-rstpk-1\n"),
        ("keyname", "gr rstpk 1"),
        ("keyname", "gr-rstpk-é"),
        ("keyname", None),
        ("type", "tv"),
        ("type", []),
        ("url", "file:///etc/passwd"),
        ("url", None),
        ("enabled", "yes"),
        ("segment_seconds", 4),
        ("segment_seconds", 3601),
        ("segment_seconds", True),
        ("capture", "vlc"),
        ("tags", "rock"),
        ("tags", ["x"] * 33),
        ("tags", [""]),
        ("country", "GRC"),
        ("country", 5),
        ("language", "english!"),
        ("id", 5),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(field: str, value: object) -> None:
    with pytest.raises(Invalid) as refused:
        draft(**{field: value})

    assert refused.value.context["field"] == field


def test_an_address_that_is_not_for_recording_is_refused() -> None:
    with pytest.raises(EgressDenied):
        checked({"url": "http://127.0.0.1:9000/"}, allow=["127.0.0.1:9001"])


def test_a_missing_field_is_named(session: Session) -> None:
    with pytest.raises(Invalid) as refused:
        channels.create(session, draft(name="A", keyname="abcdefghij", type="TV"))

    assert refused.value.context == {"field": "url", "rule": "required"}


def test_a_keyname_is_given_once(session: Session) -> None:
    make.channel(session)

    with pytest.raises(Conflict) as refused:
        make.channel(session, name="Other")

    assert refused.value.context["field"] == "keyname"


def test_a_deleted_channels_keyname_is_free_again(session: Session) -> None:
    old = make.channel(session)
    channels.retire(session, old.id)

    assert make.channel(session).id != old.id


def test_a_keyname_taken_is_refused_on_update_too(session: Session) -> None:
    make.channel(session)
    other = make.channel(session, keyname="other-----")

    with pytest.raises(Conflict) as refused:
        channels.update(session, other.id, draft(keyname="gr-rstpk-1"))

    assert refused.value.context["field"] == "keyname"


def test_an_update_that_changes_nothing_keeps_the_version(session: Session) -> None:
    made = make.channel(session, tags=["a"], country="GR")

    same = channels.update(session, made.id, draft(name=made.name, tags=["a"], country="gr", url=made.url))

    assert same == made


def test_an_update_changes_what_is_given_and_the_version(session: Session) -> None:
    made = make.channel(session, country="GR")

    changed = channels.update(session, made.id, draft(name="New", country=None, type="TV"))

    assert changed._replace(updated_at=made.updated_at) == made._replace(
        name="New", country=None, type="TV", version=2
    )


def test_a_guard_that_refuses_the_version_changes_nothing(session: Session) -> None:
    made = make.channel(session)
    seen: list[int] = []

    def refuse(version: int) -> None:
        seen.append(version)
        raise PreconditionFailed("stale")

    for change in (
        lambda: channels.update(session, made.id, draft(name="New"), guard=refuse),
        lambda: channels.retire(session, made.id, guard=refuse),
        lambda: channels.replace(session, 99, draft(**make.fields(keyname="new-------")), guard=refuse),
    ):
        with pytest.raises(PreconditionFailed):
            change()
    assert channels.get(session, made.id) == made
    assert seen == [1, 1, 0]


def test_put_of_an_unknown_id_creates_it_and_the_sequence_moves_on(session: Session) -> None:
    made, is_new = channels.replace(session, 1000, draft(**make.fields()))
    after = make.channel(session, keyname="after-----")

    assert (made.id, is_new) == (1000, True)
    assert after.id == 1001


def test_put_of_a_known_id_changes_it(session: Session) -> None:
    made = make.channel(session)

    changed, is_new = channels.replace(session, made.id, draft(name="New"))

    assert (changed.name, changed.keyname, is_new) == ("New", made.keyname, False)


@pytest.mark.parametrize("channel_id", [0, numbering.HIGHEST_CHOSEN_ID + 1])
def test_put_never_creates_outside_the_range_of_chosen_ids(session: Session, channel_id: int) -> None:
    with pytest.raises(NotFound):
        channels.replace(session, channel_id, draft(**make.fields()))


def test_put_of_an_unknown_id_with_a_field_missing_finds_nothing(session: Session) -> None:
    with pytest.raises(NotFound):
        channels.replace(session, 1000, draft(name="New"))


def test_put_of_a_deleted_id_is_a_conflict(session: Session) -> None:
    made = make.channel(session)
    channels.retire(session, made.id)

    with pytest.raises(Conflict):
        channels.replace(session, made.id, draft(**make.fields()))


def test_a_sequence_that_meets_chosen_ids_moves_on(session: Session) -> None:
    first = make.channel(session)
    session.execute(
        sa.text("INSERT INTO channel (id, name, keyname, type, url, version, created_at, updated_at) "
                "SELECT :id, 'x', 'chosen----', 'TV', 'http://h/', 1, now(), now()"),
        {"id": first.id + 1},
    )  # fmt: skip

    assert make.channel(session, keyname="after-----").id == first.id + 2


def test_unknown_channels_are_not_found(session: Session) -> None:
    for ask in (channels.get, channels.require, channels.retire):
        with pytest.raises(NotFound):
            ask(session, 987654)


def test_a_deleted_channel_is_gone_but_still_known(session: Session) -> None:
    made = make.channel(session, url="http://u:p@h.invalid/")
    channels.retire(session, made.id)

    channels.require(session, made.id)
    with pytest.raises(NotFound):
        channels.get(session, made.id)
    assert credentials(session, made.id) is None


# --- enabled periods --------------------------------------------------------------------------------------


def test_an_enabled_channel_is_expected_from_its_creation(session: Session) -> None:
    made = make.channel(session)

    [(start, end)] = periods(session, made.id)
    assert (written(start), end) == (made.created_at, None)


def test_a_disabled_channel_is_expected_once_it_is_enabled(session: Session) -> None:
    made = make.channel(session, enabled=False)
    assert periods(session, made.id) == []

    changed = channels.update(session, made.id, draft(enabled=True))

    [(start, end)] = periods(session, made.id)
    assert made.created_at <= written(start) <= changed.updated_at
    assert end is None


@pytest.mark.parametrize("end", ["disable", "delete"])
def test_disabling_and_deleting_end_the_expectation(session: Session, end: str) -> None:
    made = make.channel(session, expected_from=make.T0)

    if end == "disable":
        channels.update(session, made.id, draft(enabled=False))
    else:
        channels.retire(session, made.id)

    [(start, end_time)] = periods(session, made.id)
    assert (start, end_time is not None) == (make.T0, True)


def test_a_clock_that_stepped_back_makes_no_overlap(session: Session) -> None:
    made = make.channel(session)
    future = datetime(2100, 1, 1, tzinfo=UTC)
    session.execute(sa.update(EnabledPeriod).where(EnabledPeriod.channel_id == made.id).values(start_time=future))
    channels.update(session, made.id, draft(enabled=False))
    assert periods(session, made.id) == []
    session.add(EnabledPeriod(channel_id=made.id, start_time=make.T0, end_time=future))
    session.flush()

    channels.update(session, made.id, draft(enabled=True))

    assert periods(session, made.id) == [(make.T0, future), (future, None)]


# --- credentials ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://h.invalid:8000/a", ("u", "p")),
        ("http://h.invalid:8000/b", ("u", "p")),
        ("http://x:y@h.invalid:8000/a", ("x", "y")),
        ("http://u:p@h.invalid:8000/a", ("u", "p")),
        ("http://@h.invalid:8000/a", None),
        ("http://other.invalid:8000/a", None),
        ("http://h.invalid:8001/a", None),
        ("https://h.invalid:8000/a", None),
    ],
)
def test_credentials_follow_the_server_of_the_url(
    session: Session, url: str, kept: tuple[str, str] | None
) -> None:
    made = make.channel(session, url="http://u:p@h.invalid:8000/a")

    changed = channels.update(session, made.id, draft(url=url))

    assert credentials(session, made.id) == kept
    assert changed.has_credentials is (kept is not None)
    is_same = url in {"http://h.invalid:8000/a", "http://u:p@h.invalid:8000/a"}
    assert changed.version == (1 if is_same else 2)


# --- lists ------------------------------------------------------------------------------------------------


def names(session: Session, **question: Any) -> list[str]:
    return [row.keyname for row in channels.page(session, **question).rows]


@pytest.fixture
def three(session: Session) -> list[channels.View]:
    return [
        make.channel(session, keyname="bbbbbbbbbb", name="50% Rock_FM", tags=["rock", "gr"]),
        make.channel(session, keyname="aaaaaaaaaa", name="News", type="TV", enabled=False),
        make.channel(session, keyname="cccccccccc", name="News", tags=["talk"]),
    ]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, "bac"),
        ({"type": "TV"}, "a"),
        ({"enabled": True}, "bc"),
        ({"enabled": False}, "a"),
        ({"q": "rock"}, "b"),
        ({"q": "AAAA"}, "a"),
        ({"q": "TALK"}, "c"),
        ({"q": "%"}, "b"),
        ({"q": "_"}, "b"),
        ({"q": "'; DROP TABLE channel"}, ""),
        ({"tag": "gr"}, "b"),
        ({"sort": "keyname"}, "abc"),
        ({"sort": "-keyname"}, "cba"),
        ({"sort": "-id"}, "cab"),
        ({"sort": "name"}, "bac"),
        ({"sort": "-name"}, "cab"),
    ],
)
def test_filters_and_orders(session: Session, question: dict[str, Any], found: str) -> None:
    assert "".join(name[0] for name in names(session, **question)) == found


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("sort", ["id", "-id", "name", "-name", "-created_at", "updated_at", "type"])
def test_pages_join_to_the_whole_list(session: Session, sort: str) -> None:
    whole = names(session, sort=sort)
    pages, after = [], None
    while True:
        page = channels.page(session, sort=sort, limit=1, after=after)
        pages += [row.keyname for row in page.rows]
        after = page.after
        if after is None:
            break

    assert pages == whole


def test_an_unknown_order_is_refused(session: Session) -> None:
    with pytest.raises(Invalid):
        channels.page(session, sort="url")


@pytest.mark.parametrize(("is_alive", "state"), [(True, "running"), (False, "stopped")])
def test_a_state_is_believed_only_while_its_recorder_lives(session: Session, is_alive: bool, state: str) -> None:
    made = make.channel(session)
    make.capturing(session, made.id, CaptureState.RUNNING, is_alive=is_alive)

    assert channels.get(session, made.id).capture_state == state


# --- backup URLs ------------------------------------------------------------------------------------------


def backups(session: Session, channel_id: int) -> dict[str, tuple[str, str]]:
    columns = (BackupCredential.url, BackupCredential.username, BackupCredential.password)
    rows = session.execute(sa.select(*columns).where(BackupCredential.channel_id == channel_id))
    return {url: (username, password) for url, username, password in rows}


def test_backups_keep_their_order_and_hide_their_credentials(session: Session) -> None:
    made = make.channel(session, backup_urls=["http://b.invalid/2", "https://me:pass@a.invalid/1"])

    assert made.backup_urls == ["http://b.invalid/2", "https://a.invalid/1"]
    assert channels.get(session, made.id).backup_urls == made.backup_urls
    assert backups(session, made.id) == {"https://a.invalid/1": ("me", "pass")}


def test_a_backup_that_moves_on_its_server_keeps_its_credentials(session: Session) -> None:
    made = make.channel(session, backup_urls=["https://me:pass@a.invalid/1"])

    wanted = draft(backup_urls=["http://other.invalid/", "https://a.invalid/2"])
    changed = channels.update(session, made.id, wanted)

    assert changed.version == made.version + 1
    assert backups(session, made.id) == {"https://a.invalid/2": ("me", "pass")}


def test_the_same_backups_again_change_nothing_and_other_credentials_do(session: Session) -> None:
    made = make.channel(session, backup_urls=["https://me:pass@a.invalid/1"])

    same = channels.update(session, made.id, draft(backup_urls=["https://a.invalid/1"]))
    other = channels.update(session, made.id, draft(backup_urls=["https://me:new@a.invalid/1"]))

    assert (same.version, other.version) == (1, 2)
    assert backups(session, made.id) == {"https://a.invalid/1": ("me", "new")}


def test_a_deleted_channel_leaves_no_credentials_of_backups(session: Session) -> None:
    made = make.channel(session, backup_urls=["https://me:pass@a.invalid/1"])

    channels.retire(session, made.id)

    assert backups(session, made.id) == {}


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("backup_urls", ["http://a.invalid/"] * 9, "length"),
        ("backup_urls", "http://a.invalid/", "length"),
        ("backup_urls", ["ftp://a.invalid/"], "scheme"),
        ("backup_urls", ["http://a.invalid/", "http://u:p@a.invalid/"], "unique"),
        ("backup_urls", ["http://a.invalid/", "http://10.0.0.1/"], "private"),
        ("max_bandwidth", 0, "range"),
        ("max_bandwidth", True, "range"),
        ("tls_verify", "no", "type"),
    ],
)
def test_what_a_source_may_not_be_is_refused_by_name(field: str, value: object, rule: str) -> None:
    with pytest.raises(Invalid) as refusal:
        draft(**{field: value})

    assert (refusal.value.context["field"], refusal.value.context["rule"]) == (field, rule)
