"""What ffmpeg is told on its stdin in place of its command line, which everybody on the machine can read. Pure.

An ffconcat script of one entry (ffmpeg-formats(1), "concat"; its options since ffmpeg 5.0): the address, and what
it is opened with. Streams, time stamps and errors come through as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_UNSAYABLE: Final = frozenset("\0\r\n")  # where ffmpeg ends a line, quoted or not


def script(url: str, options: Mapping[str, object]) -> bytes:
    """One entry; names of options are ours. Raises ValueError for what no line can hold."""
    lines = ["ffconcat version 1.0", f"file {_quoted(url)}"]
    lines += [f"option {name} {_quoted(str(value))}" for name, value in options.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def _quoted(text: str) -> str:
    """`text` as one token (av_get_token of libavutil): all is literal between quotes, but a quote."""
    if _UNSAYABLE & set(text):
        raise ValueError("a line of a script cannot hold this")
    return "'" + text.replace("'", "'\\''") + "'"
