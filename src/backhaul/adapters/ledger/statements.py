"""When statements have to be carried out: before the next line of code, or before they are reached.

A database may let changes wait for the statement after them. Where the number of changed rows is
read, or an error is expected there, that would be too late. Over a long line it may also answer
before its turn what a transaction is going to read in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Executable

_AT_ONCE = "at_once"
_Statement = TypeVar("_Statement", bound=Executable)


class Query(NamedTuple):
    """A statement as it will be executed, values and all: `tx.execute(*query)`."""

    statement: Executable
    values: Mapping[str, Any]


def at_once(statement: _Statement) -> _Statement:
    """The same statement, carried out where it stands."""
    return statement.execution_options(**{_AT_ONCE: True})


def is_at_once(options: Mapping[str, Any]) -> bool:
    """Whether a statement with these execution options is."""
    return bool(options.get(_AT_ONCE))
