"""From a checked request to its handler and back: plain functions run in threads, coroutines on the event loop.

It takes the place of Connexion's own last step, which wraps the handler anew, inspects its signature and parses
parameters and body a second time for every request: a fifth of the time that a list of a hundred rows takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from concurrent.futures import Executor
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations import AbstractOperation
from starlette.types import Receive, Scope, Send

from streamrec.handlers import _current
from streamrec.handlers._reply import Json, Reply


class Call:
    """One operation's handler; what `_checks` found in the request are its arguments."""

    def __init__(self, operation: AbstractOperation, threads: Executor) -> None:
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
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(self._threads, lambda: context.run(self._function, **arguments))
        if isinstance(reply, Json):
            _current.show(scope, reply.value)
        await reply(scope, receive, send)


class _CallsApi(RoutedAPI[Call]):  # type: ignore[misc] # Connexion has no types
    def __init__(self, *args: Any, threads: Executor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._threads = threads
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> Call:
        return Call(operation, self._threads)


class CallsMiddleware(RoutedMiddleware[_CallsApi]):  # type: ignore[misc]
    """The last one: behind it are only requests for which there is no operation; `add_api` is given `threads`."""

    api_cls = _CallsApi
