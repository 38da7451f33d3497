"""`python -m streamrec`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command; until it listens to signals itself, Ctrl-C ends it quietly, with a shell's status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody else ends us
        signal.signal(signal.SIGINT, _leave)
    from streamrec.cli import run

    run()


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


main()
