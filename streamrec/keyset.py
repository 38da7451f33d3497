"""Pages of a query by keyset: stable while rows come and go, as quick on page 1000 as on the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.errors import Invalid

Row = sa.Row[*tuple[Any, ...]]
Select = sa.Select[*tuple[Any, ...]]
Position = tuple[Any, int]  # the sort column's value and the id of the last row seen

_POSITION: Final = "page_position"


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

    `sort` is a key of `columns`, with "-" before it for descending. Rows may have a column more at their end.

    Raises:
        Invalid: with field `sort`, if there is no such order.
    """
    name = sort.removeprefix("-")
    if name not in columns:
        raise Invalid(f"The list can be sorted by {', '.join(columns)}.", field="sort", rule="enum")
    ordered = _ordered(
        statement, columns[name], columns["id"], is_descending=sort.startswith("-"), is_first=after is None
    )
    here = {} if after is None else {"after_value": after[0], "after_id": after[1]}
    # Nothing of it is an entity: the connection makes rows in two thirds of the time that the session takes.
    rows = session.connection().execute(ordered, {"most_rows": limit + 1, **here}).all()
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], (last[0] if name == "id" else getattr(last, _POSITION), last[0]))


@lru_cache(maxsize=128)
def _ordered(
    statement: Select,
    column: sa.ColumnElement[Any],
    id_column: sa.ColumnElement[Any],
    *,
    is_descending: bool,
    is_first: bool,
) -> Select:
    """`statement` with order, bounds and length; made once, because SQLAlchemy then knows it again at a glance."""
    if not is_first:
        here = sa.tuple_(column, id_column)
        there = sa.tuple_(
            sa.bindparam("after_value", type_=column.type), sa.bindparam("after_id", type_=id_column.type)
        )
        statement = statement.where(here < there if is_descending else here > there)
    order = [id_column]
    if column is not id_column:
        statement = statement.add_columns(column.label(_POSITION))
        order.insert(0, column)
    directed = [each.desc() for each in order] if is_descending else order
    return statement.order_by(*directed).limit(sa.bindparam("most_rows", type_=sa.Integer()))
