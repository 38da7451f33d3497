"""Verifying sealed days offline, with nothing but the manifests and perhaps the recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from streamrec.archive import layout, proof
from streamrec.errors import Invalid

_MISSING: Final = "is missing"


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong, in words; what is to be known besides; and what was verified."""

    faults: list[str]
    notes: list[str]
    extent: list[str]

    @property
    def lines(self) -> list[str]:
        """All of it, for a person."""
        told = [*(f"FAIL  {each}" for each in self.faults), *(f"note  {each}" for each in self.notes)]
        return [*told, *self.extent, "Something is wrong." if self.faults else "Everything holds."]


def run(file: BinaryIO, folder: Path | None, public_keys: Sequence[str] = ()) -> Found:
    """Look at all of it. Raises Invalid for what is no JSON, or no key."""
    for key in public_keys:
        _require_key(key)
    given = _envelopes(file.read())
    sealed = [each for each in given if not _is_unsealed(each)]
    files = _Files(folder, _last(sealed))
    faults = [told for each in given if _is_unsealed(each) and (told := files.excuse(each["unsealed"]))]
    fault = None if folder is None else files.fault
    faults += proof.verify(sealed, public_keys=public_keys, fault=fault)
    return Found(faults, files.notes, _extent(sealed))


def _is_unsealed(given: Any) -> bool:
    return isinstance(given, Mapping) and "unsealed" in given


def _last(sealed: Sequence[Any]) -> Mapping[str, Any]:
    """The last manifest as it is handed out; nothing of what has not the form of one."""
    last = sealed[-1] if sealed else None
    return last if isinstance(last, Mapping) and isinstance(last.get("manifest"), Mapping) else {"manifest": {}}


def _extent(sealed: Sequence[Any]) -> list[str]:
    """From where to where the days go. What is left off at the beginning is no fault, and must be seen."""
    try:
        first, last = sealed[0]["manifest"], sealed[-1]["manifest"]
        days = f"{first['day']} (number {first['number']}) to {last['day']} (number {last['number']})"
        lines = [f"Looked at the days {days} of the channel {first['channel']['id']}."]
        if first["previous"] is not None or first["chain_before"] != proof.BEGINNING:
            lines.append(f"What was sealed before number {first['number']} was not given, and not looked at.")
    except (KeyError, TypeError, IndexError):
        return []
    return lines


def _require_key(text: str) -> None:
    try:
        proof.public(text)
    except ValueError:
        detail = "The public key is not a key: it must be the 32 bytes of an Ed25519 key in base64."
        raise Invalid(detail, field="public_key", rule="ed25519") from None


def _envelopes(text: bytes) -> Sequence[Any]:
    """One manifest as the API gives it, or one a line."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise Invalid("The file is not JSON.", field="file", rule="json") from None


class _Files:
    """The recordings in a folder, held against their entries; some may be gone since, by an unsealed list."""

    def __init__(self, folder: Path | None, last: Mapping[str, Any]) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._last = last
        self._gone: dict[str, str] = {}

    def excuse(self, unsealed: Any) -> str | None:
        """Believe a list of what is gone since the last day; why not, if it is none, or another's."""
        try:
            if unsealed["format"] != proof.UNSEALED_FORMAT or unsealed["after"] != self._last.get("sha256"):
                return "the unsealed list does not follow the last day"
            self._gone |= {entry["uuid"]: str(entry["kind"]) for entry in unsealed["entries"]}
        except (KeyError, TypeError):
            return "the unsealed list has not the form of one"
        return None

    def fault(self, uuid: str, recording: Mapping[str, Any]) -> str | None:
        assert self._folder is not None
        told = _fault(self._folder, recording)
        if told != _MISSING:
            return told
        if kind := self._gone.get(uuid):
            self.notes.append(f"{recording['path']}: {kind} since, not yet sealed")
            return None
        sealed_at = self._last["manifest"].get("sealed_at")
        return f"{_MISSING}; it may have expired since the last seal at {sealed_at}"


def _fault(folder: Path, recording: Mapping[str, Any]) -> str | None:
    """Only names of the archive are opened: a manifest of somebody else may say anything."""
    try:
        layout.parse(recording["path"])
    except ValueError:
        return "is no name of the archive"
    digest, size = hashlib.sha256(), 0
    try:
        with (folder / recording["path"]).open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except OSError:
        return _MISSING
    if size != recording["size_bytes"] or digest.hexdigest() != recording["sha256"]:
        return "is not the file that was sealed"
    return None
