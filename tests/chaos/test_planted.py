"""A credential is found wherever it stands."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from tests import factories
from tests.chaos import world as worlds
from tests.chaos.planted import Watch
from tests.chaos.world import World
from tests.station import programs

SECRET = worlds.credentials(0)
PASSWORD = SECRET.partition(":")[2]


@pytest.fixture
def watch(world: World) -> Watch:
    world.instance.log.touch()
    return Watch(world, 1)


@contextmanager
def running(world: World, *arguments: str, **variables: str) -> Iterator[None]:
    """A process of the instance."""
    command = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()", *arguments]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, preexec_fn=programs.die_with_us)
    assert process.stdout is not None
    process.stdout.readline()
    world.instance.process = process
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_password_in_the_arguments_of_a_process_is_found(world: World, watch: Watch) -> None:
    with running(world, f"http://{SECRET}@radio.invalid/"):
        watch.processes()

    assert watch.violations == ["a planted password stands in the arguments of a process, 1 times"]


def test_a_password_in_the_environment_of_a_process_is_found(world: World, watch: Watch) -> None:
    with running(world, SOURCE=f"http://{SECRET}@radio.invalid/"):
        watch.processes()

    assert watch.violations == ["a planted password stands in the environment of a process, 1 times"]


def test_credentials_as_a_header_field_has_them_are_found(world: World, watch: Watch) -> None:
    with running(world, base64.b64encode(SECRET.encode()).decode()):
        watch.processes()

    assert watch.violations == ["a planted password stands in the arguments of a process, 1 times"]


def test_a_process_without_one_is_right(world: World, watch: Watch) -> None:
    with running(world, "http://radio.invalid/"):
        watch.processes()

    assert (watch.violations, watch.looked_at["the arguments of a process"]) == ([], 1)


def test_a_password_in_the_log_is_found(world: World, watch: Watch) -> None:
    world.instance.log.write_text(f"asked http://{SECRET}@radio.invalid/\n")
    watch.files()

    assert watch.violations == [f"a planted password stands in a file: {world.instance.log.name}, 1 times"]


@pytest.mark.parametrize("name", ["spool/recorder/journal", "run/status.json", "state"])
def test_a_password_in_a_file_below_the_data_folder_is_found(world: World, watch: Watch, name: str) -> None:
    path = world.instance.data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PASSWORD)
    watch.files()

    assert watch.violations == [f"a planted password stands in a file: {Path(name).name}, 1 times"]


def test_a_password_in_an_answer_is_found(world: World, watch: Watch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=PASSWORD if request.url.path == "/channel/1/status" else "")

    world.instance.client.close()
    world.instance.client = httpx.Client(
        transport=httpx.MockTransport(answer), base_url="http://streamrec.invalid"
    )
    watch.answers()

    assert watch.violations == ["a planted password stands in an answer of the API, 1 times"]


def test_a_password_in_a_table_is_found(engine: Engine, watch: Watch) -> None:
    with db.Session.begin() as session:
        factories.channel(session, name=f"asks for {PASSWORD}")
    watch.tables(engine)

    assert watch.violations == ["a planted password stands in the table channel, 1 times"]


def test_a_password_in_the_table_that_keeps_them_is_right(engine: Engine, watch: Watch) -> None:
    with db.Session.begin() as session:
        factories.channel(session, url=f"http://{SECRET}@stream.invalid/")
        assert session.scalar(sa.text("SELECT count(*) FROM channel_credential")) == 1
    watch.tables(engine)

    assert watch.violations == []
