"""Reading the ledger for people and programs; works beside a running agent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from backhaul.adapters.ledger import (
    JobRow,
    TransferDetails,
    TransferRow,
    open_reader,
)
from backhaul.app.context import Context
from backhaul.core.evidence import object_line, text
from backhaul.core.model import Location, TransferState

OPEN_MOST = 1000  # of each state; an agent has `agent.slots` under way

__all__ = ["JobRow", "TransferDetails", "TransferRow"]


def read_history(
    context: Context, *, limit: int, state: str | None, since: datetime | None
) -> list[TransferRow]:
    """Newest first; empty where no ledger exists yet."""
    path = context.settings.ledger_path
    if not path.exists():
        return []
    reader = open_reader(path)
    try:
        wanted = TransferState(state) if state else None
        return list(reader.history(limit=limit, state=wanted, since=since))
    finally:
        reader.close()


def read_open(context: Context) -> list[TransferDetails]:
    """Those that have not ended, newest first; empty where no ledger exists yet."""
    path = context.settings.ledger_path
    if not path.exists():
        return []
    reader = open_reader(path)
    try:
        open_states = [state for state in TransferState if not state.is_final]
        rows = [row for state in open_states for row in reader.history(OPEN_MOST, state)]
        rows.sort(key=lambda row: (row.first_seen_at, row.id), reverse=True)
        return [reader.show(row.id, first_objects=0) for row in rows]
    finally:
        reader.close()


def read_transfer(context: Context, id_prefix: str) -> TransferDetails:
    """One transfer.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
    """
    reader = open_reader(context.settings.ledger_path)
    try:
        return reader.show(id_prefix)
    finally:
        reader.close()


def read_evidence(context: Context, id_prefix: str) -> Iterator[str]:
    """The manifest: a line per object, and the sealing line where the transfer has ended."""
    reader = open_reader(context.settings.ledger_path)
    try:
        transfer_id = reader.show(id_prefix, first_objects=0).transfer.id
        for row in reader.objects(transfer_id):
            yield text(object_line(transfer_id, row.planned, row.staged, row.target))
        sealed = reader.sealed(transfer_id)
        if sealed is not None:
            yield sealed.line
    finally:
        reader.close()


def row_as_json(row: TransferRow) -> dict[str, Any]:
    """Field names are those of the ledger; times are ISO 8601, durations seconds."""
    return {name: _plain(value) for name, value in vars(row).items()}


def details_as_json(details: TransferDetails) -> dict[str, Any]:
    """`transfer`, `jobs`, `proofs`, `objects` (the first ones) and `journal`."""
    return {
        "transfer": row_as_json(details.transfer),
        "jobs": [_fields(job) for job in details.jobs],
        "proofs": [_fields(total) for total in details.proofs],
        "objects": [
            object_line(details.transfer.id, one.planned, one.staged, one.target)
            for one in details.first_objects
        ],
        "journal": [_fields(entry) for entry in details.journal],
    }


def _fields(record: object) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(record).items()}


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
