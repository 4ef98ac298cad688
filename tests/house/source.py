"""The package's own source, for the tests of its layout and its words."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "backhaul"


@cache
def modules() -> list[Path]:
    """Every Python file of the package that people write; generated ones are left out."""
    return [path for path in sorted(SRC.rglob("*.py")) if not path.name.endswith("_pb2.py")]


@cache
def tree(path: Path) -> ast.Module:
    """Its syntax tree."""
    return ast.parse(path.read_text("utf-8"))


def module_name(path: Path) -> str:
    """`backhaul.core.model` for `src/backhaul/core/model.py`."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
