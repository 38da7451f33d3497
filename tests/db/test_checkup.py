"""What `streamrec check` and `streamrec health` find."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import checkup
from streamrec.db import Session
from streamrec.models import Recorder
from streamrec.settings import Settings


@pytest.fixture
def recorder(engine: Engine) -> Callable[..., None]:
    """Adds a recorder whose last sign of life is so many seconds old."""

    def add(host: str, *, age: float, is_stopped: bool = False) -> None:
        with Session.begin() as session:
            moment = session.scalar(sa.select(sa.func.clock_timestamp()))
            assert moment is not None
            seen = moment - timedelta(seconds=age)
            session.add(
                Recorder(
                    id=uuid4(),
                    host=host,
                    pid=1,
                    version="0",
                    heartbeat_at=seen,
                    stopped_at=seen if is_stopped else None,
                )
            )

    return add


def test_a_set_up_that_is_complete_is_found_good(settings: Settings) -> None:
    findings = {finding.subject: finding for finding in checkup.run(settings)}

    assert [finding for finding in findings.values() if not finding.is_good] == []
    assert "schema" in findings["database"].detail
    assert "children without network are held by" in findings["ffmpeg"].detail


def test_what_is_missing_is_found_and_the_rest_is_looked_at_all_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    changes = {
        "data_dir": tmp_path / "file" / "data",
        "ffmpeg": tmp_path / "none",
        "production": True,
        "database_url": "postgresql://ann:hidden@127.0.0.1:1/none",
    }
    findings = checkup.run(Settings.model_validate({**settings.model_dump(), **changes}))

    assert [finding.subject for finding in findings if finding.is_good] == []
    assert "hidden" not in repr(findings)


def test_an_api_that_is_not_there_is_not_alive(settings: Settings) -> None:
    assert not checkup.api_alive(settings.model_copy(update={"port": 1})).is_good


def test_a_recorder_lives_while_it_gives_signs_of_life(settings: Settings, recorder: Callable[..., None]) -> None:
    recorder("here", age=0)
    recorder("there", age=60)
    recorder("gone", age=0, is_stopped=True)

    alive = {host: checkup.recorder_alive(settings, host).is_good for host in ("here", "there", "gone", "never")}

    assert alive == {"here": True, "there": False, "gone": False, "never": False}
