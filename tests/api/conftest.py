"""Clients of the real app: what these tests see is what clients see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import sqlalchemy as sa
from connexion.spec import OpenAPISpecification
from sqlalchemy.engine import URL, Engine

from streamrec.settings import Settings
from tests.serving import serving


@pytest.fixture(scope="session", autouse=True)
def contracts_are_checked_once() -> Iterator[None]:
    """Connexion holds the contract against OpenAPI's schema for every app: 0.15 s, and it is the same contract."""
    check, seen = OpenAPISpecification._validate_spec, set[bytes]()

    def once(contract: dict[str, Any]) -> None:
        written = orjson.dumps(contract)
        if written not in seen:
            check(contract)
            seen.add(written)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenAPISpecification, "_validate_spec", staticmethod(once))
        yield


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
