"""Requests per second and p99 of `GET /channel` (100 rows) and `POST /channel`, beside plain Flask and FastAPI.

    DATABASE_URL=postgresql://... python -m benchmarks.api.run [--windows 3] [--seconds 5]

Needs the Debian package wrk, and for the FastAPI row `pip install fastapi`. One gunicorn worker each; the
windows of all servers are interleaved, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import URL, make_url

from streamrec import schema

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
CONNECTIONS = 16
ROWS = 100
UVICORN = ["--worker-class", "uvicorn_worker.UvicornWorker"]
SERVERS = {
    "streamrec": ["--config", "python:streamrec.serving"],  # as `./run.sh api` serves it
    "flask": ["benchmarks.api.peers:flask_app", "--worker-class", "gthread", "--threads", str(CONNECTIONS)],
    "fastapi": ["benchmarks.api.peers:fastapi_app", *UVICORN],
}


@dataclass
class Figures:
    """What the windows of one server gave."""

    per_second: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def line(self, name: str, beside: Figures) -> str:
        """A row of the table; the ratio is the median of the ratios within each round."""
        ratios = [mine / theirs for mine, theirs in zip(self.per_second, beside.per_second, strict=True)]
        return (
            f"{name:<12} {statistics.median(self.per_second):8.0f}/s"
            f"  [{min(self.per_second):.0f} .. {max(self.per_second):.0f}]"
            f"  p99 {statistics.median(self.p99_ms):7.1f} ms"
            f"  {statistics.median(ratios):5.2f}x  [{min(ratios):.2f} .. {max(ratios):.2f}]"
            f"  CPU {statistics.median(self.cpu_ms):5.2f} ms"
        )


@contextmanager
def database() -> Iterator[URL]:
    """A database of this run's own on the server of DATABASE_URL."""
    given = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
    name = f"streamrec_bench_{uuid4().hex[:8]}"
    maintenance = sa.create_engine(given.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine = sa.create_engine(given.set(database=name), poolclass=sa.NullPool)
    command.upgrade(schema.configuration(engine), "head")
    try:
        yield given.set(database=name)
    finally:
        with maintenance.connect() as connection:
            connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


def fill(url: URL) -> None:
    """Exactly `ROWS` channels, as before every window of GET."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE channel RESTART IDENTITY CASCADE"))
        connection.execute(
            sa.text(
                "INSERT INTO channel (name, keyname, type, url, enabled, segment_seconds, capture, tags, version, "
                "created_at, updated_at) SELECT 'Station ' || n, 'bench-' || lpad(n::text, 4, '0'), 'radio', "
                "'http://93.184.216.34:8000/' || n, true, 60, 'auto', ARRAY['rock', 'news'], 1, now(), now() "
                "FROM generate_series(1, :rows) n"
            ),
            {"rows": ROWS},
        )
        connection.execute(sa.text("ANALYZE channel"))
    engine.dispose()


@contextmanager
def served(name: str, url: URL, data_dir: str) -> Iterator[tuple[str, psutil.Process]]:
    """A server's address and its only worker."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": url.set(drivername="postgresql").render_as_string(hide_password=False),
        "STREAMREC_DATA_DIR": data_dir,
        "STREAMREC_AUTH": "open",
        "STREAMREC_LOG_FORMAT": "json",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
    }
    arguments = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--no-control-socket"]
    log_path = Path(data_dir) / f"{name}.log"
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *SERVERS[name], *arguments],
            env=environment,
            cwd=PROJECT,
            stdout=log,
            stderr=log,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not answers(f"{address}/channel", child):
                raise SystemExit(f"{name} did not start:\n{log_path.read_text()}")
            (worker,) = psutil.Process(child.pid).children()
            yield address, worker
        finally:
            child.terminate()
            child.wait(10)


def answers(url: str, child: subprocess.Popen[bytes]) -> bool:
    """Whether a server comes up within 20 s."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and child.poll() is None:
        with suppress(httpx.TransportError):
            return httpx.get(url, timeout=5).status_code == 200
        time.sleep(0.05)
    return False


def measure(
    figures: Figures, address: str, worker: psutil.Process, method: str, seconds: int, number: int
) -> None:
    """One window: throughput and p99 as wrk sees them, and the worker's own CPU time for each request."""
    before = sum(worker.cpu_times()[:2])
    done = load(address, method, seconds, number)
    spent = sum(worker.cpu_times()[:2]) - before
    figures.per_second.append(float(found(r"Requests/sec:\s+([\d.]+)", done)))
    figures.p99_ms.append(float(found(r"P99 ([\d.]+)", done)))
    figures.cpu_ms.append(spent * 1000 / int(found(r"(\d+) requests in", done)))


def load(address: str, method: str, seconds: int, number: int) -> str:
    """What wrk said; every answer must be a success."""
    script = HERE / f"{method.lower()}.lua"
    target = f"{address}/channel" + ("?limit=100" if method == "GET" else "")
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), target],
        env=os.environ | {"WINDOW": f"{number:02}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    bad = int(found(r"BAD (\d+)", done))
    if bad:
        raise SystemExit(f"{bad} requests failed at {address}:\n{done}")
    return done


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match.group(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=SERVERS)
    options = parser.parse_args()
    with ExitStack() as stack:
        data_dir = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(database())
        servers = {name: stack.enter_context(served(name, url, data_dir)) for name in options.servers}
        number = 0
        for method in ("GET", "POST"):
            figures = {name: Figures() for name in servers}
            for turn in range(options.windows + 1):  # the first warms up and does not count
                for name, (address, worker) in servers.items():
                    fill(url)
                    number += 1
                    measure(figures[name], address, worker, method, options.seconds if turn else 2, number)
                    if not turn:
                        figures[name] = Figures()
            print(
                f"\n{method} /channel, {CONNECTIONS} connections, {options.windows} windows of {options.seconds} s"
            )
            for name, found_here in figures.items():
                print(found_here.line(name, figures["flask"]))


if __name__ == "__main__":
    main()
