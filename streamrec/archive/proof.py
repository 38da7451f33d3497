"""Manifests: a day of a channel's account as a signed link of a chain, and how a third party verifies it. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT: Final = "streamrec-manifest-1"
UNSEALED_FORMAT: Final = "streamrec-unsealed-1"
BEGINNING: Final = "0" * 64
Document = dict[str, Any]
Envelope = Mapping[str, Any]
Fault = Callable[[str, Mapping[str, Any]], str | None]
"""What is wrong with the file of a recording, given the entry's UUID and the recording as it stands in there."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: for what has no fractions, the form of RFC 8785."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def linked(before: str, entries: Iterable[Document]) -> tuple[list[Document], str]:
    """The entries, each with the hash of itself and all before it; and the last of those hashes."""
    chained = []
    for entry in entries:
        before = sha256(before.encode() + canonical(entry))
        chained.append({**entry, "chain": before})
    return chained, before


def signed(document: Document, key: Ed25519PrivateKey) -> tuple[str, str]:
    """The signature and the public key, in base64."""
    return _text(key.sign(canonical(document))), published(key)


def published(key: Ed25519PrivateKey) -> str:
    """The public half, in base64."""
    return _text(key.public_key().public_bytes_raw())


def public(text: str) -> Ed25519PublicKey:
    """The public key that is written in base64. Raises ValueError if it is none."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def verify(
    envelopes: Iterable[Envelope], *, public_keys: Collection[str] = (), fault: Fault | None = None
) -> list[str]:
    """What is wrong with consecutive manifests, in words; nothing if all of it holds.

    One of `public_keys` must have signed; without any, the one that the first names. `fault` looks at files.
    """
    faults: list[str] = []
    before: Document | None = None
    files: dict[str, Document] = {}
    for number, envelope in enumerate(envelopes, 1):
        try:
            document = envelope["manifest"]
            public_keys = public_keys or [envelope["public_key"]]
            name = f"{document['day']} (number {document['number']})"
            found = [*_of_one(envelope, document, public_keys), *_of_two(before, document)]
            _follow(files, document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"manifest {number} has not the form of one ({type(error).__name__})")
            continue
        faults += [f"{name}: {each}" for each in found]
        before = document
    if before is None and not faults:
        faults.append("there is no manifest")
    if fault is not None:
        faults += [f"{file['path']}: {told}" for uuid, file in files.items() if (told := fault(uuid, file))]
    return faults


def _of_one(envelope: Envelope, document: Document, public_keys: Collection[str | None]) -> list[str]:
    faults = []
    if document["format"] != FORMAT:
        faults.append("is of another format")
    if sha256(canonical(document)) != envelope["sha256"]:
        faults.append("is not what its hash says")
    if not any(_is_signed(envelope, document, key) for key in public_keys):
        faults.append("is not signed by the key")
    bare = [{name: value for name, value in entry.items() if name != "chain"} for entry in document["entries"]]
    chained, after = linked(document["chain_before"], bare)
    if chained != document["entries"] or after != document["chain_after"]:
        faults.append("an entry was changed, removed or added")
    return faults


def _is_signed(envelope: Envelope, document: Document, public_key: str | None) -> bool:
    if public_key is None or envelope["signature"] is None:
        return False
    try:
        key = public(public_key)
        key.verify(base64.b64decode(envelope["signature"], validate=True), canonical(document))
    except (InvalidSignature, ValueError):
        return False
    return True


def _of_two(before: Document | None, document: Document) -> list[str]:
    if before is None:
        return []
    faults = []
    if document["channel"]["id"] != before["channel"]["id"]:
        faults.append("is another channel's")
    if document["number"] != before["number"] + 1 or document["previous"] != sha256(canonical(before)):
        faults.append("does not follow the one before; one is missing or was replaced")
    if document["chain_before"] != before["chain_after"]:
        faults.append("its chain does not go on from the one before")
    return faults


def _follow(files: dict[str, Document], document: Document) -> None:
    """Which files there must be by now: a later entry about the same time says what became of an earlier."""
    for entry in document["entries"]:
        files.pop(entry["uuid"], None)
        if entry["kind"] == "recorded":
            files[entry["uuid"]] = entry["recording"]
