"""Station playlists: PLS and plain M3U, as directories hand them out. Pure."""

from __future__ import annotations

import re
from typing import Final

MOST_BYTES: Final = 65_536
_MOST_ENTRIES: Final = 20
_PLS_ENTRY: Final = re.compile(r"\s*File\d*\s*=\s*(\S.*)", re.IGNORECASE)


def entries(data: bytes) -> list[str]:
    """The addresses in a playlist in their order; they may be relative, and are hostile."""
    lines = data[:MOST_BYTES].decode("utf-8-sig", "replace").splitlines()
    if any(line.strip().lower() == "[playlist]" for line in lines[:10]):
        found = [match[1].strip() for match in map(_PLS_ENTRY.match, lines) if match]
    else:
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return found[:_MOST_ENTRIES]
