"""The canary in a whole recorder: it sings, is recorded, compared and thrown away."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import canary, channels, db
from streamrec.channel_fields import checked
from streamrec.clock import now
from streamrec.models import Canary, Channel, Recording
from streamrec.recorder.canary import Watch
from streamrec.settings import Settings
from tests import factories as make
from tests.recorder.test_worker import recorder, recordings, scalar, wait
from tests.station import programs


def channel_id() -> int | None:
    return scalar(sa.select(Channel.id).where(Channel.keyname == canary.KEYNAME))


def hurry() -> None:
    with db.Session.begin() as session:
        channels.update(session, channel_id(), checked({"segment_seconds": 5}))


def test_a_recorder_proves_itself(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    """No other address of loopback is let through with it."""
    port = programs.free_port()
    with recorder(settings, tmp_path / "log", STREAMREC_CANARY="true", STREAMREC_CANARY_PORT=str(port)):
        wait(channel_id, "there is a canary", 15)
        hurry()
        wait(lambda: recordings() >= 2, "it is recorded", 25)
        wait(lambda: (scalar(sa.select(Canary.frames)) or 0) > 100, "it is compared", 25)

    assert scalar(sa.select(Canary.faults)) == 0, scalar(sa.select(Canary.detail))


def test_an_old_canary_is_thrown_away_once_it_was_compared(engine: Engine, settings: Settings) -> None:
    with db.Session.begin() as session:
        made = make.channel(session, keyname=canary.KEYNAME)
        kept, old = (now() - canary.KEPT + timedelta(minutes=each) for each in (5, -5))
        for start in (kept, old):
            since = (start - make.T0).total_seconds()
            make.captured(session, made.id, since, since + 10)
        canary.note(session, made.id, canary.Verdict(1, 0, None), now())

    Watch(settings, uuid4())._tidy(made.id)

    assert scalar(sa.select(sa.func.array_agg(Recording.start_time))) == [kept]
