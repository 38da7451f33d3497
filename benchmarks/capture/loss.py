"""What is lost when the recorder is killed, and how late its event loop was until then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import click
import httpx

_LAG = "streamrec_recorder_loop_lag_seconds "


def report(base_url: str, recorders: Iterable[int], archive: Path) -> None:
    """Kill the recorders and say how long before that each file was last written to."""
    text = httpx.get(f"{base_url}/metrics", timeout=10).text
    lag = next((line.removeprefix(_LAG) for line in text.splitlines() if line.startswith(_LAG)), "unknown")
    for pid in recorders:
        os.kill(pid, signal.SIGKILL)
    killed = time.time()
    ages = [killed - path.stat().st_mtime for path in archive.rglob("*.part")]
    if ages:
        click.echo(f"p99 of the event loop's lag: {lag} s; kill -9: seconds since the last write "
                   f"{fmean(ages):.2f} on average, {max(ages):.2f} at most, {len(ages)} files")  # fmt: skip
