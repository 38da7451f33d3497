"""Whether the database's schema is the one this code was written for, and how it becomes so."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.errors import Conflict, DatabaseAway, NotReady
from streamrec.settings import PROJECT

if TYPE_CHECKING:  # a recorder only asks whether the schema is current, and Alembic takes ten megabytes
    from alembic.config import Config
    from alembic.operations.ops import MigrationScript
    from alembic.runtime.migration import MigrationContext

log = structlog.get_logger(__name__)

_REVISION: Final = re.compile(r'^(down_)?revision = (?:"(\w+)"|None)$', re.MULTILINE)


def configuration(engine: Engine | None = None) -> Config:
    """Alembic's configuration, bound to `engine` rather than to the settings of the process."""
    from alembic.config import Config

    config = Config(PROJECT / "alembic.ini")
    config.attributes["engine"] = engine
    return config


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether `models.py` speaks of a table; procrastinate's are in the same schema and not ours to compare."""
    return kind != "table" or not str(name).startswith("procrastinate_")


def wanted() -> str | None:
    """The newest revision in `migrations/`: the one on which no other is built."""
    (newest,) = _revisions() - _revisions(built_on=True)
    return newest


def _revisions(*, built_on: bool = False) -> set[str]:
    """All revisions in `migrations/`, or those on which others are built."""
    texts = [path.read_text() for path in (PROJECT / "migrations" / "versions").glob("*.py")]
    found = [match for text in texts for match in _REVISION.finditer(text)]
    return {match[2] for match in found if match[2] and bool(match[1]) is built_on}


def current(engine: Engine) -> str | None:
    """The revision of the database, or None if it has no schema yet.

    Raises:
        DatabaseAway: PostgreSQL does not answer.
    """
    with db.away_as_unavailable(), engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def require_current(engine: Engine) -> None:
    """Refuse to work on a schema that is older or newer than this code.

    Raises:
        NotReady: it is; the text names the command to run.
        DatabaseAway: PostgreSQL does not answer.
    """
    found, needed = current(engine), wanted()
    if found == needed:
        return
    if found is not None and found not in _revisions():
        raise NotReady(
            f"The database's schema {found!r} is newer than this streamrec ({needed!r}). Update streamrec."
        )
    state = "has no schema yet" if found is None else f"has the schema {found!r}, and {needed!r} is needed"
    raise NotReady(f"The database {state}. Run: ./run.sh upgrade")


def await_current(engine: Engine) -> None:
    """Like `require_current`, but wait for a database that is away: a recorder starts before its PostgreSQL may.

    Raises:
        NotReady: the schema is not current; the text names the command to run.
    """
    told = False
    while True:
        try:
            return require_current(engine)
        except DatabaseAway:
            if not told:
                log.warning("the database does not answer; waiting for it")
            told = True
            time.sleep(1.0)


def upgrade(engine: Engine) -> None:
    """Bring the schema to the newest revision; several processes may try at once."""
    from alembic import command

    found = current(engine)
    command.upgrade(configuration(engine), "head")
    if found != wanted():
        log.info("schema upgraded", old=found, new=wanted())


def draft(engine: Engine, message: str) -> None:
    """Write a new migration from what `models.py` has and the database lacks.

    Raises:
        Conflict: it lacks nothing.
    """
    from alembic import command

    written = command.revision(
        configuration(engine), message=message, autogenerate=True, process_revision_directives=_drop_empty
    )
    if not written:
        raise Conflict("The database has all that the models have: there is nothing to migrate.")


def _drop_empty(_context: MigrationContext, _revision: object, scripts: list[MigrationScript]) -> None:
    if all(operations.is_empty() for operations in scripts[0].upgrade_ops_list):
        scripts.clear()
