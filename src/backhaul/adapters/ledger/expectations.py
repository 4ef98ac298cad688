"""Deadlines of expected data, and what became of them: the table `expectations`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import RowMapping, bindparam, delete, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.schema import WrongValue, put
from backhaul.adapters.ledger.schema import expectations as table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.outlook.expectation import (
    Arrived,
    ExpectationRecord,
    ExpectationState,
    Wanted,
)

KEPT = timedelta(days=400)
_AT = (
    table.c.route == bindparam("of_route"),
    table.c.name == bindparam("of_name"),
    table.c.deadline == bindparam("of_deadline"),
)
_STATE = select(table.c.state).where(*_AT)
_FORGET = delete(table).where(*_AT)
_FORGET_OLD = delete(table).where(*_AT[:2], table.c.deadline < bindparam("of_deadline"))


class SqlExpectations(WriteSession):
    """Half of `core.ports.outlook.OutlookLedger`; the other half reads."""

    def note_expectation(self, record: ExpectationRecord) -> bool:
        key = _key(record)
        with self._transaction() as tx:
            before = tx.execute(_STATE, key).scalar()
            put(tx, table, _values(record))
            tx.execute(_FORGET_OLD, {**key, "of_deadline": record.deadline - KEPT})
        return before != record.state.value

    def forget_expectations(self, records: Sequence[ExpectationRecord]) -> None:
        with self._transaction() as tx:
            for one in records:
                tx.execute(_FORGET, _key(one))


def _key(record: ExpectationRecord) -> dict[str, object]:
    return {
        "of_route": record.route,
        "of_name": record.name,
        "of_deadline": record.deadline,
    }


def _values(record: ExpectationRecord) -> dict[str, object]:
    found = record.found or Arrived()
    return {
        "route": record.route,
        "name": record.name,
        "deadline": record.deadline,
        "calendar": rows.readable(record.calendar),
        "counted": record.found is not None,
        "due": rows.readable(record.due),
        "place": rows.readable(record.place),
        "state": record.state.value,
        "wanted_objects": record.wanted.objects,
        "wanted_bytes": record.wanted.size_bytes,
        "wanted_transfers": record.wanted.transfers,
        "objects": found.objects,
        "size_bytes": found.size_bytes,
        "transfers": found.transfers,
        "judged_at": record.judged_at,
        "arrived_at": record.arrived_at,
    }


def expectation_record(row: RowMapping) -> ExpectationRecord:
    """From a row of `expectations`.

    Raises:
        WrongValue: It has a state that there is not.
    """
    rows.checked(row, table.c)
    try:
        state = ExpectationState(row["state"])
    except ValueError as error:
        raise WrongValue(f"state of expectations is {row['state']!r}") from error
    found = Arrived(
        objects=row["objects"], size_bytes=row["size_bytes"], transfers=row["transfers"]
    )
    return ExpectationRecord(
        route=row["route"],
        name=row["name"],
        deadline=row["deadline"],
        calendar=row["calendar"],
        due=row["due"],
        place=row["place"],
        state=state,
        wanted=Wanted(
            objects=row["wanted_objects"],
            size_bytes=row["wanted_bytes"],
            transfers=row["wanted_transfers"],
        ),
        found=found if row["counted"] else None,
        judged_at=row["judged_at"],
        arrived_at=row["arrived_at"],
    )
