"""Clients of the real app: what these tests see is what clients see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from streamrec.settings import Settings
from tests.serving import serving


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """A client of an open API over an empty database."""
    with serving(settings.model_copy(update={"auth": "open"})) as client:
        yield client


@pytest.fixture
def closed_api(settings: Settings) -> Iterator[httpx.Client]:
    """A client, without a key, of an API that asks for one."""
    with serving(settings.model_copy(update={"auth": "required"})) as client:
        yield client


@pytest.fixture(scope="module")
def shared_api(
    server: URL, maintenance: Engine, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """One open API for all tests of a module that do not mind each other's rows."""
    name = f"streamrec_module_{uuid4().hex[:8]}"
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    address = server.set(database=name).render_as_string(hide_password=False)
    data_dir: Path = tmp_path_factory.mktemp("data")
    with serving(Settings(data_dir=data_dir, database_url=address, auth="open")) as client:
        yield client
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
