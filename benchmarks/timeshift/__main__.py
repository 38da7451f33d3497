"""How long a day's catch-up playlist takes, over HTTP from one worker."""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import make_url

from streamrec import db, schema
from streamrec.archive.pieces import Builder
from streamrec.models import FileFormat, Origin, Recording, RecordingIndex, Run
from streamrec.settings import Settings
from tests.factories import channel
from tests.serving import serving

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
DAY = timedelta(days=1)
PIECE_BYTES = 96_000  # six seconds of 128 kb/s


def main() -> None:
    """Print milliseconds for a day of files of a minute, and of an hour."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=30)
    options.add_argument("--piece-seconds", type=float, default=6.0)
    given = options.parse_args()
    server = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
    name = f"streamrec_bench_{uuid4().hex[:8]}"
    maintenance = sa.create_engine(server.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    try:
        with tempfile.TemporaryDirectory() as folder:
            address = server.set(database=name).render_as_string(hide_password=False)
            measure(Settings(data_dir=Path(folder), database_url=address, auth="open", log_level="error"), given)
    finally:
        with maintenance.connect() as connection:
            connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        maintenance.dispose()


def measure(settings: Settings, given: argparse.Namespace) -> None:
    """Fill the database, and ask."""
    engine = db.connect(settings, application="benchmark")
    schema.upgrade(engine)
    start = (datetime.now(UTC) - DAY - timedelta(minutes=5)).replace(microsecond=0)
    channels = {seconds: filled(start, seconds, given.piece_seconds) for seconds in (60, 3600)}
    with serving(settings) as client:
        for seconds, channel_id in channels.items():
            report(client, channel_id, start, seconds, given.requests)
    engine.dispose()


def filled(start: datetime, seconds: int, piece_seconds: float) -> int:
    """A channel with a day of files of so many seconds."""
    with db.Session.begin() as session:
        channel_id = channel(session, keyname=f"bench-{seconds:04d}").id
        run_id = uuid4()
        session.add(Run(id=run_id, channel_id=channel_id, source="icy", format=FileFormat.MP3, start_time=start))
        session.flush()
        count = int(piece_seconds and seconds // piece_seconds)
        for number in range(86_400 // seconds):
            begins = start + timedelta(seconds=number * seconds)
            builder = Builder(begins)
            for piece in range(1, count + 1):
                builder.end_piece(piece * PIECE_BYTES, begins + timedelta(seconds=piece * seconds / count))
            recording = Recording(
                channel_id=channel_id,
                run_id=run_id,
                origin=Origin.CAPTURED,
                start_time=begins,
                end_time=begins + timedelta(seconds=seconds),
                path=f"bench/{uuid4()}.mp3",
                size_bytes=count * PIECE_BYTES,
                sha256="0" * 64,
                format=FileFormat.MP3,
                codecs="mp3",
            )
            session.add(recording)
            session.flush()
            session.add(
                RecordingIndex(
                    recording_id=recording.id,
                    data=builder.index().encoded(),
                    number=number * count,
                    discontinuity=0,
                )
            )
        session.flush()
    return channel_id


def report(client: httpx.Client, channel_id: int, start: datetime, seconds: int, requests: int) -> None:
    """Ask, and print."""
    span = {"from": start.isoformat(), "to": (start + DAY).isoformat()}
    taken = []
    for _ in range(requests + 3):
        began = time.perf_counter()
        answer = client.get(f"/channel/{channel_id}/catchup.m3u8", params=span)
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
    taken = sorted(taken[3:])
    pieces = answer.text.count("#EXTINF")
    print(
        f"files of {seconds} s: {pieces} pieces, {len(answer.content) / 1e6:.1f} MB, "
        f"median {statistics.median(taken):.0f} ms, least {taken[0]:.0f}, p95 {taken[int(len(taken) * 0.95)]:.0f}"
    )


if __name__ == "__main__":
    main()
