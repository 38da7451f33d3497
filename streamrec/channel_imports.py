"""Applying a channel list: every line by itself, with a report of what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import channels, egress
from streamrec.channel_fields import Draft, checked
from streamrec.channel_lists import Entry, keyname_for
from streamrec.errors import Conflict, Invalid, NotFound
from streamrec.models import Channel

RESOLVE_SECONDS = 10.0  # for all the hosts of a list together
_ONE_AT_A_TIME = 0x73_72_69_6D  # "srim": the key of an advisory lock


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one station of a list."""

    line: int
    status: str  # created, updated, skipped, refused
    keyname: str | None = None
    channel_id: int | None = None
    field: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """An entry whose fields were checked, or the reason why it is refused."""

    entry: Entry
    draft: Draft
    problem: Invalid | None


def prepare(entries: Iterable[Entry], *, allow: Iterable[str] = ()) -> list[Prepared]:
    """Check the entries' fields and addresses; looks up hosts, so call it outside transactions."""
    entries, allow = list(entries), list(allow)
    found = egress.resolve_all(_hosts(entries), RESOLVE_SECONDS)
    return [_prepared(entry, allow, found) for entry in entries]


def _hosts(entries: Iterable[Entry]) -> set[str]:
    hosts = set()
    for url in (
        url for entry in entries for url in (entry.fields.get("url", ""), *entry.fields.get("backup_urls", ()))
    ):
        try:
            hosts.add(egress.parse(url).host)
        except Invalid:
            continue
    return hosts


def _prepared(entry: Entry, allow: Sequence[str], found: Mapping[str, list[str]]) -> Prepared:
    if entry.problem is not None:
        return Prepared(entry, {}, entry.problem)
    try:
        return Prepared(entry, checked(entry.fields, allow=allow, resolve=lambda host: found.get(host, [])), None)
    except Invalid as problem:
        return Prepared(entry, {}, problem)


def apply(session: Session, prepared: Sequence[Prepared], *, update: bool = True) -> list[Line]:
    """Create the channels whose keynames are new and update the others; a line that fails spoils no other.

    With `update` false, channels that exist are left as they are. One list at a time: two that hold the same
    stations would wait for each other's rows, each for the one that the other has.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    known = _known(session)
    seen: set[str] = set()
    return [_applied(session, each, known, seen, update=update) for each in prepared]


Known = Mapping[str, tuple[int, str, str]]  # keyname -> id, name and URL of every channel


def _known(session: Session) -> Known:
    columns = (Channel.keyname, Channel.id, Channel.name, Channel.url)
    rows = session.execute(sa.select(*columns).where(Channel.deleted_at.is_(None)))
    return {keyname: (channel_id, name, url) for keyname, channel_id, name, url in rows}


def _applied(session: Session, each: Prepared, known: Known, seen: set[str], *, update: bool) -> Line:
    line = each.entry.line
    if each.problem is not None:
        return _refused(line, each.problem)
    draft = dict(each.draft)
    keyname = draft.get("keyname") or keyname_for(each.entry.identity, _Taken(draft, known, seen))
    draft["keyname"] = keyname
    if keyname in seen:
        problem = Conflict("The list has this keyname already in an earlier line.", field="keyname")
        return _refused(line, problem, keyname)
    seen.add(keyname)
    try:
        if keyname not in known:
            return Line(line, "created", keyname, channels.create(session, draft).id)
        return _existing(session, line, known[keyname][0], draft, update=update)
    except (Invalid, Conflict, NotFound) as problem:  # not found: it was deleted a moment ago
        return _refused(line, problem, keyname)


@dataclass(frozen=True, slots=True)
class _Taken:
    """Keynames of this list, and of other channels than the one that a draft seems to mean."""

    draft: Draft
    known: Known
    seen: set[str]

    def __contains__(self, keyname: object) -> bool:
        if keyname in self.seen:
            return True
        _, name, url = self.known.get(str(keyname), (None, None, None))
        is_same = name == self.draft.get("name") or ("url" in self.draft and url == self.draft["url"].url)
        return name is not None and not is_same


def _existing(session: Session, line: int, channel_id: int, draft: Draft, *, update: bool) -> Line:
    keyname = draft["keyname"]
    if not update:
        return Line(line, "skipped", keyname, channel_id, detail="The channel exists.")
    before = channels.get(session, channel_id).version
    changed = channels.update(session, channel_id, draft).version != before
    if changed:
        return Line(line, "updated", keyname, channel_id)
    return Line(line, "skipped", keyname, channel_id, detail="Nothing differs.")


def _refused(line: int, problem: Invalid | Conflict | NotFound, keyname: str | None = None) -> Line:
    field: Any = problem.context.get("field")
    return Line(line, "refused", keyname, field=field, detail=problem.detail)
