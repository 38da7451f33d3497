"""How gunicorn serves the API; a configuration file takes from here what must not differ, the hooks above all."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import signal
import sys
from typing import Any

import structlog
from gunicorn.glogging import Logger as GunicornLogger
from sqlalchemy.pool import NullPool

from streamrec import db, logs, schema
from streamrec import settings as configuration
from streamrec.errors import DatabaseAway, StreamrecError

EX_CONFIG = 78  # sysexits.h
PR_SET_PDEATHSIG = 1  # prctl(2)

log = structlog.get_logger(__name__)

_settings = configuration.load()
_metrics = _settings.run_dir / "metrics"
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(_metrics))

wsgi_app = "streamrec.app:create_app()"
worker_class = "streamrec.connections.Worker"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.api_workers
forwarded_allow_ips = ",".join(_settings.trusted_proxies)
timeout = 30  # seconds without a sign of life from a worker's event loop
graceful_timeout = 3  # seconds for requests under way when the API stops
keepalive = 5
control_socket_disable = True  # it would lie in the user's home
proc_name = "streamrec-api"


class Logger(GunicornLogger):  # type: ignore[misc]
    """gunicorn's lines go through the same pipe as all others; requests are logged by the API itself."""

    def setup(self, cfg: Any) -> None:
        logs.configure(_settings, "api")
        self.access_log.disabled = True

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Nothing: see above."""


logger_class = Logger


def on_starting(server: Any) -> None:
    """Refuse to serve what is not set up, and begin new counters."""
    try:
        configuration.refuse_samples(_settings)
        _check_schema(server)
    except StreamrecError as exc:
        print(f"streamrec: {exc.detail}", file=sys.stderr)  # noqa: T201 - gunicorn has no better way to end
        sys.exit(EX_CONFIG)
    shutil.rmtree(_metrics, ignore_errors=True)
    _metrics.mkdir(parents=True)


def when_ready(server: Any) -> None:
    """The master listens; its workers load the API next."""
    log.info("api listens", addresses=[str(listener) for listener in server.LISTENERS], workers=server.num_workers)


def post_fork(server: Any, worker: Any) -> None:
    """uvicorn's worker has just taken gunicorn's handlers; and no worker may hold the port of a killed master."""
    logs.configure(_settings, "api")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def post_worker_init(worker: Any) -> None:
    """The loaded API lives as long as the worker: looking through it for garbage takes 100 ms, and finds none."""
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that has ended (prometheus_client's multiprocess mode)."""
    from prometheus_client import multiprocess  # at its first import it looks for the folder that is set above

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _check_schema(server: Any) -> None:
    engine = db.engine_for(_settings, application="streamrec-api-start", poolclass=NullPool)
    try:
        schema.require_current(engine)
    except DatabaseAway:
        server.log.warning("the database does not answer; requests get 503 until it does")
    finally:
        engine.dispose()
