"""Plain Flask and FastAPI with the same query: same driver, same pool, same statement, the same fields.

GET is what one writes first: the statement as text, each row a dict, the framework's own JSON. POST calls
streamrec's own feature, which is most of it. No peer checks answers (FastAPI: pydantic's model), logs requests,
counts them, or guards anything.
"""

from __future__ import annotations

import importlib.util
from datetime import datetime
from typing import Any

import flask
import sqlalchemy as sa

from streamrec import channel_fields, channels, db, settings
from streamrec.db import Session
from streamrec.handlers import _present

loaded = settings.load()
db.connect(loaded, application="streamrec-bench")

QUERY = sa.text(
    """
    SELECT channel.id, channel.name, channel.keyname, channel.type, channel.url, channel.enabled,
           channel.segment_seconds, channel.capture, channel.tags, channel.country, channel.language,
           channel_credential.channel_id IS NOT NULL AS has_credentials,
           CASE WHEN recorder.stopped_at IS NULL AND recorder.heartbeat_at > now() - interval '6 s'
                THEN capture.state::text ELSE 'stopped' END AS capture_state,
           channel.created_at, channel.updated_at
    FROM channel
    LEFT JOIN channel_credential ON channel_credential.channel_id = channel.id
    LEFT JOIN capture ON capture.channel_id = channel.id
    LEFT JOIN recorder ON recorder.id = capture.recorder_id
    WHERE channel.deleted_at IS NULL ORDER BY channel.id LIMIT :limit
    """
)


def rows(limit: int) -> list[dict[str, Any]]:
    with Session.begin() as session:
        return [dict(row) for row in session.execute(QUERY, {"limit": limit}).mappings()]


flask_app = flask.Flask(__name__)


@flask_app.get("/channel")
def flask_list() -> flask.Response:
    return flask.jsonify(rows(flask.request.args.get("limit", 100, int)))


@flask_app.post("/channel")
def flask_create() -> tuple[flask.Response, int, dict[str, str]]:
    draft = channel_fields.checked(flask.request.get_json(), allow=loaded.egress_allow)
    with Session.begin() as session:
        made = channels.create(session, draft)
    return flask.jsonify(_present.channel(made)), 201, {"Location": f"/channel/{made.id}"}


if importlib.util.find_spec("fastapi") is not None:
    import fastapi
    from pydantic import BaseModel, ConfigDict, Field

    class NewChannel(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = Field(min_length=1, max_length=200)
        keyname: str = Field(pattern="^[A-Za-z0-9_-]{10}$")
        type: str = Field(pattern="^(radio|TV)$")
        url: str = Field(max_length=2048)

    class Channel(NewChannel):
        id: int
        enabled: bool
        segment_seconds: int
        capture: str
        tags: list[str]
        country: str | None
        language: str | None
        has_credentials: bool
        capture_state: str
        created_at: datetime
        updated_at: datetime

    fastapi_app = fastapi.FastAPI()

    @fastapi_app.get("/channel", response_model=list[Channel])
    def fastapi_list(limit: int = fastapi.Query(100, ge=1, le=1000)) -> Any:
        return rows(limit)

    @fastapi_app.post("/channel", response_model=Channel, status_code=201)
    def fastapi_create(body: NewChannel) -> Any:
        draft = channel_fields.checked(body.model_dump(), allow=loaded.egress_allow)
        with Session.begin() as session:
            made = channels.create(session, draft)
        return _present.channel(made)
