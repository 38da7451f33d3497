"""The contract keeps its own conventions; they are written in its `info.description`."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

import streamrec
from streamrec.handlers._rules import Rules
from streamrec.settings import PROJECT

FILE = PROJECT / "openapi" / "recording-api.yaml"
TEXT = FILE.read_text()
SPEC: dict[str, Any] = yaml.safe_load(TEXT)
METHODS = ("get", "put", "post", "patch", "delete")
PUBLIC = {"system.get_root", "system.get_health"}
VERBS = ("list", "get", "create", "update", "replace", "delete")
ORDER = ["operationId", "tags", "summary", "description", "security", "parameters", "requestBody", "responses"]
SUCCESS = re.compile("[23][0-9][0-9]")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in SPEC["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


OPERATIONS = [operation for _, _, operation in operations()]
EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=[o["operationId"] for o in OPERATIONS])


def resolved(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = SPEC
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def parameters_of(operation: dict[str, Any]) -> list[dict[str, Any]]:
    path = next(path for path, _, known in operations() if known is operation)
    shared = SPEC["paths"][path].get("parameters", [])
    return [resolved(parameter) for parameter in [*shared, *operation.get("parameters", [])]]


def schemas(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all inside it, references followed."""
    node = resolved(node)
    yield name, node
    for key, inner in node.get("properties", {}).items():
        yield from schemas(inner, f"{name}.{key}")
    for form in ("allOf", "anyOf", "oneOf"):
        for inner in node.get(form, []):
            yield from schemas(inner, name)
    if "items" in node:
        yield from schemas(node["items"], f"{name}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from schemas(node["additionalProperties"], f"{name}.*")


def function_of(operation: dict[str, Any]) -> Any:
    module, name = operation["operationId"].rsplit(".", 1)
    return getattr(importlib.import_module(f"streamrec.handlers.{module}"), name)


def test_it_is_valid_openapi() -> None:
    validate(SPEC)


def test_its_parts_are_in_the_conventional_order() -> None:
    assert list(SPEC) == ["openapi", "info", "servers", "tags", "security", "paths", "components"]


def test_it_has_the_version_of_the_package() -> None:
    assert SPEC["info"]["version"] == streamrec.__version__


def test_nothing_in_it_looks_like_jinja() -> None:
    """Connexion would render it away; we do not let Connexion read the file, but other tools might."""
    assert not re.search(r"\{\{|\{%|\{#", TEXT)


def test_paths_follow_the_table_of_contents() -> None:
    order = [tag["name"] for tag in SPEC["tags"]]
    found = [order.index(operation["tags"][0]) for operation in OPERATIONS]

    assert found == sorted(found)


def test_no_path_is_shadowed_by_an_earlier_template() -> None:
    """Starlette takes the first match, so a literal path must precede its templated sibling."""
    seen: list[str] = []
    for path in SPEC["paths"]:
        for earlier in seen:
            assert not re.fullmatch(pattern_of(earlier), path), f"{earlier} hides {path}"
        seen.append(path)


def pattern_of(path: str) -> str:
    """What a path template takes."""
    return re.sub(r"\{(\w+)\}", lambda name: segment_of(name.group(1), SPEC["paths"][path]), path)


def segment_of(name: str, item: dict[str, Any]) -> str:
    """What one parameter takes; Connexion gives integers a converter of their own."""
    operations = [item[method] for method in METHODS if method in item]
    given = [resolved(p) for p in [*item.get("parameters", []), *operations[0].get("parameters", [])]]
    (schema,) = (resolved(p["schema"]) for p in given if p["name"] == name)
    return "[+-]?[0-9]+" if schema["type"] == "integer" else "[^/]+"


def test_the_public_operations_are_exactly_these() -> None:
    assert {o["operationId"] for o in OPERATIONS if o.get("security") == []} == PUBLIC
    assert SPEC["security"] == [{"bearer": []}, {"api_key": []}]


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS]

    assert len(ids) == len(set(ids))


def test_every_component_is_used() -> None:
    for kind in ("parameters", "headers", "responses", "schemas"):
        for name in SPEC["components"][kind]:
            assert f"#/components/{kind}/{name}" in TEXT, f"{kind}/{name} is not used"


@EACH
def test_an_operation_resolves_to_the_module_of_its_tag(operation: dict[str, Any]) -> None:
    (tag,) = operation["tags"]

    assert operation["operationId"].startswith(f"{tag}.")
    assert callable(function_of(operation))


@EACH
def test_a_handler_takes_what_is_declared(operation: dict[str, Any]) -> None:
    declared = {name_in_python(p["name"]) for p in parameters_of(operation) if p["in"] in {"path", "query"}}
    if "requestBody" in operation:
        declared.add("body")

    taken = inspect.signature(function_of(operation)).parameters
    named = {name for name, parameter in taken.items() if parameter.kind is not parameter.VAR_KEYWORD}
    assert named == declared or (named < declared and len(named) < len(taken))


def name_in_python(name: str) -> str:
    return f"{name}_" if name in {"from", "type", "format", "filter", "id"} else name


@pytest.mark.parametrize("tag", [tag["name"] for tag in SPEC["tags"]])
def test_every_public_function_of_a_handler_module_is_an_operation(tag: str) -> None:
    module = importlib.import_module(f"streamrec.handlers.{tag}")
    functions = {
        f"{tag}.{name}"
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
    }

    assert functions == {o["operationId"] for o in OPERATIONS if o["tags"] == [tag]}


@EACH
def test_an_operation_is_written_in_the_conventional_order(operation: dict[str, Any]) -> None:
    assert list(operation) == [key for key in ORDER if key in operation]


@EACH
def test_a_summary_is_a_short_imperative_line(operation: dict[str, Any]) -> None:
    summary = operation["summary"]

    assert len(summary) <= 60
    assert summary[0].isupper()
    assert not summary.endswith(".")


@EACH
def test_every_failure_is_a_problem(operation: dict[str, Any]) -> None:
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


@EACH
def test_a_created_resource_has_a_location(operation: dict[str, Any]) -> None:
    created = resolved(operation["responses"].get("201", {}))

    assert not created or "Location" in created["headers"]


@EACH
def test_every_answer_has_a_described_success(operation: dict[str, Any]) -> None:
    assert any(SUCCESS.fullmatch(str(status)) for status in operation["responses"])
    assert all(resolved(response).get("description") for response in operation["responses"].values())


@EACH
def test_every_body_is_closed_bounded_and_has_an_example(operation: dict[str, Any]) -> None:
    for kind, media in resolved(operation.get("requestBody", {})).get("content", {}).items():
        assert "example" in media or "examples" in media or "example" in resolved(media["schema"]), kind
        for name, schema in schemas(media["schema"], "body"):
            assert fault_of(schema, is_input=True) is None, f"{name}: {fault_of(schema, is_input=True)}"


@EACH
def test_whoever_tries_it_out_asks_for_no_more_than_is_required(operation: dict[str, Any]) -> None:
    """Swagger UI fills in every example, and another day's range would show a newcomer an empty list."""
    optional = [parameter for parameter in parameters_of(operation) if not parameter.get("required")]
    filled_in = [each["name"] for each in optional if "example" in each or "example" in resolved(each["schema"])]

    assert filled_in == []


@EACH
def test_every_parameter_is_bounded(operation: dict[str, Any]) -> None:
    for parameter in parameters_of(operation):
        for name, schema in schemas(parameter["schema"], parameter["name"]):
            assert fault_of(schema, is_input=True) is None, f"{name}: {fault_of(schema, is_input=True)}"


@EACH
def test_every_json_answer_is_bounded(operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        for kind, media in resolved(response).get("content", {}).items():
            for name, schema in schemas(media["schema"], kind):
                assert fault_of(schema, is_input=False) is None, f"{name}: {fault_of(schema, is_input=False)}"


def fault_of(schema: dict[str, Any], *, is_input: bool) -> str | None:
    """What a schema lacks."""
    kind = schema.get("type")
    bounded = {
        "string": "maxLength" in schema or "enum" in schema or schema.get("format") == "binary",
        "integer": "minimum" in schema and "maximum" in schema,
        "number": "minimum" in schema and "maximum" in schema,
        "array": "maxItems" in schema,
        "object": "additionalProperties" in schema and ("properties" in schema or "maxProperties" in schema),
    }
    if kind in bounded and not bounded[kind]:
        return f"{kind} without bounds"
    if kind == "object" and is_input and schema["additionalProperties"] is not False:
        return "object that is not closed"
    if kind is None and not any(form in schema for form in ("allOf", "anyOf", "oneOf")):
        return "no type"
    return None


def examples(node: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each example in the file with the schema it is of."""
    if isinstance(node, dict):
        schema = node.get("schema", node)
        if "example" in node and ("type" in schema or "$ref" in schema or "schema" in node or "anyOf" in schema):
            yield at, schema, node["example"]
        for name, example in node.get("examples", {}).items() if "schema" in node else ():
            yield f"{at}.{name}", schema, resolved(example)["value"]
        for key, value in node.items():
            if key not in {"example", "examples"}:
                yield from examples(value, f"{at}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from examples(value, f"{at}/{index}")


@pytest.mark.parametrize(("at", "schema", "example"), [pytest.param(*e, id=e[0]) for e in examples(SPEC)])
def test_every_example_keeps_its_schema(at: str, schema: Any, example: Any) -> None:
    rules = Rules(SPEC)

    rules.check(rules.compiled(schema), example)


def test_banners_stand_over_the_tags_in_order() -> None:
    banners = re.findall(r"^  # --- (\w+) -+$", TEXT[: TEXT.index("\ncomponents:")], re.MULTILINE)
    order = [tag["name"] for tag in SPEC["tags"]]

    assert banners == order
