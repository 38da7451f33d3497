"""Pages of a query by keyset: stable while rows come and go, as quick on page 1000 as on the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.errors import Invalid

Row = sa.Row[*tuple[Any, ...]]
Select = sa.Select[*tuple[Any, ...]]
Position = tuple[Any, int]  # the sort column's value and the id of the last row seen


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where the next page begins, if there is one."""

    rows: Sequence[Row]
    after: Position | None


def page(
    session: Session,
    statement: Select,
    *,
    columns: Mapping[str, sa.ColumnElement[Any]],
    sort: str,
    after: Position | None,
    limit: int,
) -> Page:
    """One page of `statement`, whose first column is the id, ordered by `sort` and then by id.

    `sort` is a key of `columns`, with "-" before it for descending; the statement must select that column.

    Raises:
        Invalid: with field `sort`, if there is no such order.
    """
    name = sort.removeprefix("-")
    if name not in columns:
        raise Invalid(f"The list can be sorted by {', '.join(columns)}.", field="sort", rule="enum")
    column, id_column = columns[name], columns["id"]
    if after is not None:
        here = sa.tuple_(column, id_column)
        there = sa.tuple_(sa.literal(after[0], column.type), sa.literal(after[1], id_column.type))
        statement = statement.where(here < there if sort.startswith("-") else here > there)
    order = [column, id_column] if name != "id" else [id_column]
    if sort.startswith("-"):
        order = [each.desc() for each in order]
    rows = session.execute(statement.order_by(*order).limit(limit + 1)).all()
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], (getattr(last, name), last[0]))
