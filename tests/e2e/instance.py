"""A `./run.sh` that records: asked over its public API, killed, and started again."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.e2e import door
from tests.station import programs


class Instance(door.Instance):
    """Started, asked over HTTP, killed and started again."""

    def __init__(self, folder: Path, reachable: Iterable[str], **variables: str) -> None:
        """`reachable` are the `host:port` that captures may reach although they are loopback."""
        super().__init__(
            folder / "data",
            STREAMREC_EGRESS_ALLOW=",".join(reachable),
            STREAMREC_AUTH="open",
            STREAMREC_API_WORKERS="1",
            STREAMREC_LOG_FORMAT="json",
            STREAMREC_RESTART_CAP_SECONDS="0.5",
            STREAMREC_RETRY_CAP_SECONDS="2",  # a test cannot wait a quarter of a minute for the dice
            **variables,
        )
        self.client = httpx.Client(base_url=self.address, timeout=10)

    def start(self) -> None:
        """Return when the API and a recorder are there."""
        super().start()
        self.await_health()
        programs.eventually(self.recorders, self.start_seconds, f"the recorder is up; see {self.log}")

    def close(self) -> None:
        """Stop for good."""
        super().close()
        self.client.close()

    # --- processes ----------------------------------------------------------------------------------------

    def recorders(self) -> list[psutil.Process]:
        """The recorder process, if it runs."""
        return _recorders_of(psutil.Process(self.process.pid))

    def stand_ins(self) -> list[psutil.Process]:
        """Recorders that take over for a moment, while the one that started them begins anew."""
        return [child for recorder in self.recorders() for child in _recorders_of(recorder)]

    def kill_recorder(self) -> list[psutil.Process]:
        """`kill -9` of the recorder; returns the children that it had."""
        (recorder,) = self.recorders()
        children = recorder.children(recursive=True)
        recorder.kill()
        return children

    def kill_all(self) -> list[psutil.Process]:
        """`kill -9` of every process of ours and of PostgreSQL, but not of ffmpeg; returns the ffmpegs."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        captures = [process for process in processes if "ffmpeg" in process.name()]
        doomed = [process for process in [*processes, *self._postgres()] if process not in captures]
        self.process.send_signal(signal.SIGSTOP)  # it starts nothing again, and its lifeline holds
        for process in doomed:
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        return captures

    def _postgres(self) -> list[psutil.Process]:
        files = self.data.rglob("postmaster.pid")
        pids = [int(path.read_text().split()[0]) for path in files]
        return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]

    # --- the public API -----------------------------------------------------------------------------------

    def get(self, path: str, **parameters: str | int) -> Any:
        """A JSON answer."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def add_channel(self, keyname: str, url: str, channel_type: str = "radio", **fields: object) -> int:
        """The id of a new channel with segments of five seconds, and with these fields."""
        body = {
            "name": keyname,
            "keyname": keyname,
            "type": channel_type,
            "url": url,
            "segment_seconds": 5,
            **fields,
        }
        answer = self.client.post("/channel", json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def change(self, channel: int, **fields: object) -> None:
        """PATCH a channel."""
        answer = self.client.patch(f"/channel/{channel}", json=fields)
        assert answer.status_code == 200, answer.text

    def status(self, channel: int) -> dict[str, Any]:
        """What its capture is doing."""
        return dict(self.get(f"/channel/{channel}/status"))

    def recordings(self, channel: int) -> list[dict[str, Any]]:
        """Its recordings in order of time."""
        return list(self.get(f"/channel/{channel}/recordings", limit=1000))

    def gaps(self, channel: int) -> list[dict[str, Any]]:
        """Its gaps in order of time."""
        return list(self.get(f"/channel/{channel}/gaps", limit=1000))

    def coverage(self, channel: int, since: str) -> dict[str, Any]:
        """The account of its time up to now."""
        return dict(self.get(f"/channel/{channel}/coverage", **{"from": since}))

    def media(self, recording: dict[str, Any], folder: Path) -> Path:
        """Download a recording; its size and SHA-256 are what the row says."""
        answer = self.client.get(f"/recording/{recording['id']}/media")
        assert answer.status_code == 200, answer.text
        assert len(answer.content) == recording["size_bytes"]
        assert hashlib.sha256(answer.content).hexdigest() == recording["sha256"]
        path = folder / f"{recording['id']}.{recording['format']}"
        path.write_bytes(answer.content)
        return path

    # --- waiting ------------------------------------------------------------------------------------------

    def await_state(self, channel: int, state: str, seconds: float = 20) -> None:
        """Until the capture is in a state."""
        programs.eventually(
            lambda: self.status(channel)["state"] == state, seconds, f"channel {channel} is {state}", every=0.2
        )

    def await_recordings(self, channel: int, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """Until a channel has so many recordings."""
        return programs.eventually(
            lambda: found if len(found := self.recordings(channel)) >= count else None,
            seconds,
            f"channel {channel} has {count} recordings",
            every=0.2,
        )  # type: ignore[return-value]

    def await_account(self, channel: int, since: str) -> dict[str, Any]:
        """The account of a channel that is no longer recorded, once its last rows have come."""
        return programs.eventually(
            lambda: found if (found := self.coverage(channel, since))["totals"]["pending"]["seconds"] == 0 else {},
            10,
            f"the account of channel {channel} is complete",
            every=0.2,
        )


def _recorders_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in process.children() if _command(child)[-2:] == ["streamrec", "recorder"]]
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie is one too
        return []


def instant(text: str) -> datetime:
    """An instant as the API writes it."""
    return datetime.fromisoformat(text)
