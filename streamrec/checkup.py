"""Whether everything that streamrec needs is there, one finding after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from streamrec import captures, db, instance, schema
from streamrec.archive import room
from streamrec.errors import StreamrecError
from streamrec.media import binary, confinement
from streamrec.models import Recorder
from streamrec.settings import Settings, config_files, refuse_samples

LEAST_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is as it should be, and a sentence on it."""

    subject: str
    is_good: bool
    detail: str


def run(settings: Settings) -> list[Finding]:
    """Look at the settings, the data folder, ffmpeg and the database; starts an embedded server for as long."""
    looks: dict[str, Callable[[Settings], str]] = {
        "settings": _settings,
        "data folder": _data_folder,
        "free space": _free_space,
        "ffmpeg": _ffmpeg,
        "database": _database,
    }
    return [_finding(subject, look, settings) for subject, look in looks.items()]


def api_alive(settings: Settings) -> Finding:
    """Whether the API of this machine answers."""
    alive = instance.answers(settings, seconds=3.0)
    return Finding("api", alive, "The API answers." if alive else "The API does not answer.")


def recorder_alive(settings: Settings, host: str) -> Finding:
    """Whether a recorder on `host` has shown a sign of life, by the database's clock."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - sa.func.max(Recorder.heartbeat_at))
    query = sa.select(age).where(Recorder.host == host, Recorder.stopped_at.is_(None))
    engine = db.engine_for(settings, application="streamrec-health", poolclass=NullPool)
    try:
        with db.away_as_unavailable(), engine.connect() as connection:
            seconds = connection.scalar(query)
    finally:
        engine.dispose()
    if seconds is None:
        return Finding("recorder", is_good=False, detail=f"No recorder runs on {host}.")
    alive = seconds < captures.RECORDER_TTL.total_seconds()
    return Finding("recorder", alive, f"The recorder's last sign of life is {seconds:.1f} s old.")


def _finding(subject: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(subject, is_good=True, detail=look(settings))
    except StreamrecError as exc:
        return Finding(subject, is_good=False, detail=exc.detail)
    except OSError as exc:
        return Finding(subject, is_good=False, detail=f"{exc.filename or subject}: {exc.strerror}")


def _settings(settings: Settings) -> str:
    refuse_samples(settings)
    read = ", ".join(str(path) for path in config_files() if path.exists()) or "no file"
    return f"read from {read} and the environment"


def _data_folder(settings: Settings) -> str:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=settings.data_dir):
        return f"{settings.data_dir} can be written"


def _free_space(settings: Settings) -> str:
    left = room.of(settings.data_dir)
    if left.free_bytes < LEAST_FREE_BYTES:
        raise StreamrecError(f"only {left} are left for {settings.data_dir}")
    return str(left)


def _ffmpeg(settings: Settings) -> str:
    found = binary.find(settings.ffmpeg)
    return f"{found.version} at {found.path}; {confinement.found()}"


def _database(settings: Settings) -> str:
    with instance.database(settings) as engine:
        schema.require_current(engine)
        with db.away_as_unavailable(), engine.connect() as connection:
            server = connection.scalar(sa.text("SHOW server_version"))
        return f"PostgreSQL {server}, schema {schema.current(engine)}" + (
            ", embedded" if settings.is_embedded else ""
        )
