"""Clients made from the served contract have real types and work."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from streamrec.settings import PROJECT
from tests.station import programs

SDK = PROJECT / "tests" / "sdk"
BIN = Path(sys.executable).parent


@pytest.fixture
def sdk(api: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes from what the live server serves."""
    subprocess.run(
        [
            BIN / "openapi-python-client",
            "generate",
            "--url",
            f"{api.base_url}/openapi.json",
            "--output-path",
            "sdk",
        ],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},  # it formats with ruff
        check=True,
        capture_output=True,
    )
    monkeypatch.syspath_prepend(tmp_path / "sdk")
    yield importlib.import_module("streamrec_client")
    for name in [name for name in sys.modules if name.startswith("streamrec_client")]:
        del sys.modules[name]


def test_the_python_client_drives_the_live_server(api: httpx.Client, sdk: ModuleType) -> None:
    """Create, list, change, refuse, delete: each through generated functions, with generated classes."""
    models = importlib.import_module("streamrec_client.models")
    channels = importlib.import_module("streamrec_client.api.channels")
    operation = {
        name: importlib.import_module(f"{channels.__name__}.channels_{name}")
        for name in ("create_channel", "list_channels", "update_channel", "get_channel", "delete_channel")
    }
    draft = models.NewChannel(
        name="RastaPank",
        keyname="gr-rstpk-1",
        type_=models.ChannelType.RADIO,
        url="http://198.41.0.4:8000/uoc_64.mp3",
    )
    with sdk.Client(base_url=str(api.base_url)) as client:
        made = operation["create_channel"].sync(client=client, body=draft)
        listed = operation["list_channels"].sync(client=client, type_=models.ChannelType.RADIO)
        patch = models.ChannelPatch(name="Pank")
        changed = operation["update_channel"].sync(made.id, client=client, body=patch)
        refused = operation["create_channel"].sync(client=client, body=draft)
        operation["delete_channel"].sync_detailed(made.id, client=client)
        gone = operation["get_channel"].sync(made.id, client=client)

    assert isinstance(made, models.Channel)
    assert [channel.id for channel in listed] == [made.id]
    assert changed.name == "Pank"
    assert isinstance(refused, models.Problem)
    assert refused.type_ == "urn:streamrec:problem:conflict"
    assert isinstance(gone, models.Problem)


def test_the_contract_keeps_its_component_names(api: httpx.Client) -> None:
    contract = api.get("/openapi.json").json()
    body = contract["paths"]["/channel"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert body == {"$ref": "#/components/schemas/NewChannel"}


def test_json_and_yaml_are_the_same_contract(api: httpx.Client) -> None:
    import yaml

    assert yaml.safe_load(api.get("/openapi.yaml").text) == api.get("/openapi.json").json()


@pytest.mark.slow
def test_typescript_gets_named_types_that_compile(api: httpx.Client, tmp_path: Path) -> None:
    """openapi-typescript and a client of openapi-fetch; their exact versions are in tests/sdk/package.json."""
    npm = programs.needed("npm", "npm")
    for name in ("package.json", "consumer.ts"):
        shutil.copy(SDK / name, tmp_path)
    run([npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"], tmp_path)
    (tmp_path / "openapi.json").write_text(json.dumps(api.get("/openapi.json").json()))

    generate = ["node_modules/.bin/openapi-typescript", "openapi.json", "-o", "api.ts"]
    run([*generate, "--default-non-nullable=false"], tmp_path)  # a field with a default may be left out

    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext"]
    run(["node_modules/.bin/tsc", *options, "--moduleResolution", "bundler", "consumer.ts"], tmp_path)


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
