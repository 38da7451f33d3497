"""Lists that clients page through: the place that a cursor names, and the answer with the next cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamrec import keyset
from streamrec.handlers import _query, _reply
from streamrec.handlers._reply import Reply


@dataclass(frozen=True, slots=True)
class Listing:
    """A list in one order; `kinds` holds the types of the columns to sort by, where they are not text.

    A cursor is good for the list and the order that gave it.
    """

    name: str
    sort: str
    kinds: Mapping[str, type]

    def after(self, cursor: str | None) -> keyset.Position | None:
        """Where the page asked for begins.

        Raises:
            Invalid: the cursor is damaged or comes from another list.
        """
        kind = self.kinds.get(self.sort.removeprefix("-"), str)
        position: keyset.Position | None = _query.position_in(cursor, self._seal, kind, int)
        return position

    def reply(self, page: keyset.Page, present: Callable[[keyset.Row], Any]) -> Reply:
        """The page, with a link to the next if there is one."""
        following = None if page.after is None else _query.cursor_for(self._seal, *page.after)
        return _reply.listed([present(row) for row in page.rows], next_cursor=following)

    @property
    def _seal(self) -> str:
        return f"{self.name}:{self.sort}"
