"""Verifying sealed days offline, with nothing but the manifests and perhaps the recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from streamrec.archive import layout, proof
from streamrec.errors import Invalid


def run(file: BinaryIO, folder: Path | None, public_keys: Sequence[str] = ()) -> list[str]:
    """What is wrong, in words. Raises Invalid for what is no JSON, or no key."""
    for key in public_keys:
        _require_key(key)
    fault = None if folder is None else partial(_fault, folder)
    return proof.verify(_envelopes(file.read()), public_keys=public_keys, fault=fault)


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
        return "is missing"
    if size != recording["size_bytes"] or digest.hexdigest() != recording["sha256"]:
        return "is not the file that was sealed"
    return None
