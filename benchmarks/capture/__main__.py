"""`python -m benchmarks.capture`: record N channels in every way at once, and print what each way costs."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.capture import methods, origins, report
from streamrec import clock
from streamrec.media import binary

REFERENCE = "ffmpeg (as streamrec's)"
SPARE_SECONDS = 60


@click.command()
@click.option("--channels", default=20, show_default=True, type=click.IntRange(1, 1000), help="Captures a method.")
@click.option("--seconds", default=20, show_default=True, type=click.IntRange(5), help="Length of a window.")
@click.option(
    "--windows", default=3, show_default=True, type=click.IntRange(3), help="How many, one after another."
)
@click.option("--warm-up", default=20, show_default=True, type=click.IntRange(0), help="Seconds before the first.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(origins.KINDS)), help="Default: all.")
@click.option("--method", "chosen", multiple=True, help="ffmpeg is always there. Default: all that are installed.")
def main(
    channels: int, seconds: int, windows: int, warm_up: int, kinds: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    """Record the same sources with streamrec, plain ffmpeg processes and streamripper side by side."""
    click.echo(f"{clock.now():%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {platform.platform()}, "
               f"ffmpeg {binary.find().version}; N = {channels}, {windows} windows of {seconds} s")  # fmt: skip
    for kind in kinds or tuple(origins.KINDS):
        with tempfile.TemporaryDirectory(prefix="streamrec-benchmark-") as folder:
            results = _measured(kind, Path(folder), channels, seconds, windows, warm_up, chosen)
        click.echo(f"\n{kind}, load average {os.getloadavg()[0]:.2f}\n\n{report.table(results, REFERENCE)}")


def _measured(
    kind: str, folder: Path, channels: int, seconds: int, windows: int, warm_up: int, chosen: tuple[str, ...]
) -> dict[str, list[report.Window]]:
    """All methods run from before the first window until after the last."""
    starts = {
        name: start for name, start in methods.available(kind).items() if not chosen or name in {"ffmpeg", *chosen}
    }
    (folder / "origin").mkdir()
    with ExitStack() as stack:
        length = methods.UP_SECONDS + warm_up + windows * seconds + SPARE_SECONDS + channels
        source = stack.enter_context(origins.KINDS[kind](folder / "origin", length))
        running: list[methods.Method] = []
        for name, start in starts.items():
            (folder / name).mkdir()
            running += stack.enter_context(start(source, channels, folder / name))
        time.sleep(warm_up)
        return _windows(running, source, channels, seconds, windows)


def _windows(
    running: list[methods.Method], source: origins.Source, channels: int, seconds: int, windows: int
) -> dict[str, list[report.Window]]:
    results: dict[str, list[report.Window]] = {method.name: [] for method in running}
    before = {method.name: method.read() for method in running}
    for _ in range(windows):
        time.sleep(seconds)
        after = {method.name: method.read() for method in running}
        for name, taken in results.items():
            taken.append(
                report.window(
                    before[name], after[name], channels=channels, bytes_per_second=source.bytes_per_second
                )
            )
        before = after
    return results


if __name__ == "__main__":
    main()
