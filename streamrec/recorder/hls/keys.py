"""Decryption of whole segments: AES-128 in CBC with PKCS7 padding, RFC 8216 section 4.3.2.4. Pure."""

from __future__ import annotations

from typing import Final

from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused

KEY_BYTES: Final = 16


def decrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    """The clear segment. Raises Refused (`source_error`) when the key is none or does not fit."""
    # Here, because few stations need it and it takes three megabytes.
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if len(key) != KEY_BYTES:
        raise Refused(GapReason.SOURCE_ERROR, "The stream's key is not one of AES-128.")
    decryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(algorithms.AES128.block_size).unpadder()
    try:
        clear = decryptor.update(data) + decryptor.finalize()
        return unpadder.update(clear) + unpadder.finalize()
    except ValueError:
        raise Refused(GapReason.SOURCE_ERROR, "A segment cannot be decrypted.") from None
