"""The recorder's program, replaced in place."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os, signal
from streamrec.recorder import replacement
if replacement.RELIEVES not in os.environ:
    async def main():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, print)
        replacement.ignore_more()
    asyncio.run(main())
    os.kill(os.getpid(), signal.SIGUSR2)
    replacement.begin_anew(1)
print(signal.getsignal(signal.SIGUSR2).name)
"""


def test_the_new_program_does_not_die_of_being_told_twice() -> None:
    """SIGUSR2 is ignored until it is listened to; by default it ends a process."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout == "SIG_IGN\n"
