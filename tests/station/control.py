"""The station's commands over HTTP, for a soak that runs it as a process of its own.

`GET /mounts` lists addresses; `GET /journal` gives the truth as JSON lines. `POST /fault` takes
`{"mount": "m0", "fault": "STALL"}` (null heals), `POST /hang_up` `{"mount": "m0", "reset": true}`, `POST /title`
`{"mount": "m0", "title": "..."}`, `POST /shut` and `POST /reopen` `{"mount": "m0"}`, `POST /refuse`
`{"mount": "m0", "status": "503 Service Unavailable", "headers": {"Retry-After": "7"}, "body": ""}`.

A presentation of HLS is a mount, too: `POST /fault` `{"mount": "l0", "fault": "FROZEN"}`, and `POST /reset`,
`/jump`, `/step_back` and `/break_off` `{"mount": "l0"}`, see `tests.station.live`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.station.faulty import Station
from tests.station.hls import Origin
from tests.station.live import Live, LiveFault
from tests.station.mount import Fault, Mount, Refusal


class _Handler(BaseHTTPRequestHandler):
    station: Station
    origin: Origin | None
    lives: Mapping[str, Live]

    def do_GET(self) -> None:
        if self.path == "/mounts":
            self._answer(200, json.dumps(self._urls()))
        elif self.path == "/journal":
            journal = self.station.journal
            rows = [*map(asdict, list(journal.events)), *map(asdict, list(journal.stretches))]
            self._answer(200, "".join(json.dumps(row, default=str) + "\n" for row in rows))
        else:
            self._answer(404, "")

    def _urls(self) -> dict[str, str]:
        urls = {mount.name: self.station.url(mount.name) for mount in self.station.mounts.values()}
        if self.origin is not None:
            urls |= {name: self.origin.url(f"{name}/live.m3u8") for name in self.lives}
        return urls

    def do_POST(self) -> None:
        try:
            order = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if order["mount"] in self.lives:
                _obey_live(self.path, self.lives[order["mount"]], order)
            else:
                _obey(self.station, self.path, self.station.mounts[f"/{order['mount']}"], order)
        except (KeyError, ValueError, TypeError) as error:
            self._answer(400, str(error))
        else:
            self._answer(204, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
        """Say nothing."""


def _obey(station: Station, path: str, mount: Mount, order: dict[str, Any]) -> None:
    """Raises KeyError for what is no command."""
    commands = {
        "/fault": lambda: setattr(mount, "fault", Fault[order["fault"]] if order["fault"] else None),
        "/hang_up": lambda: mount.hang_up(reset=bool(order.get("reset"))),
        "/title": lambda: setattr(mount, "title", str(order["title"])),
        "/shut": lambda: station.shut(mount),
        "/reopen": lambda: station.reopen(mount),
        "/refuse": lambda: _refuse(mount, order),
    }
    commands[path]()


def _obey_live(path: str, live: Live, order: dict[str, Any]) -> None:
    """Raises KeyError for what is no command."""
    commands = {
        "/fault": lambda: setattr(live, "fault", LiveFault[order["fault"]] if order["fault"] else None),
        "/reset": live.reset,
        "/jump": live.jump,
        "/step_back": live.step_back,
        "/break_off": live.break_off,
    }
    commands[path]()


def _refuse(mount: Mount, order: dict[str, Any]) -> None:
    mount.refusal = Refusal(
        str(order["status"]), dict(order.get("headers", {})), str(order.get("body", "")).encode()
    )
    mount.fault = Fault.REFUSE


@contextmanager
def controlled(
    station: Station, port: int = 0, *, origin: Origin | None = None, lives: Sequence[Live] = ()
) -> Iterator[int]:
    """The commands on a loopback port (0 chooses one), which is given; `origin` serves the `lives`."""
    bound = {"station": station, "origin": origin, "lives": {live.name: live for live in lives}}
    handler = type("_Bound", (_Handler,), bound)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
