"""The direction of imports is a rule of the project, written in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from streamrec.settings import PROJECT


def test_imports_keep_to_the_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")

    told = subprocess.run([linter, "--no-logo"], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout
