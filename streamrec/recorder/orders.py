"""The standing orders: which channels are to be recorded, how, and by whom they may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from streamrec.egress import Credentials
from streamrec.models import BackupCredential, Channel, ChannelCredential
from streamrec.recorder.events import Address
from streamrec.recorder.placement.plan import Pin
from streamrec.recorder.tools import Order

FULL_SECONDS: Final = 30.0  # so often all is read, whatever the rows' versions say

_VERSIONS = sa.text(
    # A row's xmin is the transaction that wrote it; later ones are greater, so that any change makes another sum.
    "SELECT (SELECT row(count(*), sum(xmin::text::bigint))::text FROM channel)"
    " || (SELECT row(count(*), sum(xmin::text::bigint))::text FROM channel_credential)"
    " || (SELECT row(count(*), sum(xmin::text::bigint))::text FROM backup_credential)"
)


class Standing:
    """The orders and pins as last read; read again when a row has changed, when told to, and now and then."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: tuple[dict[int, Order], dict[int, Pin]] = {}, {}
        self._versions = ""
        self._read_at = float("-inf")

    def forget(self) -> None:
        """Something has changed."""
        self._read_at = float("-inf")

    def read(self, connection: Connection) -> tuple[dict[int, Order], dict[int, Pin]]:
        """Orders and pins, which nobody may change."""
        now = self._monotonic()
        versions = connection.scalars(_VERSIONS).one()
        if versions != self._versions or now - self._read_at >= FULL_SECONDS:
            self._known = _orders_and_pins(connection)
            self._versions, self._read_at = versions, now
        return self._known


def _orders_and_pins(connection: Connection) -> tuple[dict[int, Order], dict[int, Pin]]:
    """Every channel that is to be recorded, and the labels that a recorder must have for it.

    By one statement: a channel that is added meanwhile would be claimed by its pin, and let go without an order.
    """
    columns = (Channel.id, Channel.keyname, Channel.url, Channel.capture, Channel.segment_seconds)
    more = (Channel.backup_urls, Channel.tls_verify, Channel.max_bandwidth, Channel.pin)
    rows = connection.execute(
        sa.select(*columns, *more, ChannelCredential.username, ChannelCredential.password)
        .outerjoin(ChannelCredential, ChannelCredential.channel_id == Channel.id)
        .where(Channel.enabled, Channel.deleted_at.is_(None))
    )
    secrets = _secrets(connection)
    found: dict[int, Order] = {}
    pins: dict[int, Pin] = {}
    for id_, keyname, url, mode, seconds, urls, tls_verify, max_bandwidth, pin, username, password in rows:
        credentials = Credentials(username, password) if username is not None else None
        address = Address(url, credentials, mode, tls_verify, max_bandwidth)
        backups = tuple(replace(address, url=each, credentials=secrets.get((id_, each))) for each in urls)
        found[id_] = Order(id_, keyname, address, seconds, backups=backups)
        pins[id_] = pin
    return found, pins


def _secrets(connection: Connection) -> dict[tuple[int, str], Credentials]:
    """The credentials of backup URLs, by channel and URL."""
    rows = connection.execute(sa.select(*BackupCredential.__table__.columns))
    return {(row.channel_id, row.url): Credentials(row.username, row.password) for row in rows}
