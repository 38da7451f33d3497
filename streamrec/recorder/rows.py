"""What a recorder does in the database on its own behalf, which may be away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from streamrec import db
from streamrec.errors import Unavailable
from streamrec.models import GapReason, Recording
from streamrec.recorder import book

log = structlog.get_logger(__name__)


def in_session(work: Callable[[Any], object]) -> None:
    with db.Session.begin() as session:
        work(session)


def attempted(work: Callable[[], object]) -> bool:
    """Do what may fail because the database is away; whether it was done. The next round tries again."""
    try:
        work()
    except Unavailable as exc:
        log.debug("the database is away", error=exc.detail)
        return False
    except SQLAlchemyError as exc:
        level = log.debug if db.is_away(exc) else log.error
        level("the database did not take what the recorder says of itself", error=str(exc))
        return False
    except OSError as exc:
        log.error("the disk does not work", error=exc.strerror)
        return False
    return True


def known(keys: Any) -> set[str]:
    """Which of these keys a row speaks of."""
    with db.Session.begin() as session:
        return set(session.scalars(sa.select(Recording.path).where(Recording.path.in_(keys))))


def fill_holes(reason: GapReason, detail: str, age: timedelta) -> None:
    with db.Session.begin() as session:
        count = book.fill_holes(session, reason, detail, age=age)
    if count:
        log.warning("time that nothing spoke of was made a gap", gaps=count, reason=reason.value)
