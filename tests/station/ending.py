"""How a station's loop ends without leaving a connection open behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

_TURNS = 10  # of the loop, from an accepted connection to the first line of its handler, and a few more


async def let_nobody_in(servers: Iterable[asyncio.Server]) -> None:
    """Close the doors, once who is just coming in has met the handler, which hangs up when it is cancelled.

    asyncio loses a connection whose server is closed between its accept and its transport.
    """
    loop, closing = asyncio.get_running_loop(), list(servers)
    for server in closing:
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    for server in closing:
        server.close()
