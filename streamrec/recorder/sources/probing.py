"""What a URL is, found out under the egress rules that a capture obeys."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from streamrec.clock import SystemClock
from streamrec.egress import Credentials
from streamrec.media.probe import MediaInfo, probe_async
from streamrec.recorder.events import Address
from streamrec.recorder.fetch import proxy
from streamrec.recorder.fetch.dial import Resolver


def probe(
    url: str,
    credentials: Credentials | None = None,
    *,
    executable: str,
    allow: tuple[str, ...] = (),
    timeout_seconds: float = 10.0,
) -> MediaInfo:
    """Connect once, for a caller in a thread of its own. Blocks for at most the time-out and a second.

    Redirects, playlists and segments lead to allowed addresses only. Never raises for what the URL does.
    """
    return asyncio.run(_probe(url, credentials, executable, allow, timeout_seconds))


async def _probe(
    url: str, credentials: Credentials | None, executable: str, allow: tuple[str, ...], timeout_seconds: float
) -> MediaInfo:
    async with AsyncExitStack() as stack:
        way: proxy.Proxy | None = None
        if url.startswith(("http://", "https://")):
            address = Address(url, credentials)
            way = await stack.enter_async_context(proxy.opened(Resolver(SystemClock(), allow), address))
        info = await probe_async(
            url,
            credentials,
            executable=executable,
            allow=allow,
            timeout_seconds=timeout_seconds,
            way=way.input if way is not None else None,
        )
        if info.recordable or way is None or way.refused is None:
            return info
        return replace(info, reason=way.refused.reason, detail=way.refused.detail)
