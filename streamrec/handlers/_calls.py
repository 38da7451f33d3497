"""From a checked request to its handler and back: plain functions run in threads, coroutines on the event loop.

It takes the place of Connexion's own last step, which wraps the handler anew, inspects its signature and parses
parameters and body a second time for every request: a fifth of the time that a list of a hundred rows takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations import AbstractOperation
from starlette.types import Receive, Scope, Send

from streamrec.handlers import _current
from streamrec.handlers._reply import Json, Reply

FEW = 4  # threads that work at once while all goes well
MOST = 40  # as many as connections that the pool of db.connect() may have
PATIENCE_SECONDS = 0.02


class Threads:
    """Worker threads that do not fight over the interpreter: few at once, more only when those few are held up.

    Sixteen threads that want the interpreter's lock cost a fifth more CPU than four for the same work. But a slow
    database, or a slow probe, must not hold up all others: who has waited for 20 ms gets a thread more.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(MOST, thread_name_prefix="handler")
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, function: Callable[[], Any]) -> Any:
        """What `function` returns, called in a thread."""
        loop = asyncio.get_running_loop()
        if self._busy >= FEW:
            await self._turn(loop)
        self._busy += 1
        try:
            return await loop.run_in_executor(self._executor, function)
        finally:
            self._busy -= 1
            self._wake()

    def close(self) -> None:
        """Let what runs end, and start nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        patience = loop.call_later(PATIENCE_SECONDS, _finish, turn)
        try:
            await turn
        finally:
            patience.cancel()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def _finish(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Call:
    """One operation's handler; what `_checks` found in the request are its arguments."""

    def __init__(self, operation: AbstractOperation, threads: Threads) -> None:
        self._function = operation.function
        self._is_coroutine = inspect.iscoroutinefunction(operation.function)
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arguments = _current.arguments(scope)
        reply: Reply
        if self._is_coroutine:
            reply = await self._function(**arguments)
        else:
            context = contextvars.copy_context()  # the request, its id in log lines, the session's settings
            reply = await self._threads.run(lambda: context.run(self._function, **arguments))
        if isinstance(reply, Json):
            _current.show(scope, reply.value)
        await reply(scope, receive, send)


class _CallsApi(RoutedAPI[Call]):  # type: ignore[misc] # Connexion has no types
    def __init__(self, *args: Any, threads: Threads, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._threads = threads
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> Call:
        return Call(operation, self._threads)


class CallsMiddleware(RoutedMiddleware[_CallsApi]):  # type: ignore[misc]
    """The last one: behind it are only requests for which there is no operation; `add_api` is given `threads`."""

    api_cls = _CallsApi
