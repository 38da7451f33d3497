"""Cursors: opaque to clients, and harmless in the hands of those who look inside."""

from __future__ import annotations

from datetime import datetime

import pytest

from streamrec.errors import Invalid
from streamrec.handlers import _query
from tests.fakes import NOON


def test_a_cursor_holds_its_position() -> None:
    cursor = _query.cursor_for("gaps:start_time", NOON, 7)

    assert _query.position_in(cursor, "gaps:start_time", datetime, int) == (NOON, 7)


@pytest.mark.parametrize(
    "forged", ["2026-01-01T00:00:00", "2026-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "x"]
)
def test_a_forged_moment_is_refused_before_the_database_sees_it(forged: str) -> None:
    cursor = _query.cursor_for("gaps:start_time", forged, 7)

    with pytest.raises(Invalid, match="cursor"):
        _query.position_in(cursor, "gaps:start_time", datetime, int)
