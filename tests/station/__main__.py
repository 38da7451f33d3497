"""`python -m tests.station --mounts 200`: the station alone, commanded over HTTP, until it is interrupted."""

from __future__ import annotations

import signal

import click

from tests.station import control, faulty, hls
from tests.station.live import Live
from tests.station.mount import BURST_FRAMES
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedPictures, NumberedSound


@click.command()
@click.option("--mounts", default=20, show_default=True, type=click.IntRange(1))
@click.option("--sounds", default=0, show_default=True, help="Presentations of AAC in HLS.")
@click.option("--pictures", default=0, show_default=True, help="Presentations of television in HLS.")
@click.option("--port", default=0, help="Of the commands; any free one, if not given.")
@click.option("--burst-frames", default=BURST_FRAMES, show_default=True, help="Of 24 ms, sent to who connects.")
def main(mounts: int, sounds: int, pictures: int, port: int, burst_frames: int) -> None:
    """Mounts m0, m1 and so on, each on a port of its own, and behind them the presentations l0, l1 and so on."""
    with faulty.running() as station, hls.running() as origin:
        for number in range(mounts):
            station.add(f"m{number}", Numbered(number), burst_frames=burst_frames, own_door=True)
        played = [NumberedSound if number < sounds else NumberedPictures for number in range(sounds + pictures)]
        lives = [Live(f"l{number}", kind(number), station.journal) for number, kind in enumerate(played)]
        origin.lives.update({live.name: live for live in lives})
        with control.controlled(station, port, origin=origin, lives=lives) as commands:
            click.echo(f"commands at http://127.0.0.1:{commands}/")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
