"""What a bucket says of an object to whoever fetches it there. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

_TYPES: Final = {
    ".mp3": "audio/mpeg",
    ".aac": "audio/aac",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ts": "video/mp2t",
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".zip": "application/zip",
}
_ANY: Final = "application/octet-stream"  # so that no browser opens an upload as a page of the bucket's


def attributes(name: str) -> dict[str, str]:
    """Type by the end of an object's name, and a name to keep it under; names are ours, of plain characters."""
    path = PurePosixPath(name)
    return {
        "Content-Type": _TYPES.get(path.suffix, _ANY),
        "Content-Disposition": f'attachment; filename="{path.name}"',
    }
