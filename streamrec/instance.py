"""What `./run.sh` runs: PostgreSQL, migrations, API, recorder and job worker under one supervisor."""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

import click
import psycopg2
import structlog
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from streamrec import __version__, db, embedded, schema
from streamrec.errors import Conflict, NotReady
from streamrec.media import binary
from streamrec.settings import Settings
from streamrec.up import PID_VARIABLE, Child, Supervisor, stop_signals

log = structlog.get_logger(__name__)

SERVING = ("-c", "python:streamrec.serving")
KEEP_SECONDS = 1.0  # between two looks of the process that started it whether the embedded PostgreSQL is there
OTHERS_SECONDS = 5.0  # between those of the others, in case that process is gone
RETRY_SECONDS = 5.0


def run(
    settings: Settings,
    *,
    extra: Sequence[Child] = (),
    may_record: Callable[[], bool] = lambda: True,
    notes: Sequence[str] = (),
) -> None:
    """Run until a stop signal. The recorder waits until it `may_record`; `notes` end the greeting.

    Raises:
        Conflict: the port is taken, or another instance uses the data folder.
        NotReady: something that is needed is missing.
    """
    ffmpeg = binary.find(settings.ffmpeg)
    with _stoppable(), _only_one(settings), database(settings) as engine:
        _refuse_taken_port(settings)
        log.info("starting", version=__version__, ffmpeg=ffmpeg.version, ffmpeg_path=ffmpeg.path)
        schema.upgrade(engine)
        db.Session.configure(bind=engine)
        greeting = _Greeting(settings, notes)
        children = [_recorder(may_record), _api(SERVING), _jobs(), *extra]
        cap = settings.restart_cap_seconds
        Supervisor(children, restart_cap_seconds=cap, on_tick=greeting.give_once_up).run()


def run_api(settings: Settings, gunicorn_options: Sequence[str]) -> None:
    """Serve the API alone, with the embedded PostgreSQL under it if that is the database."""
    with _stoppable(), database(settings):
        Supervisor([_api(gunicorn_options)], on_tick=_Greeting(settings, ()).give_once_up).run()


@contextmanager
def database(settings: Settings) -> Iterator[Engine]:
    """An engine without a pool, and the embedded server under it while it is needed."""
    with _kept(settings) if settings.is_embedded else nullcontext():
        engine = db.engine_for(settings, application="streamrec-up", poolclass=NullPool)
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def _kept(settings: Settings) -> Iterator[None]:
    """The embedded server runs, and is started again when it dies, from lack of memory or by somebody's signal."""
    leaving = threading.Event()
    keeper = threading.Thread(target=_keep, args=(settings, leaving), name="postgres-keeper", daemon=True)
    with embedded.running(settings):
        keeper.start()
        try:
            yield
        finally:
            leaving.set()
            keeper.join()


def _keep(settings: Settings, leaving: threading.Event) -> None:
    while not leaving.wait(KEEP_SECONDS if embedded.is_ours(settings) else OTHERS_SECONDS):
        if embedded.is_leaving(settings):
            embedded.stop(settings)
        if not embedded.has_ended(settings):
            continue
        log.error("PostgreSQL has ended; it is started again")
        try:
            embedded.ensure(settings)
        except (NotReady, OSError, psycopg2.Error) as exc:
            log.error("PostgreSQL does not start", error=str(exc), next_try_in_seconds=RETRY_SECONDS)
            leaving.wait(RETRY_SECONDS)


def _recorder(may_record: Callable[[], bool]) -> Child:
    return Child("recorder", ["streamrec", "recorder"], stop_seconds=5.0, may_start=may_record)


def _api(options: Sequence[str]) -> Child:
    environment = {PID_VARIABLE: str(os.getpid())}
    return Child("api", ["gunicorn", *options], stop_seconds=3.5, environment=environment)


def _jobs() -> Child:
    return Child("job worker", ["streamrec", "jobs"], stop_seconds=4.0)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Before the supervisor listens, a stop signal unwinds the stack, so that a half-started server is stopped."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    numbers = stop_signals()
    for number in numbers:
        signal.signal(number, leave)
    yield
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)  # all has ended; what else comes would only spoil the exit status


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    settings.make_run_dir()
    with (settings.run_dir / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Conflict(
                f"streamrec runs already with {settings.data_dir} (process {file.read().strip()})."
                " Stop it, or choose another STREAMREC_DATA_DIR and STREAMREC_PORT."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _refuse_taken_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise Conflict(
                f"The API cannot listen on {settings.host}:{settings.port}: {exc.strerror}."
                " Choose another STREAMREC_PORT or STREAMREC_HOST."
            ) from exc


class _Greeting:
    """Says where everything is, once the API answers."""

    def __init__(self, settings: Settings, notes: Sequence[str]) -> None:
        self._settings = settings
        self._notes = notes
        self._began = time.monotonic()
        self._is_given = False

    def give_once_up(self) -> None:
        if not self._is_given and answers(self._settings):
            self._is_given = True
            click.echo(self._text())

    def _text(self) -> str:
        address = f"http://{reachable_host(self._settings)}:{self._settings.port}"
        lines = [
            f"streamrec {__version__} is up after {time.monotonic() - self._began:.1f} s",
            f"  API         {address}/",
            f"  try it      {address}/ui",
            f"  console     {address}/console",
            f"  data        {self._settings.data_dir}",
            *(f"  {note.format(address=address)}" for note in self._notes),
            "Ctrl-C stops everything.",
        ]
        return "\n" + "\n".join(lines) + "\n"


def reachable_host(settings: Settings) -> str:
    """A host name that leads from this machine to the API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared only
    return f"[{host}]" if ":" in host else host


def answers(settings: Settings, seconds: float = 1.0) -> bool:
    """Whether the API says that it lives."""
    connection = http.client.HTTPConnection(reachable_host(settings).strip("[]"), settings.port, timeout=seconds)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
