"""Work that goes on beside the rest of a recorder, and ends it when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def first(*waits: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> None:
    """Return when one of `waits` is over; raises what it raises."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


@asynccontextmanager
async def background(work: list[Coroutine[Any, Any, None]]) -> AsyncIterator[asyncio.Future[None]]:
    """Run `work` beside the body; the future raises what the first of them that fails raised."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not failed.done():
            failed.set_exception(task.exception())  # type: ignore[arg-type]

    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(note)
    try:
        yield failed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
