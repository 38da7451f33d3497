"""Requests and answers held against the contract, with validators compiled once per operation.

They stand where Connexion has its own two validation middlewares: those rebuild a jsonschema validator for every
answer (a sixth of the speed), check few formats, choke on HEAD, 204 and chunked bodies, and quote whole values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
import orjson
from connexion.decorators.parameter import pythonic
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations import AbstractOperation
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamrec.errors import Invalid
from streamrec.handlers import _body, _current, _upload
from streamrec.handlers._problems import Refused, WrongAnswer
from streamrec.handlers._rules import Rules

_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?", re.ASCII)
_MOST_PARAMETERS = 100
_MISSING = object()
_Validator = jsonschema_rs.Draft4Validator


def media_type_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str | None, str]:
    """The media type in lower case and the charset of a `Content-Type`; None and utf-8 without one."""
    for name, value in headers:
        if name.lower() == b"content-type":
            kind, _, parameters = value.decode("latin-1").partition(";")
            charset = re.search(r'charset\s*=\s*"?([^\s;"]+)', parameters, re.IGNORECASE)
            return kind.strip().lower(), charset.group(1).lower() if charset else "utf-8"
    return None, "utf-8"


# --- requests ---------------------------------------------------------------------------------------------


class Parameter:
    """One declared parameter and its compiled rule."""

    def __init__(self, declared: Mapping[str, Any], rules: Rules) -> None:
        self.name: str = declared["name"]
        self.argument: str = pythonic(declared["name"])  # `from` becomes `from_`
        self.where: str = declared["in"]
        self.required: bool = declared.get("required", False)
        schema = declared["schema"]
        self._default: Any = schema.get("default", _MISSING)
        self._kind: str = schema.get("type", "string")
        self._item_kind: str = schema.get("items", {}).get("type", "string")
        self._rules = rules
        self._validator = rules.compiled(schema)

    def pick(self, given: list[str], arguments: dict[str, Any]) -> None:
        """Put the value of the texts that a request gave for this parameter, or its default, into `arguments`.

        Raises:
            Invalid: it is missing, given twice, or breaks its rule.
        """
        if not given:
            if self.required:
                raise Invalid(f"{self.name}: is required", field=self.name)
            if self._default is not _MISSING:
                arguments[self.argument] = self._default
            return
        if len(given) > 1 and self._kind != "array":
            raise Invalid(f"{self.name}: is given twice", field=self.name)
        value = self._value(given)
        self._rules.check(self._validator, value, at=self.name)
        arguments[self.argument] = value

    def _value(self, given: list[str]) -> Any:
        if self._kind == "array":
            return [typed(item, self._item_kind) for item in ",".join(given).split(",")]
        return typed(given[0], self._kind)


def typed(text: str, kind: str) -> Any:
    """The value that a parameter's text stands for; text that does not fit stays text, and the rule refuses it."""
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "boolean" and text in {"true", "false"}:
        return text == "true"
    return text


class RequestChecks:
    """Parameters, content type and body of one operation."""

    def __init__(self, next_app: ASGIApp, operation: AbstractOperation, rules: Rules) -> None:
        self.next_app = next_app
        self._rules = rules
        parameters = [Parameter(declared, rules) for declared in operation.parameters]
        self._query = {p.name: p for p in parameters if p.where == "query"}
        self._path = [p for p in parameters if p.where == "path"]
        self._headers = {p.name.lower().encode(): p for p in parameters if p.where == "header"}
        content: Mapping[str, Any] = operation.request_body.get("content", {})
        self._is_required: bool = operation.request_body.get("required", False)
        self._is_streamed: bool = operation.request_body.get("x-streamed", False)
        self._is_forbidding: bool = operation.request_body.get("x-forbidding", False)
        self._bodies = {kind: rules.compiled(media.get("schema", {})) for kind, media in content.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arguments: dict[str, Any] = {}
        self._pick_query(scope["query_string"], arguments)
        for parameter in self._path:
            parameter.pick([str(scope["path_params"][parameter.name])], arguments)
        for name, parameter in self._headers.items():
            parameter.pick([value.decode("latin-1") for key, value in scope["headers"] if key == name], {})
        if self._bodies:
            arguments["body"] = await self._body(scope, receive)
        _current.pass_on(scope, arguments)
        await self.next_app(scope, receive, send)

    def _pick_query(self, query: bytes, arguments: dict[str, Any]) -> None:
        given: dict[str, list[str]] = {}
        if query.count(b"&") >= _MOST_PARAMETERS:
            raise Invalid(f"query: may have {_MOST_PARAMETERS} parameters", field="query")
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            given.setdefault(name, []).append(value)
        for name in given:
            if name not in self._query:
                raise Invalid(f"{name[:100]}: is not a parameter that is known here", field=name[:100])
        for name, parameter in self._query.items():
            parameter.pick(given.get(name, []), arguments)

    async def _body(self, scope: Scope, receive: Receive) -> Any:
        """The value of a JSON body, the bytes of another one, None if there is none and need not be.

        A streamed one is an `_upload.Body`, of which nothing has been read.
        """
        kind, charset = media_type_of(scope["headers"])
        if self._is_streamed:
            self._require_known(kind, "utf-8")
            return _upload.Body(scope["headers"], receive)
        body = await _whole(receive)
        if not body and (kind is None or kind in self._bodies):
            if self._is_required:
                raise Invalid("body: is required", field="body")
            return None
        kind = self._require_known(kind, charset)
        if _JSON.fullmatch(kind):
            value = _body.json_value(body)
            self._check(self._bodies[kind], value)
            return value
        if kind.startswith("text/") or kind.endswith("mpegurl"):
            self._rules.check(self._bodies[kind], _text(body), at="body")
        return body

    def _require_known(self, kind: str | None, charset: str) -> str:
        if kind not in self._bodies or charset not in {"utf-8", "us-ascii"}:
            wanted = ", ".join(self._bodies)
            raise Refused(415, "unsupported-media-type", f"Content-Type: must be {wanted}, in UTF-8.")
        return kind

    def _check(self, validator: _Validator, value: Any) -> None:
        """A broken rule is a 400; the document of the file service has a 403 for it."""
        try:
            self._rules.check(validator, value)
        except Invalid as exc:
            if not self._is_forbidding:
                raise
            raise Refused(403, "invalid-properties", exc.detail, headers=None, **exc.context) from exc


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Invalid("body: must be UTF-8", field="body") from exc
    if "\0" in text:
        raise Invalid("body: must not contain the NUL character", field="body")
    return text


async def _whole(receive: Receive) -> bytes:
    """The body; its size and speed are the guard's business."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "bad-request", "The request ended before its body did.")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


# --- answers ----------------------------------------------------------------------------------------------


class AnswerChecks:
    """Status, content type and JSON body of one operation's answers; a wrong one is a bug of ours and a 500."""

    def __init__(self, next_app: ASGIApp, operation: AbstractOperation, rules: Rules) -> None:
        self.next_app = next_app
        self._operation_id = operation.operation_id
        self._rules = rules
        self._validators: dict[tuple[str, str], _Validator | None] = {}
        self._statuses: set[str] = set()
        for status, declared in operation.responses.items():
            self._statuses.add(str(status))
            for kind, media in declared.get("content", {}).items():
                self._validators[str(status), kind] = (
                    rules.compiled(media.get("schema", {})) if _JSON.fullmatch(kind) else None
                )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self.next_app(scope, receive, send)
            return
        start: Message | None = None
        validator: _Validator | None = None
        parts: list[bytes] = []

        async def checked(message: Message) -> None:
            nonlocal start, validator
            if message["type"] == "http.response.start":
                validator = self._validator_for(message)
                if validator is None:
                    await send(message)
                else:
                    start = message
                return
            if validator is None or start is None:
                await send(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            body = b"".join(parts)
            self._check(validator, body, _current.shown(scope))
            await send(start)
            await send({"type": "http.response.body", "body": body, "more_body": False})

        await self.next_app(scope, receive, checked)

    def _validator_for(self, message: Message) -> _Validator | None:
        status: int = message["status"]
        kind, _ = media_type_of(message["headers"])
        if status >= 400 and kind == "text/plain" and (str(status), kind) not in self._validators:
            raise _refusal_of_starlette(message)
        if str(status) not in self._statuses and (status < 400 or "default" not in self._statuses):
            raise WrongAnswer(f"{self._operation_id}: status {status} is not in the contract")
        declared = str(status) if str(status) in self._statuses else "default"
        if kind is None or status in {204, 304} or (status == 206 and kind == "multipart/byteranges"):
            return None
        if (declared, kind) not in self._validators:
            raise WrongAnswer(f"{self._operation_id}: {status} with {kind} is not in the contract")
        return self._validators[declared, kind]

    def _check(self, validator: _Validator, body: bytes, shown: Any) -> None:
        """`shown` is what the body was made of; if it does not fit, the bytes decide."""
        with suppress(ValueError):  # it may hold UUIDs and the like, which only orjson writes as text
            if shown is not None and validator.is_valid(shown):
                return
        value = orjson.loads(body)
        try:
            self._rules.check(validator, value)
        except Invalid as exc:
            raise WrongAnswer(f"{self._operation_id}: {exc.detail}") from exc


def _refusal_of_starlette(message: Message) -> Refused:
    """FileResponse answers a bad `Range` with plain text; it becomes a problem, and keeps its `Content-Range`."""
    status = HTTPStatus(message["status"])
    kept = {key.decode(): value.decode() for key, value in message["headers"] if key == b"content-range"}
    name = status.phrase.lower().replace(" ", "-")
    return Refused(status, name, "Range: must be byte ranges that lie in this file.", headers=kept)


# --- as Connexion's middleware wants it -------------------------------------------------------------------


class _RequestChecksApi(RoutedAPI[RequestChecks]):  # type: ignore[misc]
    def __init__(self, *args: Any, rules: Rules, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rules = rules
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> RequestChecks:
        return RequestChecks(self.next_app, operation, self._rules)


class _AnswerChecksApi(RoutedAPI[AnswerChecks]):  # type: ignore[misc]
    def __init__(self, *args: Any, rules: Rules, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rules = rules
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> AnswerChecks:
        return AnswerChecks(self.next_app, operation, self._rules)


class RequestChecksMiddleware(RoutedMiddleware[_RequestChecksApi]):  # type: ignore[misc]
    """Refuses what the contract does not allow; `add_api` is given `rules`."""

    api_cls = _RequestChecksApi


class AnswerChecksMiddleware(RoutedMiddleware[_AnswerChecksApi]):  # type: ignore[misc]
    """Stops what the contract does not promise; `add_api` is given `rules`."""

    api_cls = _AnswerChecksApi
