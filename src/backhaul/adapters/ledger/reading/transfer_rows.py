"""Transfers, their journal and their jobs as values for those who read the ledger."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.schema import jobs, journal, transfers
from backhaul.core.model import Location, TransferState

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, RowMapping


@dataclass(frozen=True, kw_only=True)
class TransferRow:
    """One transfer as `history` shows it.

    Attributes:
        source: As requested; likewise `destination`.
        canonical: What was claimed; None before the first claim.
        directory: Where the objects' relative paths are appended; None likewise.
        policy: Digest of the policy that decided at the last claim.
        owner: `host:boot_id:pid:starttime` of the process at work, None when there is none.
        engine: The chosen one, with its reason; None where there was no choice.
        held_by: The dependency that it waits for, where `code` is set; else the last one it waited
            for, or None. Likewise `held_since`.
        retry_at: When a held transfer tries again; None while a worker waits by itself.
        copied_bytes: Of the objects that were copied and proven so far; `bytes_planned` counts
            those that were there already, too.
        completion_marker: URI of the empty file that it published after all others.
        table_format: `delta` or `iceberg`, or `delta, iceberg`, where its plan has such tables.
        egress_copy: Bytes that left S3 for it, by `core.cost.egress.Purpose`; likewise
            `egress_retry` and `egress_verify`.
        duration: First claim to end; None while not final.
        sender: SQS's SenderId; `sent_at` by SQS's clock; None: of `copy`, or not known.
        traceparent: The message's, as sent; likewise `aws_trace_header`, `openlineage_parent`.
        sent_again_as: The message as which the dead letter of a dead transfer went back to the
            queue; None: it did not, or nothing noted it.
        settled_at: Since when nothing is left to do about a dead transfer; None: it is open.
        settled_how: `Settlement`; `settled_transfer`: that brought what this one should have.
        pruned_at: When its object rows were dropped; None: they are there. `pruned_by` is the rule.
    """

    id: str
    queue: str | None
    message_id: str | None
    source: str
    destination: str
    canonical: Location | None
    directory: Location | None
    route: str | None
    policy: str | None
    state: TransferState
    attempt: int
    failures: int
    source_changes: int
    epoch: int | None
    owner: str | None
    sender: str | None
    sent_at: datetime | None
    traceparent: str | None
    aws_trace_header: str | None
    openlineage_parent: str | None
    plan_complete: bool
    renames_possible: bool
    objects_planned: int
    bytes_planned: int
    copied_bytes: int
    egress_copy: int
    egress_retry: int
    egress_verify: int
    markers: int
    publish_mode: str | None
    completion_marker: str | None
    table_format: str | None
    engine: str | None
    engine_reason: str | None
    code: str | None
    reason: str | None
    held_by: str | None
    held_since: datetime | None
    retry_at: datetime | None
    sent_again_as: str | None
    sent_again_at: datetime | None
    settled_at: datetime | None
    settled_how: str | None
    settled_transfer: str | None
    pruned_at: datetime | None
    pruned_by: str | None
    first_seen_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    duration: timedelta | None


@dataclass(frozen=True, kw_only=True)
class JournalRow:
    """One change of state."""

    at: datetime
    state: TransferState
    epoch: int | None
    attempt: int
    code: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One submission to YARN.

    Attributes:
        state: `submitting`, `queued`, `running`, `succeeded`, `failed`, `killed` or `unknown`.
        maps_done: As last seen while it ran; likewise `maps` and `size_bytes`.
        counters: DistCp's own, final; None where YARN did not report them.
    """

    epoch: int
    tag: str
    application_id: str | None
    state: str
    reason: str | None
    tracking_url: str | None
    maps_done: int | None
    maps: int | None
    size_bytes: int | None
    counters: str | None
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class SettledBy:
    """The transfer that a dead one became when it was sent again, or that brought its data."""

    id: str
    state: TransferState


def settled_by(tx: Connection, row: RowMapping) -> SettledBy | None:
    """Of a row of `transfers`; None unless an agent received what was sent again."""
    is_it: tuple[ColumnElement[bool], ...]
    if row["settled_transfer"] is not None:
        is_it = (transfers.c.id == row["settled_transfer"],)
    elif row["sent_again_as"] is not None:
        of_message = transfers.c.message_id == row["sent_again_as"]
        is_it = (transfers.c.queue == row["queue"], of_message)
    else:
        return None
    found = tx.execute(select(transfers).where(*is_it)).mappings().one_or_none()
    if found is None:
        return None
    rows.checked(found, transfers.c)
    return SettledBy(id=found["id"], state=TransferState(found["state"]))


def transfer_row(row: RowMapping) -> TransferRow:
    """From a row of `transfers` with `copied_bytes`."""
    rows.checked(row, transfers.c)
    duration_us = row["duration_us"]
    values: dict[str, Any] = {
        **row,
        "canonical": rows.optional_location(row["canonical"]),
        "directory": rows.optional_location(row["directory"]),
        "state": TransferState(row["state"]),
        "duration": None if duration_us is None else timedelta(microseconds=duration_us),
    }
    return TransferRow(**{field.name: values[field.name] for field in fields(TransferRow)})


def job_row(row: RowMapping) -> JobRow:
    """From a row of `jobs`."""
    rows.checked(row, jobs.c)
    return JobRow(**{field.name: row[field.name] for field in fields(JobRow)})


def journal_row(row: RowMapping) -> JournalRow:
    """From a row of `journal`."""
    rows.checked(row, journal.c)
    values = {field.name: row[field.name] for field in fields(JournalRow)}
    return JournalRow(**{**values, "state": TransferState(row["state"])})
