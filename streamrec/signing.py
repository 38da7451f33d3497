"""The key that signs manifests: made once, and then begun anew only by whoever says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from streamrec.errors import NotReady
from streamrec.models import Manifest

ADVICE: Final = "Nothing is sealed until it is put back, or a new one is begun: ./run.sh manifest --new-key"


def required(session: Session | Connection, path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key of a PEM file, made if nothing was ever signed.

    Raises:
        NotReady: the file is missing though days are signed, or cannot be read, or holds something else.
    """
    if not path.exists() and not _has_signed(session):
        return begun(path)
    return _read(path)


def fault(session: Session | Connection, path: Path) -> str | None:
    """Why nothing can be signed, in a sentence; makes no key."""
    try:
        if path.exists() or _has_signed(session):
            _read(path)
    except NotReady as exc:
        return exc.detail
    except OSError:
        return None  # whoever asks may not look there; the recorder's log tells what it finds
    return None


def _has_signed(session: Session | Connection) -> bool:
    return bool(session.scalar(sa.select(sa.exists().where(Manifest.signature.is_not(None)))))


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as error:
        raise NotReady(f"The signing key {path} is missing. {ADVICE}") from error
    except (ValueError, TypeError) as error:
        raise NotReady(f"The signing key {path} cannot be read. {ADVICE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NotReady(f"The signing key {path} is not an Ed25519 key. {ADVICE}")
    return key


def begun(path: Path) -> Ed25519PrivateKey:
    """A new key, durable in its file. Raises NotReady: there is one, which nothing overwrites."""
    if path.exists():
        raise NotReady(f"There is a signing key in {path}. Move it away before you begin a new one.")
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_pem(key))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    return key


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
