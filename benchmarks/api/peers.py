"""Plain Flask and FastAPI over the same features: same session, same statements, same driver, same presentation.

What differs is what is measured: routing, parsing, the contract's checks (the peers have none, or pydantic's),
threads and JSON. No peer logs requests, counts them, or guards anything.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import flask

from streamrec import channel_fields, channels, db, settings
from streamrec.db import Session
from streamrec.handlers import _present

loaded = settings.load()
db.connect(loaded, application="streamrec-bench")

flask_app = flask.Flask(__name__)


@flask_app.get("/channel")
def flask_list() -> flask.Response:
    with Session.begin() as session:
        page = channels.page(session, limit=flask.request.args.get("limit", 100, int))
    return flask.jsonify([_present.channel(row) for row in page.rows])


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
        created_at: str
        updated_at: str

    fastapi_app = fastapi.FastAPI()

    @fastapi_app.get("/channel", response_model=list[Channel])
    def fastapi_list(limit: int = fastapi.Query(100, ge=1, le=1000)) -> Any:
        with Session.begin() as session:
            page = channels.page(session, limit=limit)
        return [_present.channel(row) for row in page.rows]

    @fastapi_app.post("/channel", response_model=Channel, status_code=201)
    def fastapi_create(body: NewChannel) -> Any:
        draft = channel_fields.checked(body.model_dump(), allow=loaded.egress_allow)
        with Session.begin() as session:
            made = channels.create(session, draft)
        return _present.channel(made)
