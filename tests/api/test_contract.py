"""Schemathesis holds the live server against the contract, with all its checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_server_keeps_its_contract(api: httpx.Client, tmp_path: Path) -> None:
    """Examples, boundary values, random data and chains of calls; fixed, so that a failure repeats."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            f"{api.base_url}/openapi.json",
        ],
        env=os.environ
        | {"PYTHONPATH": str(CONFIG.parent), "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "NO_COLOR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
