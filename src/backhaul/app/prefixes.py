"""What is named by the beginning of its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def one_of(beginning: str, named: Mapping[str, Value]) -> list[Value]:
    """Values whose name begins like this, each once; the one with exactly this name alone."""
    if beginning in named:
        return [named[beginning]]
    found: list[Value] = []
    for name, value in named.items():
        if name.startswith(beginning) and value not in found:
            found.append(value)
    return found
