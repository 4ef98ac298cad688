"""Reads the ledger for people and programs, also while the agent runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from typing import Any

from backhaul.adapters.ledger import (
    COUNT_MOST,
    HistoryFilter,
    JobRow,
    LedgerReader,
    OperatorAction,
    TransferDetails,
    TransferRow,
    find_reader,
    open_reader,
)
from backhaul.app.cost import Costs
from backhaul.app.ids import by_place
from backhaul.core.cost.prices import usd
from backhaul.core.model import Location, TransferState
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.transfer.evidence import object_line, pruned_line, text
from backhaul.core.transfer_ids import TRANSFER_ID


@dataclass(frozen=True, kw_only=True)
class Actions:
    """Some lines of the operators' journal, newest first.

    Attributes:
        matching: How many match the filters, shown or not; of `total`.
    """

    rows: Sequence[OperatorAction]
    matching: int
    total: int


SETTLED = "settled"
PAGE = 500
OPEN_MOST = 5000  # far more than the `agent.slots` of any agent

__all__ = ["COUNT_MOST", "History", "JobRow", "OperatorAction", "TransferDetails", "TransferRow"]


@dataclass(frozen=True, kw_only=True)
class History:
    """Some transfers of a ledger, newest first.

    Attributes:
        matching: How many match the filters, shown or not; counted to `COUNT_MOST`, one more
            means that there are others.
        total: How many the ledger has, counted likewise; None where no ledger exists yet.
        settled: How many dead ones match that are settled, counted likewise, where the filter has
            only those that are open.
        not_registered: The ids of those that are done, and whose partitions Hive does not have yet.
        meant_route: Nothing matches, and this route is like the one of the filter.
    """

    rows: list[TransferRow]
    matching: int = 0
    total: int | None = None
    settled: int = 0
    not_registered: frozenset[str] = frozenset()
    meant_route: str | None = None


def wanted_transfers(*, states: Sequence[str] = (), **others: Any) -> HistoryFilter:
    """The filter; of the dead, `dead` is those that are open, `settled` the others."""
    wanted = [TransferState(one) for one in states if one != SETTLED]
    is_any_dead = TransferState.DEAD in wanted and SETTLED in states
    if SETTLED in states and not is_any_dead:
        wanted.append(TransferState.DEAD)
    settled = None if is_any_dead or TransferState.DEAD not in wanted else SETTLED in states
    return HistoryFilter(states=tuple(wanted), settled=settled, **others)


def read_history(
    path: LedgerPlace,
    *,
    limit: int,
    wanted: HistoryFilter,
    sums_objects: bool = True,
) -> History:
    """Newest first; empty where no ledger exists yet.

    Args:
        sums_objects: False: `copied_bytes` of those that have not ended is 0.
    """
    reader = find_reader(path)
    if reader is None:
        return History(rows=[])
    with closing(reader):
        rows = reader.history(limit, wanted=wanted, sums_objects=sums_objects)
        is_all = len(rows) < limit
        dead = replace(wanted, states=(TransferState.DEAD,), settled=True)
        return History(
            not_registered=frozenset(reader.not_registered([one.id for one in rows])),
            rows=rows,
            matching=len(rows) if is_all else reader.count(wanted=wanted),
            total=reader.count(),
            settled=reader.count(wanted=dead) if wanted.settled is False else 0,
            meant_route=None if rows or wanted.route is None else _like(reader, wanted.route),
        )


def _like(reader: LedgerReader, route: str) -> str | None:
    known = reader.known_routes(datetime.now(UTC))
    near = get_close_matches(route, known, 1)
    return near[0] if near and route not in known else None


def read_open(path: LedgerPlace, route: str | None = None) -> list[TransferDetails] | None:
    """Those that have not ended, newest first; None where no ledger exists yet.

    Args:
        route: Only of this one.
    """
    reader = find_reader(path)
    if reader is None:
        return None
    with closing(reader):
        found = reader.open_transfers(most=OPEN_MOST)
        wanted = [one for one in reversed(found) if route in {None, one.route}]
        return [reader.show(one.id, first_objects=0) for one in wanted]


def read_transfer(path: LedgerPlace, id_prefix: str) -> TransferDetails:
    """One transfer, by the start of its id or of its message's, or by a place.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
    """
    whole = by_place(path, id_prefix)
    with closing(open_reader(path)) as reader:
        return reader.show(whole)


def read_evidence(path: LedgerPlace, id_prefix: str) -> Iterator[str]:
    """The manifest: a line per object, and the seal line once the transfer has ended."""
    whole = by_place(path, id_prefix)
    with closing(open_reader(path)) as reader:
        transfer = reader.transfer(whole)
        transfer_id = transfer.id
        if transfer.pruned_at is not None:
            yield text(pruned_line(transfer_id, transfer.pruned_at, transfer.pruned_by or ""))
        for row in reader.objects(transfer_id):
            yield text(object_line(transfer_id, row.planned, row.staged, row.target))
        sealed = reader.sealed(transfer_id)
        if sealed is not None:
            yield sealed.line


def read_journal(
    path: LedgerPlace,
    *,
    limit: int,
    route: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    actions: Sequence[str] = (),
    operator: str | None = None,
) -> Actions | None:
    """What operators did, newest first; None where no ledger exists yet.

    Args:
        route: Only what was done to it or, among those that are named, to transfers of it.
    """
    reader = find_reader(path)
    if reader is None:
        return None
    with closing(reader):
        if route is not None:
            found = [
                one
                for page in _pages(reader, since, until, actions, operator)
                for one in _on_route(reader, page, route)
            ]
            total = reader.count_actions()
            return Actions(rows=found[:limit], matching=len(found), total=total)
        rows = reader.operator_actions(
            most=limit, since=since, until=until, actions=actions, operator=operator
        )
        is_all = len(rows) < limit
        matching = len(rows)
        if not is_all:
            matching = reader.count_actions(
                since=since, until=until, actions=actions, operator=operator
            )
        return Actions(rows=rows, matching=matching, total=reader.count_actions())


def _pages(
    reader: LedgerReader,
    since: datetime | None,
    until: datetime | None,
    actions: Sequence[str],
    operator: str | None,
) -> Iterator[Sequence[OperatorAction]]:
    """All of the journal, newest first; it grows with what people do."""
    before: int | None = None
    while page := reader.operator_actions(
        most=PAGE,
        before=before,
        since=since,
        until=until,
        actions=actions,
        operator=operator,
    ):
        yield page
        before = page[-1].number


def _on_route(
    reader: LedgerReader, page: Sequence[OperatorAction], route: str
) -> Iterator[OperatorAction]:
    """A subject is a route, what is to be done of it (`click: adopt`), or names transfers."""
    named = {one.number: TRANSFER_ID.findall(one.subject) for one in page}
    known = reader.candidates(sorted({each for ids in named.values() for each in ids}))
    for one in page:
        is_of_it = one.subject == route or one.subject.startswith((f"{route}: ", f"{route} until "))
        routes = {known[each].route for each in named[one.number] if each in known}
        if is_of_it or route in routes:
            yield one


def row_as_json(row: object) -> dict[str, Any]:
    """A row of the ledger under its field names; times are ISO 8601, durations seconds."""
    return {name: _plain(value) for name, value in vars(row).items()}


def transfer_as_json(row: TransferRow, costs: Costs) -> dict[str, Any]:
    """A line of `history --json`: the row, and what it cost by the prices of its last day."""
    return {**row_as_json(row), "cost_usd": usd(costs.of_transfer(row))}


def details_as_json(details: TransferDetails, costs: Costs) -> dict[str, Any]:
    """What `show --json` prints; of `objects` the first ones."""
    settled_by = details.settled_by
    return {
        # The same object as a line of `history --json`.
        "transfer": {"v": 1, **transfer_as_json(details.transfer, costs)},
        "settled_by": None if settled_by is None else row_as_json(settled_by),
        "jobs": [row_as_json(job) for job in details.jobs],
        "proofs": [row_as_json(total) for total in details.proofs],
        "objects": [
            object_line(details.transfer.id, one.planned, one.staged, one.target)
            for one in details.first_objects
        ],
        "journal": [row_as_json(entry) for entry in details.journal],
        "replies": [row_as_json(reply) for reply in details.replies],
    }


def _plain(value: object) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Location():
            return value.uri
        case Enum():
            return value.value
        case _:
            return value
