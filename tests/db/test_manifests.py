"""Sealed days: what they say, and that nothing can be taken from them unseen."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from streamrec import db, manifests, recordings, signing, verification
from streamrec.archive import layout, proof
from streamrec.errors import Invalid, NotReady
from streamrec.models import Coverage, CoverageKind, FileFormat, GapReason
from tests import factories as make

DAY = date(2026, 11, 1)
NEXT = DAY + timedelta(days=1)
MEDIA = bytes(range(200))
KEY = Ed25519PrivateKey.generate()


class World:
    """A channel with two recordings and a gap on a day, and the files."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.folder = folder
        self.channel_id = make.channel(session).id
        self.first = self.record(0, 60)
        make.covered(session, self.channel_id, 60, 90, CoverageKind.GAP, GapReason.STALLED)
        self.record(90, 150)

    def record(self, start: float, end: float) -> int:
        key = layout.key(keyname="gr-rstpk-1", start_time=make.at(start), run_id=uuid4(), format=FileFormat.MP3)
        (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / key).write_bytes(MEDIA)
        told = {"size_bytes": len(MEDIA), "sha256": hashlib.sha256(MEDIA).hexdigest()}
        return make.captured(self.session, self.channel_id, start, end, path=key, **told).id

    def seal(self, day: date) -> None:
        manifests.seal(self.session, self.channel_id, day, KEY)

    def sealed(self) -> list[dict[str, Any]]:
        return list(manifests.all_of(self.session, self.channel_id))

    def exported(self) -> list[dict[str, Any]]:
        """As `./run.sh manifest` prints them; its transaction can begin no snapshot here, where one is open."""
        return [
            *self.sealed(),
            *filter(None, [manifests.unsealed(self.session, self.channel_id, self.sealed()[-1])]),
        ]

    def found(self, envelopes: list[dict[str, Any]]) -> verification.Found:
        lines = b"\n".join(map(proof.canonical, envelopes))
        return verification.run(io.BytesIO(lines), self.folder, [proof.published(KEY)])

    def faults(self, envelopes: list[dict[str, Any]] | None = None) -> list[str]:
        return self.found(self.sealed() if envelopes is None else envelopes).faults

    def expire(self) -> None:
        key = recordings.delete(self.session, self.first)[0]
        (self.folder / key).unlink()


@pytest.fixture
def world(session: Session, tmp_path: Path) -> World:
    return World(session, tmp_path)


def test_a_day_tells_its_recordings_and_gaps_in_order(world: World) -> None:
    world.seal(DAY)
    (sealed,) = world.sealed()

    assert [entry["kind"] for entry in sealed["manifest"]["entries"]] == ["recorded", "gap", "recorded"]
    assert world.faults() == []


def test_a_day_is_due_an_hour_after_its_end_and_once(world: World) -> None:
    midnight = make.T0.replace(hour=0) + timedelta(days=1)
    assert manifests.due(world.session, world.channel_id, midnight + timedelta(minutes=59)) is None
    assert manifests.due(world.session, world.channel_id, midnight + timedelta(hours=1)) == DAY
    world.seal(DAY)

    assert manifests.due(world.session, world.channel_id, midnight + timedelta(days=9)) is None


def test_a_deletion_after_the_seal_is_a_later_entry_and_no_edit(world: World) -> None:
    world.seal(DAY)
    before = world.sealed()
    world.expire()
    world.seal(NEXT)
    later = world.sealed()

    assert later[0] == before[0]
    assert [entry["kind"] for entry in later[1]["manifest"]["entries"]] == ["expired"]
    assert later[1]["manifest"]["entries"][0]["uuid"] == before[0]["manifest"]["entries"][0]["uuid"]
    assert world.faults() == []


def test_a_row_that_is_taken_back_after_the_seal_is_told(world: World) -> None:
    world.seal(DAY)
    world.session.execute(sa.delete(Coverage).where(Coverage.kind == CoverageKind.GAP))
    world.record(200, 260)
    world.seal(NEXT)

    assert [entry["kind"] for entry in world.sealed()[1]["manifest"]["entries"]] == ["recorded", "withdrawn"]


def test_a_file_that_was_replaced_or_removed_is_seen(world: World) -> None:
    world.seal(DAY)
    first, second = sorted(world.folder.rglob("*.mp3"))
    first.write_bytes(MEDIA[::-1])
    second.unlink()

    sealed_at = world.sealed()[0]["manifest"]["sealed_at"]
    assert [fault.partition(": ")[2] for fault in world.faults()] == [
        "is not the file that was sealed",
        f"is missing; it may have expired since the last seal at {sealed_at}",
    ]


def test_what_expired_since_the_last_seal_is_a_note_and_no_fault(world: World) -> None:
    world.seal(DAY)
    world.expire()
    found = world.found(world.exported())

    assert found.faults == []
    assert [note.partition(": ")[2] for note in found.notes] == ["expired since, not yet sealed"]
    assert found.lines[-1] == "Everything holds."


def test_what_is_printed_is_of_one_moment_the_days_and_the_list_behind_them(engine: Engine) -> None:
    with db.Session.begin() as session:
        channel_id = make.channel(session).id
        recording_id = make.captured(session, channel_id, 0, 60).id
        manifests.seal(session, channel_id, DAY, KEY)
    with db.Session.begin() as session:
        recordings.delete(session, recording_id)
    with db.Session.begin() as session:
        sealed, since = manifests.exported(session, channel_id)

    assert since["unsealed"]["after"] == sealed["sha256"]
    assert [entry["kind"] for entry in since["unsealed"]["entries"]] == ["expired"]


def test_a_list_of_what_is_gone_excuses_no_other_file_and_no_altered_one(world: World) -> None:
    world.seal(DAY)
    world.expire()
    (other,) = world.folder.rglob("*.mp3")
    other.write_bytes(MEDIA[::-1])
    altered = world.faults(world.exported())
    other.unlink()

    assert [len(altered), len(world.faults(world.exported()))] == [1, 1]


@pytest.mark.parametrize(
    ("change", "told"), [({"after": "0"}, "does not follow"), ({"entries": 7}, "has not the form")]
)
def test_a_list_that_is_another_days_or_none_is_a_fault(world: World, change: dict[str, Any], told: str) -> None:
    world.seal(DAY)
    world.expire()
    *sealed, last = world.exported()

    assert any(told in fault for fault in world.faults([*sealed, {"unsealed": {**last["unsealed"], **change}}]))


def test_what_was_left_off_at_the_beginning_is_told(world: World) -> None:
    for day in range(3):
        world.record(200 + 100 * day, 260 + 100 * day)
        world.seal(DAY + timedelta(days=day))

    assert world.found(world.sealed()).extent == [
        f"Looked at the days 2026-11-01 (number 1) to 2026-11-03 (number 3) of the channel {world.channel_id}."
    ]
    assert world.found(world.sealed()[1:]).extent[1:] == [
        "What was sealed before number 2 was not given, and not looked at."
    ]


@pytest.mark.parametrize("text", ["x", "", "not base64", "c2hvcnQ="])
def test_what_is_no_key_is_told_as_such(text: str) -> None:
    with pytest.raises(Invalid, match="is not a key"):
        verification.run(io.BytesIO(b"{}"), None, [text])


def _changed(sealed: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    made = copy.deepcopy(sealed)
    document = made[0]["manifest"]
    match what:
        case "an entry removed":
            del document["entries"][1]
        case "an entry changed and all hashes made anew":
            bare = [{k: v for k, v in e.items() if k != "chain"} for e in document["entries"][:1]]
            document["entries"], document["chain_after"] = proof.linked(document["chain_before"], bare)
            made[0]["sha256"] = proof.sha256(proof.canonical(document))
        case "signed with another key":
            made[0]["signature"], made[0]["public_key"] = proof.signed(document, Ed25519PrivateKey.generate())
        case "no signature":
            made[0]["signature"] = None
        case "a day left out":
            del made[1]
        case "not a manifest":
            made[0] = {"manifest": 7}
    return made


@pytest.mark.parametrize(
    "what",
    [
        "an entry removed",
        "an entry changed and all hashes made anew",
        "signed with another key",
        "no signature",
        "a day left out",
        "not a manifest",
    ],
)
def test_a_manifest_that_was_tampered_with_is_seen(world: World, what: str) -> None:
    for day in range(3):
        world.record(200 + 100 * day, 260 + 100 * day)
        world.seal(DAY + timedelta(days=day))

    assert world.faults() == []
    assert world.faults(_changed(world.sealed(), what)) != []


def test_a_manifest_leads_to_no_file_outside_the_folder(world: World) -> None:
    world.seal(DAY)
    (sealed,) = world.sealed()
    sealed["manifest"]["entries"][0]["recording"]["path"] = "../../etc/passwd"

    assert any("no name of the archive" in fault for fault in world.faults([sealed]))


def test_the_key_is_made_once_and_is_nobody_elses_to_read(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    first = signing.required(session, path)

    assert signing.required(session, path).private_bytes_raw() == first.private_bytes_raw()
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(proof.canonical({"b": 1, "a": "ü"})) == {"a": "ü", "b": 1}


def test_a_key_that_is_lost_is_not_made_anew_in_silence(world: World, tmp_path: Path) -> None:
    world.seal(DAY)
    path = tmp_path / "key.pem"
    with pytest.raises(NotReady, match=r"is missing.*manifest --new-key"):
        signing.required(world.session, path)

    assert signing.fault(world.session, path)
    signing.begun(path)
    assert signing.fault(world.session, path) is None


def test_a_key_that_is_there_is_never_overwritten(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("garbage")

    with pytest.raises(NotReady, match="Move it away"):
        signing.begun(path)
    with pytest.raises(NotReady, match="cannot be read"):
        signing.required(session, path)
    assert path.read_text() == "garbage"


def test_days_of_two_keys_verify_with_both_and_not_with_one(world: World) -> None:
    world.seal(DAY)
    world.record(200, 260)
    other = Ed25519PrivateKey.generate()
    manifests.seal(world.session, world.channel_id, NEXT, other)

    keys = [proof.published(KEY), proof.published(other)]
    assert proof.verify(world.sealed(), public_keys=keys) == []
    assert [len(proof.verify(world.sealed(), public_keys=[key])) for key in keys] == [1, 1]
