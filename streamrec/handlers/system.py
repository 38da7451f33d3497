"""Who answers, how it is, and how to stop it."""

from __future__ import annotations

import ipaddress
import os
import signal
import threading

import structlog
from connexion.context import request

from streamrec import __version__, activity, metrics
from streamrec.errors import Denied
from streamrec.handlers import _current, _present_system, _reply
from streamrec.handlers._reply import Reply
from streamrec.up import PID_VARIABLE

log = structlog.get_logger("streamrec.system")

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_SECONDS_TO_ANSWER = 0.2


def get_root() -> Reply:
    accepts = request.headers.get("accept", "")
    if "text/html" in accepts:
        return _reply.text(_present_system.page(__version__), media_type="text/html")
    return _reply.ok(_present_system.root(__version__))


async def get_health() -> Reply:
    """On the event loop on purpose: all worker threads may be waiting for the database."""
    report = await _current.watch().report()
    reply = _reply.ok(_present_system.health(report, __version__), status=200 if report.is_ready else 503)
    if not report.is_ready:
        reply.headers["Retry-After"] = "5"
    return reply


def get_metrics() -> Reply:
    found = activity.Collector(_current.settings())
    return _reply.text(metrics.exposition(found), media_type=metrics.CONTENT_TYPE)


def shutdown() -> Reply:
    """SIGTERM to the `./run.sh` that started this instance, once this answer has had time to leave."""
    if not _is_from_here():
        raise Denied("Only a client on this machine may stop the service.")
    pid = os.environ.get(PID_VARIABLE, "")
    if _current.settings().production or not pid.isdigit():
        raise Denied("This instance was not started by ./run.sh; stop it with what started it.")
    log.warning("shutdown was asked for", pid=int(pid))
    threading.Timer(_SECONDS_TO_ANSWER, _terminate, [int(pid)]).start()
    return _reply.text("Server shutting down...\n", media_type="text/plain")


def _is_from_here() -> bool:
    """Whether the real peer is this machine; behind a proxy nobody can say."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        log.warning("the process that started this instance is gone", pid=pid)
