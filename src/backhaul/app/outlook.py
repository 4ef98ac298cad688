"""The outlook put together: the agent's watch, and `backhaul expectations`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from threading import Lock
from typing import Literal

from pydantic import TypeAdapter

from backhaul.adapters.ledger import LedgerReader, SqlLedger, find_reader, open_reader
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.context import Context
from backhaul.app.document import DeadlinePart, deadline_part
from backhaul.core.agent.notifying.watch import OutlookWatch
from backhaul.core.outlook.expectation import (
    Expectation,
    ExpectationRecord,
    ExpectationState,
)
from backhaul.core.ports import Emit
from backhaul.core.ports.ledger_place import LedgerPlace


class _WatchedLedger:
    """`core.ports.outlook.OutlookLedger`: the agent's own to write, a reader beside it."""

    def __init__(self, ledger: SqlLedger, path: LedgerPlace, turn: Lock) -> None:
        self._path = path
        self._turn = turn
        self.note_expectation = ledger.note_expectation
        self.forget_expectations = ledger.forget_expectations

    @contextmanager
    def reading(self) -> Iterator[LedgerReader]:
        with closing(open_reader(self._path, turn=self._turn)) as reader:
            yield reader


def make_watch(context: Context, ledger: SqlLedger, turn: Lock, emit: Emit) -> OutlookWatch:
    """For the agent's report.

    Args:
        turn: Held while this process reads the ledger.
    """
    return OutlookWatch(
        expectations=context.expectations,
        ledger=_WatchedLedger(ledger, context.settings.ledger_place, turn),
        clock=SystemClock(),
        emit=emit,
    )


# ---------------------------------------------------------------- backhaul expectations


@dataclass(frozen=True, kw_only=True)
class ExpectationView:
    """One expectation, as `backhaul expectations` shows it.

    Attributes:
        following: The next deadline, with what is there now.
        last: The one before. As an agent judged it; while none has, it is `due`, with what was
            there by then.
    """

    following: ExpectationRecord
    last: ExpectationRecord

    @property
    def is_missed(self) -> bool:
        """An agent saw its last deadline pass, and its data has still not come."""
        return self.last.state is ExpectationState.MISSED


def read_expectations(context: Context, now: datetime) -> list[ExpectationView] | None:
    """Each expectation of the configuration; None where no ledger exists yet.

    Raises:
        ConfigurationError, OutageError: As `ledger.open_reader`.
    """
    reader = find_reader(context.settings.ledger_place)
    if reader is None:
        return None
    with closing(reader):
        records = reader.expectations()
        return [_view(one, records, reader, now) for one in context.expectations]


def _view(
    one: Expectation, records: Sequence[ExpectationRecord], reader: LedgerReader, now: datetime
) -> ExpectationView:
    following = one.deadline_after(now)
    before = one.deadline_before(following)
    last = next(
        (
            record
            for record in records
            if (record.route, record.name, record.deadline) == (one.route, one.name, before)
            and record.state is not ExpectationState.DUE
        ),
        None,
    )
    if last is None:
        last = one.record(before, reader.arrived(one.query(before, before)))
    return ExpectationView(
        following=one.record(following, reader.arrived(one.query(following, now))), last=last
    )


@dataclass(frozen=True, kw_only=True)
class ExpectationLine:
    """One line of `backhaul expectations --json`.

    Its form is this class; `docs/schema/expectations.schema.json` is made of it. A field may be
    added; what is taken away or changes its meaning makes `v` another number.
    """

    v: Literal[1]
    route: str
    name: str
    is_missed: bool
    next: DeadlinePart
    last: DeadlinePart


@cache
def lines() -> TypeAdapter[ExpectationLine]:
    """What writes the line, and its schema."""
    return TypeAdapter(ExpectationLine)


def as_json_line(one: ExpectationView) -> str:
    """For programs."""
    line = ExpectationLine(
        v=1,
        route=one.following.route,
        name=one.following.name,
        is_missed=one.is_missed,
        next=deadline_part(one.following),
        last=deadline_part(one.last),
    )
    return lines().dump_json(line).decode()
