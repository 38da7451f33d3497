"""`python -m tests.sim.start`: how long a recorder takes from its process's start until all radios are recorded.

One recorder with the database and the station of `tests.sim.real`; the channels are there before it starts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from tests.sim.figures import distribution
from tests.sim.real import SETTLED_SECONDS, Site


def started(folder: Path, channels: int, hosts: int) -> list[float]:
    """When each channel was recorded, in seconds after the recorder's process was begun."""
    with ExitStack() as stack:
        site = Site(stack, folder, channels, hosts)
        site.add_channels(range(channels))
        began = time.time()
        site.start_recorder()
        site.wait_for_all(channels)
        time.sleep(SETTLED_SECONDS)
        return sorted(at - began for at in site.running_since(list(site.holders())))


@click.command()
@click.option("--channels", default=200, show_default=True, type=click.IntRange(1, 500))
@click.option("--hosts", default=1, show_default=True, type=click.IntRange(1), help="That the channels share.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1), help="How many starts.")
@click.option("--in", "parent", type=click.Path(path_type=Path), help="Where its folder is made, as on a tmpfs.")
def main(channels: int, hosts: int, times: int, parent: Path | None) -> None:
    """Prints one JSON object for each start; `max` is when all were recorded. Takes about half a minute."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave nothing running
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="streamrec-start-", dir=parent) as folder:
            found = distribution(started(Path(folder), channels, hosts))
        click.echo(json.dumps({"channels": channels, "hosts": hosts, **found, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
