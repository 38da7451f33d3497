"""One pipe for every log line: structlog over the standard library, without credentials.

JSON lines for machines, plain ones for a terminal. The lines of gunicorn, uvicorn, alembic and of any other
library pass through the same processors. Facts bound with `structlog.contextvars` (request id, channel id) are on
each line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from logging.handlers import WatchedFileHandler
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from streamrec.settings import Settings

# Everything up to the last "@" before a path is user information, and any query may hold a token (RFC 3986, 3.2).
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@")
_QUERY = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s?#\"'<>]*)\?[^\s#\"'<>]*")
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{4,}")
_SUSPICIOUS = re.compile(r"(?i)://|\b(?:bearer|basic)\s")  # what any of the three above needs
_SECRET_NAMES = re.compile(r"(?i)(password|passwd|secret|token|api_?key|authorization|cookie)")

QUIET = {
    "alembic.runtime.migration": logging.WARNING,
    "alembic.runtime.plugins": logging.WARNING,
    "connexion": logging.WARNING,
    "gunicorn.error": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "httpx": logging.WARNING,
    "procrastinate": logging.WARNING,  # its lines repeat whole jobs
    "psycopg.pool": logging.ERROR,  # it warns at each try to reach a database that is away
    "py.warnings": logging.ERROR,  # deprecations among libraries are for developers
}
ADOPTED = ("gunicorn", "gunicorn.error", "uvicorn", "uvicorn.error", "alembic", "sqlalchemy", "werkzeug", "flask")


class LogFile(WatchedFileHandler):
    """A file that others may move, on a disk that may be full: then lines are lost, and nothing else.

    The library's own class lets an error out where it looks whether the file was moved.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line if that is possible."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Give up the file with all that is buffered for it; the next line opens it anew."""
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()


def configure(settings: Settings, process: str) -> None:
    """Send this process's log lines to its standard error, and to `log_dir` if that is set.

    `process` names the file there and stands on each JSON line. May be called again, after a fork for example.
    """
    handlers: list[logging.Handler] = [_handler(logging.StreamHandler(sys.stderr), _is_human(settings))]
    if settings.log_dir is not None:
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        handlers.append(_handler(LogFile(settings.log_dir / f"{process}.log"), human=False))
    logging.root.handlers = handlers
    logging.raiseExceptions = False  # else lines that cannot be written are printed with what was not yet cleaned
    logging.root.setLevel(settings.log_level.upper())
    logging.captureWarnings(capture=True)
    _leave_out_what_no_line_shows()
    for name in ADOPTED:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the request log has more to say
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(logging.NOTSET if settings.log_level == "debug" else level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    structlog.contextvars.bind_contextvars(process=process)


def _leave_out_what_no_line_shows() -> None:
    """Half of what a line costs is finding its caller, thread, process and task (logging HOWTO, Optimization)."""
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def redacted(text: str) -> str:
    """`text` without the user information and queries of its URLs, and without authorization headers."""
    if _SUSPICIOUS.search(text) is None:
        return text
    text = _USERINFO.sub(r"\1***@", text)
    text = _QUERY.sub(r"\1?***", text)
    return _AUTHORIZATION.sub(r"\1 ***", text)


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that keeps secrets out of every line, whoever wrote it."""
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return "***" if _is_secret(name) else redacted(value)
    if isinstance(value, Mapping):
        return {key: _clean(str(key), held) for key, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, held) for held in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return value if name.startswith("_") else redacted(str(value))


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _handler(handler: logging.Handler, human: bool) -> logging.Handler:
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if human
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_colours,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    return handler


def _without_colours(_logger: object, _method: str, event: EventDict) -> EventDict:
    """uvicorn says everything twice, once with escape sequences."""
    event.pop("color_message", None)
    return event


def _is_human(settings: Settings) -> bool:
    if settings.log_format == "auto":
        return sys.stderr.isatty()
    return settings.log_format == "text"


def _json(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode(errors="replace")
