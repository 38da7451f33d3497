"""The operator's console: one page that says what is being recorded, and what is not. It only reads."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import flask
import jinja2

from streamrec import apikeys, captures, coverage, recordings
from streamrec.clock import now
from streamrec.db import Session, away_as_unavailable
from streamrec.errors import DatabaseAway
from streamrec.settings import Settings
from streamrec.timeshift.access import Access, key_of, signed

REFRESH_SECONDS: Final = 5
MOST_CHANNELS: Final = 500
MOST_RECORDINGS: Final = 25
MOST_GAPS: Final = 50
MOST_RECORDERS: Final = 5
_DAY: Final = timedelta(days=1)
_LISTEN_BACK: Final = timedelta(minutes=5)
_LISTEN_ON: Final = timedelta(hours=12)
_KEY_SECONDS: Final = 30.0  # for how long a key that was found good is not looked up again


def create_console(settings: Settings) -> flask.Flask:
    """The Flask app, to be mounted at /console."""
    app = flask.Flask("streamrec.web", static_folder="static", template_folder="templates")
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.jinja_env.filters.update(moment=moment, ago=ago, length=length, size=size, rate=rate)
    door = Door(settings)
    app.before_request(door.check)
    app.add_url_rule("/", "console", lambda: _page(settings))
    app.register_error_handler(DatabaseAway, _away)
    return app


class Door:
    """Asks for an API key as the password of HTTP Basic (RFC 7617), if the API asks for keys at all."""

    def __init__(self, settings: Settings) -> None:
        self._is_locked = settings.auth_required
        self._good: dict[str, float] = {}

    def check(self) -> flask.Response | None:
        """Let the request pass (None), or ask for a key."""
        if not self._is_locked or flask.request.endpoint == "static":
            return None
        given = flask.request.authorization
        if given is not None and given.type == "basic" and self._is_good(given.password or ""):
            return None
        body = "An API key is needed: leave the user name empty and give the key as the password.\n"
        challenge = 'Basic realm="streamrec console: an API key is the password", charset="UTF-8"'
        return flask.Response(body, 401, {"WWW-Authenticate": challenge}, mimetype="text/plain")

    def _is_good(self, key: str) -> bool:
        at = time.monotonic()
        self._good = {known: until for known, until in self._good.items() if until > at}
        if key in self._good:
            return True
        with away_as_unavailable(), Session.begin() as session:
            holder = apikeys.holder(session, key)
        if holder is None:
            return False
        self._good = {**self._good, key: at + _KEY_SECONDS}
        return True


def _page(settings: Settings) -> str:
    with away_as_unavailable(), Session.begin() as session:
        facts = _facts(session)
    return flask.render_template(
        "console.html",
        refresh_seconds=REFRESH_SECONDS,
        has_links=not settings.auth_required,
        now=now(),
        live=partial(_live, settings),
        **facts,
    )


def _live(settings: Settings, channel_id: int) -> str:
    """Where a channel plays live; where keys are asked for, by a signed address, since a player sends none."""
    path = f"/channel/{channel_id}/live.m3u8"
    if not settings.auth_required:
        return path
    at = now().replace(microsecond=0)
    access = Access(channel_id, at - _LISTEN_BACK, None, at + _LISTEN_ON)
    return f"{path}?access={signed(access, key_of(settings))}"


def _facts(session: Any) -> dict[str, Any]:
    """What the page shows; every list is bounded."""
    channels = captures.statuses(session, MOST_CHANNELS)
    start = now() - _DAY
    return {
        "channels": channels,
        "names": {channel.channel_id: channel.name for channel in channels},
        "running": sum(channel.state == "running" for channel in channels),
        "enabled": sum(channel.enabled for channel in channels),
        "recordings": recordings.page(session, sort="-start_time", limit=MOST_RECORDINGS).rows,
        "gaps": coverage.gaps(session, start=start, sort="-start_time", limit=MOST_GAPS).rows,
        "recorders": captures.recorders(session, MOST_RECORDERS),
    }


def _away(_: DatabaseAway) -> tuple[str, int, dict[str, str]]:
    return flask.render_template("away.html", refresh_seconds=REFRESH_SECONDS), 503, {"Retry-After": "5"}


# --- how things are written -------------------------------------------------------------------------------


def moment(instant: datetime | None) -> str:
    """A moment for a person, in UTC."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"


def ago(instant: datetime | None) -> str:
    """How long something has been so."""
    return "" if instant is None else length(max(now() - instant, timedelta()))


def length(duration: timedelta | float | None) -> str:
    """A duration in its two largest units."""
    if duration is None:
        return ""
    seconds = round(duration.total_seconds() if isinstance(duration, timedelta) else float(duration), 1)
    if seconds < 60:
        return f"{seconds:g} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if not hours:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if not days else f"{days} d {hours % 24} h"


def size(count: int | None) -> str:
    """Bytes in a unit that a person reads."""
    if count is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def rate(bits: int | None) -> str:
    """Bits per second in kbit/s."""
    return "" if bits is None else f"{bits / 1000:.0f} kbit/s"
