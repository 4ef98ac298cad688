"""Faults around a real ledger: SQLite on a temporary file is quick enough to need no fake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from backhaul.core.errors import OutageError
from backhaul.core.ports import Ledger
from backhaul.testing.fakes.faults import Faults


def faulty(ledger: Ledger, faults: Faults) -> Ledger:
    """The same ledger, whose calls are named `ledger.begin` and so on and may fail."""
    return cast("Ledger", _Faulty(ledger, faults))


class _Faulty:
    def __init__(self, ledger: Ledger, faults: Faults) -> None:
        self._ledger = ledger
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._ledger, name)

        def call(*arguments: Any, **named: Any) -> Any:
            with self._faults.call(f"ledger.{name}", _outage):
                return method(*arguments, **named)

        return call


def _outage(name: str) -> OutageError:
    return OutageError.of("ledger", "E_LEDGER_IO", f"{name} was not answered")
