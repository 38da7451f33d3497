"""F60: days on which clocks are changed, and hosts that live elsewhere: everything here is UTC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

from streamrec import coverage
from streamrec.timeline import Span
from tests import factories as make

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"])
def host_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where this process believes to be."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("day", "seconds"),
    [((2026, 3, 29), 82_800), ((2026, 10, 25), 90_000), ((2026, 10, 24), 86_400)],
    ids=["spring", "autumn", "any"],
)
def test_a_local_day_is_as_long_as_it_is(
    session: Session, host_zone: str, day: tuple[int, int, int], seconds: int
) -> None:
    """23, 25 or 24 hours, wherever the host is; whoever wants a local day gives its bounds with their offsets."""
    first = datetime(*day, tzinfo=BERLIN)
    start, end = (datetime.fromisoformat(at.isoformat()) for at in (first, first + timedelta(days=1)))
    zero = start - make.T0
    channel = make.channel(session, expected_from=start)
    for hour in range(round((end - start) / timedelta(hours=1))):
        begin = zero.total_seconds() + hour * 3600
        make.captured(session, channel.id, begin, begin + 3600)

    account = coverage.account(session, channel.id, Span(start, end))

    totals = {kind: length.total_seconds() for kind, length in account.durations().items() if length}
    assert totals == {"recorded": seconds}
