"""F61: an API whose process may open nothing more."""

from __future__ import annotations

import resource
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

from tests.e2e import door

CLIENTS = 12


def test_an_api_without_descriptors_answers_late_or_503_and_lives_on(database: str, tmp_path: Path) -> None:
    """No request gets a 500; once there are descriptors the same process answers all."""
    variables = {"DATABASE_URL": database, "STREAMREC_AUTH": "open", "STREAMREC_API_WORKERS": "1"}
    with door.instance(tmp_path / "data", "api-dev", **variables) as instance:
        instance.await_health()
        family = psutil.Process(instance.process.pid).children(recursive=True)
        (worker,) = [process for process in family if not process.children()]  # of gunicorn

        def ask(_: int) -> int:
            try:
                return httpx.get(f"{instance.address}/channel", timeout=2).status_code
            except httpx.TransportError:
                return 0

        before = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        used = {int(entry.name) for entry in Path(f"/proc/{worker.pid}/fd").iterdir()}
        lowest = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (lowest + 1, before[1]))  # one more
        with ExitStack() as idle, ThreadPoolExecutor(CLIENTS) as threads:
            for _ in range(2):  # who come first have all that there are, and say nothing
                idle.enter_context(socket.create_connection(("127.0.0.1", instance.port)))
            short = Counter(threads.map(ask, range(CLIENTS)))
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, before)
        with ThreadPoolExecutor(CLIENTS) as threads:
            after = Counter(threads.map(ask, range(CLIENTS)))

        assert set(short) <= {0, 200, 503}
        assert short[200] < CLIENTS  # else it was no trial
        assert after == {200: CLIENTS}
        assert worker.is_running()
