"""Clients of the real app: what these tests see is what clients see."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

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
