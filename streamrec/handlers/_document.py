"""The contract: read once, opened or wired for this instance, and served as it was written."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import yaml

from streamrec.handlers import _security
from streamrec.settings import PROJECT

PATH = PROJECT / "openapi" / "recording-api.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # a tenth of the time; every worker begins with it
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@cache
def _written() -> dict[str, Any]:
    """Parsed here and not by Connexion, which would render the file as a Jinja template first."""
    document: dict[str, Any] = yaml.load(PATH.read_bytes(), Loader=_LOADER)  # noqa: S506 - a safe one
    return document


class Document:
    """One instance's contract."""

    def __init__(self, *, auth_required: bool) -> None:
        self.contract = copy.deepcopy(_written())
        if not auth_required:
            _security.opened(self.contract)
        self.json = orjson.dumps(self.contract)
        self.yaml = PATH.read_bytes() if auth_required else _dumped(self.contract)

    def for_connexion(self) -> dict[str, Any]:
        """A copy that Connexion may take apart."""
        return _security.wired(copy.deepcopy(self.contract))

    def methods(self) -> Callable[[str], list[str]]:
        """A function that tells the methods of a path, for `Allow`."""
        literal = {path: _methods(item) for path, item in self.contract["paths"].items() if "{" not in path}
        templates = [
            (_pattern(path), _methods(item)) for path, item in self.contract["paths"].items() if "{" in path
        ]

        def allowed(path: str) -> list[str]:
            found = literal.get(path) or [
                m for pattern, methods in templates if pattern.fullmatch(path) for m in methods
            ]
            return sorted(set(found) or {"GET", "HEAD"})

        return allowed

    def uploads(self) -> Callable[[str, str], bool]:
        """A function that tells whether a method of a path takes a body that is streamed to the disk."""
        streamed = [
            (method.upper(), _pattern(path))
            for path, item in self.contract["paths"].items()
            for method in _METHODS
            if item.get(method, {}).get("requestBody", {}).get("x-streamed")
        ]

        def is_upload(method: str, path: str) -> bool:
            return any(method == known and pattern.fullmatch(path) for known, pattern in streamed)

        return is_upload


def _dumped(document: dict[str, Any]) -> bytes:
    text: str = yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=115)
    return text.encode()


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]+\}", path)))


def _methods(item: dict[str, Any]) -> list[str]:
    known = [method.upper() for method in item if method in _METHODS]
    return [*known, "HEAD"] if "GET" in known else known
