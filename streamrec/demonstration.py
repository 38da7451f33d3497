"""`./run.sh demo`: an instance of its own that records two stations which this machine makes itself."""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

from streamrec import channel_fields, channels, db, demo, instance, logs
from streamrec import settings as configuration
from streamrec.models import Channel
from streamrec.settings import PROJECT
from streamrec.up import Child

STATIONS_HOST = "127.0.0.1"


def run() -> None:
    """Run until a stop signal; data and port are its own, unless variables choose them."""
    port = _free_port()
    os.environ.setdefault("STREAMREC_DATA_DIR", str(PROJECT / "data" / "demo"))
    allowed = [os.environ.get("STREAMREC_EGRESS_ALLOW", ""), f"{STATIONS_HOST}:{port}"]
    os.environ.setdefault("STREAMREC_CANARY", "true")
    os.environ.setdefault("STREAMREC_CANARY_PORT", str(_free_port()))
    os.environ["STREAMREC_EGRESS_ALLOW"] = ",".join(filter(None, allowed))
    if "STREAMREC_PORT" not in os.environ and not _is_free(configuration.load().port):
        os.environ["STREAMREC_PORT"] = str(_free_port())
        configuration.load.cache_clear()
    settings = configuration.load()
    logs.configure(settings, "up")
    stations = Child("demo stations", ["streamrec.demo", "--host", STATIONS_HOST, "--port", str(port)], 1.0)
    instance.run(
        settings,
        extra=[stations],
        may_record=lambda: _are_listed(port, settings.egress_allow),
        notes=["recordings  {address}/recording (the first after about 20 s)"],
    )


def _are_listed(port: int, allow: list[str]) -> bool:
    """Whether the stations are on air; they are channels then. A recorder that came first would note gaps."""
    try:
        socket.create_connection((STATIONS_HOST, port), timeout=1).close()
    except OSError:
        return False
    _add_channels(f"http://{STATIONS_HOST}:{port}", allow)
    return True


def _add_channels(base_url: str, allow: list[str]) -> None:
    """Add the demo's channels, or point those of an earlier demo at today's port."""
    for body in demo.stations(base_url):
        draft = channel_fields.checked(body, allow=allow)
        with db.Session.begin() as session:
            known = session.scalar(
                sa.select(Channel.id).where(Channel.keyname == body["keyname"], Channel.deleted_at.is_(None))
            )
            if known is None:
                channels.create(session, draft)
            else:
                channels.update(session, known, {"url": draft["url"]})


def _free_port() -> int:
    with socket.create_server((STATIONS_HOST, 0)) as server:
        return int(server.getsockname()[1])


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((STATIONS_HOST, port)):
            return True
    except OSError:
        return False
