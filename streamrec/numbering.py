"""The ids of resources: given in sequence, or chosen by clients ahead of it; never used again."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.orm import Session

HIGHEST_CHOSEN_ID: Final = 2**31 - 1  # ids that clients choose leave the sequence room up to JSON's 2**53


def last_given(session: Session, table: type[Any]) -> int:
    """The highest id of a table so far, of a row that may be gone; 0 if there never was one."""
    return session.scalar(sa.select(_last_value(table))) or 0


def advance(session: Session, table: type[Any], chosen_id: int) -> None:
    """Move a table's sequence past an id that a client chose."""
    moved = sa.func.setval(_sequence(table), chosen_id)
    session.execute(sa.select(moved).where(_last_value(table) < chosen_id))


def _sequence(table: type[Any]) -> sa.ColumnElement[str]:
    return sa.func.pg_get_serial_sequence(table.__tablename__, "id")


def _last_value(table: type[Any]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.pg_sequence_last_value(sa.cast(_sequence(table), REGCLASS)), 0)
