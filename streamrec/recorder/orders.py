"""The standing orders: which channels are to be recorded, how, and by whom they may be."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec.egress import Credentials
from streamrec.models import Channel, ChannelCredential
from streamrec.recorder.events import Address
from streamrec.recorder.placement.plan import Pin
from streamrec.recorder.tools import Order


def orders(session: Session) -> dict[int, Order]:
    """Every channel that is to be recorded."""
    rows = session.execute(
        sa.select(
            *(Channel.id, Channel.keyname, Channel.url, Channel.capture, Channel.segment_seconds),
            *(ChannelCredential.username, ChannelCredential.password),
        )
        .outerjoin(ChannelCredential, ChannelCredential.channel_id == Channel.id)
        .where(Channel.enabled, Channel.deleted_at.is_(None))
    )
    found: dict[int, Order] = {}
    for channel_id, keyname, url, mode, segment_seconds, username, password in rows:
        credentials = Credentials(username, password) if username is not None else None
        found[channel_id] = Order(channel_id, keyname, Address(url, credentials, mode), segment_seconds)
    return found


def pins(session: Session) -> dict[int, Pin]:
    """Every channel that is to be recorded, with the labels that a recorder must have for it."""
    rows = session.execute(sa.select(Channel.id, Channel.pin).where(Channel.enabled, Channel.deleted_at.is_(None)))
    return {row[0]: row[1] for row in rows}
