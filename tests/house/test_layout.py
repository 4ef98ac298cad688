"""Where code lives: sizes, names and rooms that keep the tree easy to find one's way in."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest

from tests.house.source import SRC, modules, tree

FILE_LINES_MAX = 450
FOLDER_FILES_MAX = 17
EXCUSE = "# Longer than 450 lines:"
BROAD_MAX = 15
SHORTEST_REASON = 10
HEART = SRC / "core" / "transfer" / "attempt.py"


def test_a_long_file_has_its_excuse() -> None:
    """Split it by story, or write `# Longer than 450 lines:` and why."""
    long = {}
    for path in modules():
        text = path.read_text("utf-8")
        if (lines := len(text.splitlines())) > FILE_LINES_MAX and EXCUSE not in text:
            long[str(path.relative_to(SRC))] = lines
    assert not long


@pytest.mark.parametrize("room", ["core", "adapters"])
def test_no_folder_is_crowded(room: str) -> None:
    folders = {path.parent for path in (SRC / room).rglob("*.py")}
    crowded = {
        str(folder.relative_to(SRC)): count
        for folder in folders
        if (count := len([p for p in folder.glob("*.py") if p.name != "__init__.py"]))
        > FOLDER_FILES_MAX
    }
    assert not crowded


def test_no_class_name_means_two_things() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(str(path.relative_to(SRC)))
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


def test_handlers_that_swallow_every_error_are_few_and_have_a_reason() -> None:
    """Those that end in `raise` release something, or translate the error, and hide nothing."""
    found, bare = [], []
    for path in modules():
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
                if isinstance(node.body[-1], ast.Raise):
                    continue
                place = f"{path.relative_to(SRC)}:{node.lineno}"
                found.append(place)
                if len(_reason(lines[node.lineno - 1])) < SHORTEST_REASON:
                    bare.append(place)
    assert not bare, "a broad handler needs its reason behind it, as a comment"
    assert len(found) <= BROAD_MAX, found


def _reason(line: str) -> str:
    return re.sub(r"^\s*noqa: [A-Z0-9, ]+( - )?", "", line.partition("#")[2]).strip()


def _is_broad(kind: ast.expr | None) -> bool:
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"})
        for name in names
    )


def test_the_heart_fits_on_one_screen() -> None:
    """The attempt reads as straight code: short file, few methods, few attributes."""
    assert len(HEART.read_text("utf-8").splitlines()) <= 350
    (heart,) = (
        node
        for node in tree(HEART).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == "run" for part in node.body)
    )
    methods = [node for node in heart.body if isinstance(node, ast.FunctionDef)]
    attributes = {
        target.attr
        for node in ast.walk(heart)
        for target in _assigned(node)
        if isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }
    assert len(methods) <= 20
    assert len(attributes) <= 10, attributes


def _assigned(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return [
            part
            for target in node.targets
            for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        ]
    return [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []


def test_a_target_operation_is_called_by_its_own_name() -> None:
    """So that mypy fails when a signature drifts."""
    engines = [path for path in modules() if "engines" in path.parts]
    assert engines
    assert not [path.name for path in engines if "getattr(operations" in path.read_text("utf-8")]
