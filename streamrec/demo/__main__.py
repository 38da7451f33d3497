"""`python -m streamrec.demo --host HOST --port PORT`: serve both stations until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import click

from streamrec import demo, settings
from streamrec.clock import SystemClock
from streamrec.demo import http, radio, television
from streamrec.errors import StreamrecError
from streamrec.media import binary


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8001, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 chooses one."
)
def main(host: str, port: int) -> None:
    """Serve a radio and a television that need no internet, until SIGTERM or Ctrl-C."""
    try:
        asyncio.run(_serve(host, port))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (OSError, StreamrecError) as exc:
        sys.exit(f"streamrec demo: {exc}")


async def _serve(host: str, port: int) -> None:
    ffmpeg = binary.find(settings.load().ffmpeg).path
    clock = SystemClock()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)  # Ctrl-C cancels, as asyncio.run does
    with tempfile.TemporaryDirectory(prefix="streamrec-demo-") as folder:
        picture = television.Television(ffmpeg, Path(folder), clock)
        broadcast = asyncio.create_task(picture.broadcast())
        try:
            programme = await asyncio.to_thread(radio.render, ffmpeg)
            server = await http.serve(_routes(radio.Radio(programme, clock), picture), host, port)
            _announce(server)
            await stop.wait()
            server.close()
        finally:
            broadcast.cancel()
            await asyncio.gather(broadcast, return_exceptions=True)


def _routes(sound: radio.Radio, picture: television.Television) -> http.Handler:
    """Which station a path belongs to."""
    folder = demo.TELEVISION_PATH.rpartition("/")[0] + "/"

    async def route(request: http.Request, response: http.Response) -> None:
        if request.path == demo.RADIO_PATH:
            await sound.listen(request, response)
        elif request.path.startswith(folder):
            await picture.watch(request, response)
        else:
            await response.whole(b"", "text/plain", "404 Not Found")

    return route


def _announce(server: asyncio.Server) -> None:
    host, port = server.sockets[0].getsockname()[:2]
    for station in demo.stations(f"http://{host}:{port}"):
        click.echo(f"{station['name']}: {station['url']}")


if __name__ == "__main__":
    main()
