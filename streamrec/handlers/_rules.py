"""OpenAPI 3.0 schemas as compiled JSON Schema validators, and their errors as one clear line each. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

import jsonschema_rs

from streamrec.errors import Invalid

MOST_ERRORS = 20
_TEXT_LIMIT = 300
_ANNOTATIONS = {
    "example",
    "description",
    "title",
    "externalDocs",
    "xml",
    "deprecated",
    "discriminator",
    "default",
    "components",
}


def json_schema(schema: Any) -> Any:
    """A schema of OpenAPI 3.0 as JSON Schema draft 4, on which it is built: `nullable` becomes a type.

    Annotations are dropped. Properties may be called like keywords, so their names are left alone.
    """
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {
        key: {name: json_schema(sub) for name, sub in value.items()} if key == "properties" else json_schema(value)
        for key, value in schema.items()
        if key not in _ANNOTATIONS and key != "nullable" and not key.startswith("x-")
    }
    return _nullable(plain) if schema.get("nullable") else plain


def _inlined(node: Any, schemas: Mapping[str, Any]) -> Any:
    """A schema without references, which cost a third of the validation's time."""
    if isinstance(node, list):
        return [_inlined(item, schemas) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        return _inlined(schemas[node["$ref"].removeprefix("#/components/schemas/")], schemas)
    return {key: value if key == "components" else _inlined(value, schemas) for key, value in node.items()}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    schema["type"] = [schema["type"], "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _is_uri(text: str) -> bool:
    """A scheme, a colon and no character outside RFC 3986, section 2; what a channel may use is checked later."""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*", text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {"uuid": _is_uuid, "uri": _is_uri}


class Rules:
    """The compiled validators of one document; `$ref`s are resolved inside it, and no schema holds itself."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
        self._wordings = dict(_wordings(document))

    def compiled(self, schema: Mapping[str, Any]) -> jsonschema_rs.Draft4Validator:
        """A validator that checks formats too."""
        root = json_schema(_inlined(schema, self._schemas))
        return jsonschema_rs.Draft4Validator(root, formats=FORMATS, validate_formats=True)

    def check(self, validator: jsonschema_rs.Draft4Validator, value: Any, *, at: str = "") -> None:
        """Let `value` pass.

        Raises:
            Invalid: it breaks rules; `errors` holds the first twenty, each a field and a sentence.
        """
        if validator.is_valid(value):
            return
        found: list[dict[str, str]] = []
        for error in _telling(islice(validator.iter_errors(value), 2 * MOST_ERRORS)):
            found.extend({"field": name[:200], "detail": rule} for name, rule in self._faults(error, at))
            if len(found) >= MOST_ERRORS:
                break
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Invalid(
            f"{first['field']}: {first['detail']}{more}", field=first["field"], errors=found[:MOST_ERRORS]
        )

    def _faults(self, error: jsonschema_rs.ValidationError, at: str) -> Iterator[tuple[str, str]]:
        name = _path(at, error.instance_path)
        facts = error.kind.as_dict()
        match error.kind.name:
            case "required":
                yield _path(name, [facts["property"]]), "is required"
            case "additionalProperties":
                for unknown in facts["unexpected"][:MOST_ERRORS]:
                    yield _path(name, [unknown[:100]]), "is not a field that is known here"
            case "anyOf" | "oneOf" if facts.get("context"):
                yield name or "body", self._best(facts["context"])
            case keyword:
                yield name or "body", self._sentence(keyword, facts)

    def _best(self, branches: list[list[jsonschema_rs.ValidationError]]) -> str:
        """Of several forms, the rule of one whose type fits."""
        fitting = [b for b in branches if b and b[0].kind.name != "type"] or branches
        return " or ".join(dict.fromkeys(self._sentence(b[0].kind.name, b[0].kind.as_dict()) for b in fitting[:3]))

    def _sentence(self, keyword: str, facts: Mapping[str, Any]) -> str:
        if keyword == "pattern":
            pattern = str(facts["pattern"])
            return self._wordings.get(pattern) or f"must match {pattern}"[:_TEXT_LIMIT]
        template = _SENTENCES.get(keyword)
        return template(facts)[:_TEXT_LIMIT] if template else f"breaks the rule {keyword}"


def _telling(errors: Iterable[jsonschema_rs.ValidationError]) -> list[jsonschema_rs.ValidationError]:
    """Without what says that a whole number is none: JSON's parser makes a fraction of one beyond 64 bits."""
    met = list(errors)
    beyond = {
        tuple(error.instance_path)
        for error in met
        if error.kind.name in {"minimum", "maximum"} and _is_whole(error.instance)
    }
    return [error for error in met if error.kind.name != "type" or tuple(error.instance_path) not in beyond]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float) and float(value).is_integer()


_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}

_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "type": lambda f: "must be " + " or ".join(_TYPES[t] for t in f["types"]),
    "enum": lambda f: "must be one of " + ", ".join("null" if o is None else str(o) for o in f["options"]),
    "minLength": lambda f: f"must have at least {f['limit']} characters",
    "maxLength": lambda f: f"must have at most {f['limit']} characters",
    "minItems": lambda f: f"must have at least {f['limit']} items",
    "maxItems": lambda f: f"must have at most {f['limit']} items",
    "minProperties": lambda f: f"must have at least {f['limit']} fields",
    "maxProperties": lambda f: f"must have at most {f['limit']} fields",
    "minimum": lambda f: f"must be at least {f['limit']}",
    "maximum": lambda f: f"must be at most {f['limit']}",
    "exclusiveMinimum": lambda f: f"must be more than {f['limit']}",
    "exclusiveMaximum": lambda f: f"must be less than {f['limit']}",
    "multipleOf": lambda f: f"must be a multiple of {f['multiple_of']}",
    "uniqueItems": lambda _: "must not hold the same item twice",
    "format": lambda f: f"must be a valid {f['format']}",
}


def _wordings(node: Any) -> Iterator[tuple[str, str]]:
    """Schemas may say their pattern in words: `x-rule`."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str) and "x-rule" in node:
            yield node["pattern"], node["x-rule"]
        for value in node.values():
            yield from _wordings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _wordings(value)


def _path(at: str, steps: list[str | int]) -> str:
    """`tags[2]`, `items[0].name`."""
    for step in steps:
        at = f"{at}[{step}]" if isinstance(step, int) else f"{at}.{step}" if at else step
    return at
