"""A setting is written once: its default has one home, and a route option has no second list."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import backhaul
from backhaul.core.model import Limits, Location, Request, Route, Source, TransferRules
from backhaul.core.requests.policy import Policy
from backhaul.settings.model import RouteSettings, Settings
from backhaul.settings.routes import make_routes
from tests.docs.test_reference import settings_in_source

SRC = Path(backhaul.__file__).parent


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(SRC)): ast.parse(path.read_text("utf-8"))
        for path in sorted(SRC.rglob("*.py"))
    }


def _default(value: ast.expr | None) -> ast.expr | None:
    """What a class body assigns; of `Field(4, ge=1)` the 4."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) in {"Field", "field"}:
        return value.args[0] if value.args else None
    return value


def _has_value_of_its_own(default: ast.expr) -> bool:
    """False for None, 0 and `()`, and for what names another field, such as `Route.publish`."""
    parts = list(ast.walk(default))
    if any(isinstance(part, ast.Attribute) and part.attr.islower() for part in parts):
        return False
    return any(
        isinstance(part, ast.Attribute)
        or (isinstance(part, ast.Constant) and part.value not in (None, ..., 0, ""))
        for part in parts
    )


def _defaults(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Name and default of every field of a class and every parameter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    found = _default(line.value)
                    if found is not None:
                        yield line.target.id, found
        elif isinstance(node, ast.FunctionDef):
            positional = [*node.args.posonlyargs, *node.args.args]
            given = node.args.defaults
            pairs = [
                *zip(positional[len(positional) - len(given) :], given, strict=True),
                *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
            ]
            yield from ((one.arg, value) for one, value in pairs if value is not None)


@cache
def places_of_defaults() -> dict[str, list[str]]:
    found = defaultdict(list)
    for path, tree in trees().items():
        for name, default in _defaults(tree):
            if _has_value_of_its_own(default):
                found[name].append(f"{path}:{default.lineno}")
    return found


@cache
def names_in_the_core() -> dict[str, set[str]]:
    """A setting's name to the names under which `settings` hands it on: `base_s=self.backoff…`."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees().items():
        if path.startswith("settings/"):
            for node in ast.walk(tree):
                if isinstance(node, ast.keyword) and isinstance(node.value, ast.Attribute):
                    found[node.value.attr].add(str(node.arg))
    return found


def settings_with_a_default() -> list[str]:
    return sorted(
        name
        for name, (field, _) in settings_in_source().items()
        if field.get("default") not in (None, [])
    )


def test_there_are_settings_to_look_at() -> None:
    assert len(settings_with_a_default()) > 25
    assert names_in_the_core()["backoff_base_s"] == {"base_s"}


@pytest.mark.parametrize("setting", settings_with_a_default())
def test_a_default_is_written_once(setting: str) -> None:
    name = setting.rsplit(".", 1)[1]
    known = {name} | names_in_the_core()[name]
    places = [place for each in sorted(known) for place in places_of_defaults()[each]]
    assert len(places) == 1, places


def test_a_second_default_is_found() -> None:
    tree = ast.parse(
        "class A:\n    slots: int = Field(4, ge=1)\n    queue: str | None = None\n"
        "    poll_s: float = Field(ClusterRules.poll_s, gt=0)\n    publish: P = P.AUTO\n"
        "def f(*, slots: int = 2 * 2, level: str = LogSection.level): ...\n"
    )
    found = [name for name, default in _defaults(tree) if _has_value_of_its_own(default)]
    assert found == ["slots", "publish", "slots"]


# ---------------------------------------------------------------- route options


ROUTE: dict[str, Any] = {"name": "a", "source": ["s3://raw/p/"], "destination": ["hdfs://ns/d/"]}
VALUES = {"source_owner": "123456789012", "run_as": "alice"}
REQUEST = Request(
    source=Source(bucket="raw", key="p/x"),
    destination=Location(scheme="hdfs", authority="ns", path="/d"),
)


def _another(name: str) -> Any:
    """A value that is not the default of this option."""
    kind = get_type_hints(TransferRules)[name]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(one for one in kind if one is not getattr(Route, name))
    return VALUES[name]


@pytest.mark.parametrize("name", [each.name for each in fields(TransferRules)])
def test_a_route_option_flows_from_the_file_to_the_assignment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "limits":
        given: Any = {"objects": 1, "bytes": 2, "in_flight": 3, "per_minute": 4}
        wanted: Any = Limits(objects=1, size_bytes=2, in_flight=3, per_minute=4)
    else:
        given = wanted = _another(name)
    settings = Settings(route=[RouteSettings(**ROUTE, **{name: given})])
    routes = make_routes(settings, None, None)
    assignment = Policy(routes=routes).decide(REQUEST, sender_id=None)
    assert getattr(assignment, name) == wanted


def test_every_field_of_a_route_is_a_setting() -> None:
    renamed = {"sources": "source", "destinations": "destination", "steps": "emr"}
    names = {renamed.get(each.name, each.name) for each in fields(Route)}
    # What a route expects, and when it pauses itself, decides about no request. Markers and other
    # replies are named by `replies`.
    names -= {"completion_marker", "reply_wishes"}
    assert names | {"budget", "expect", "pause_after", "replies"} == set(RouteSettings.model_fields)


def test_no_call_lists_the_route_options_again() -> None:
    """`publish=one.publish, verify=one.verify, …`: a list that a new option would have to join."""
    options = {each.name for each in fields(TransferRules)}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                copied = [
                    one.arg
                    for one in node.keywords
                    if isinstance(one.value, ast.Attribute) and one.value.attr == one.arg
                ]
                assert len(options & set(copied)) < 3, f"{path}:{node.lineno}: {copied}"
