"""Rows to the core's values and back; no statement is run here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column

from backhaul.adapters.ledger.paths.block import PublishedRow
from backhaul.adapters.ledger.schema import (
    UtcTime,
    WrongValue,
    objects,
    published,
    staging_roots,
)
from backhaul.core.checksums import Checksum
from backhaul.core.cost.egress import Egress
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import AbandonedStaging, AttemptStart, Published
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, RowMapping

LOOKUP_BATCH = 500  # paths per query; SQLite before 3.32 allows 999 parameters
_PIN = ("bucket", "key", "version_id", "etag", "size_bytes", "last_modified")  # as in `Pin`
_PROOF = (
    *("crc32c", "proof", "algorithm", "checksum", "seen_version_id", "modified_ms"),
    *("checksum_type", "target_algorithm", "target_checksum", "asked", "note", "bytes_read"),
    "proven_at",
)
PLANNED_COLUMNS = tuple(objects.c[name] for name in ("seq", *_PIN, "relative"))
PROOF_COLUMNS = tuple(objects.c[name] for name in _PROOF)
_OF_EVERY_PROOF = ("crc32c", "proof")
_MAY_BE_NEGATIVE = frozenset({"modified_ms", "duration_us"})  # clocks step, files have any time
_URIS = frozenset({"uri", "staging_root", "canonical", "directory"})
_UP = re.compile(r"(^|/)(\.{0,2})(/|$)")
# Closed sets of texts.
_ENUMS = {"state": TransferState, "proof": Proof}


def checked(row: Mapping[Any, Any], columns: Iterable[ColumnElement[Any]]) -> None:
    """Refuse values in these columns that Backhaul never writes.

    Raises:
        WrongValue: names column and value.
    """
    for column in columns:
        if not isinstance(column, Column):
            message = "only columns of tables are read"
            raise AssertionError(message)  # noqa: TRY004 - of a query in this package
        value = row[column.name]
        reason = _why_not(column, value)
        if reason:
            raise WrongValue(f"{column.name} of {column.table.name} is {value!r}: {reason}")


def _why_not(column: Column[Any], value: Any) -> str:
    if value is None:
        return "" if column.nullable else "never empty"
    kind = _kind(column)
    if not isinstance(value, kind):
        return f"no {kind.__name__}"
    if isinstance(value, int):
        is_right = value >= 0 or column.name in _MAY_BE_NEGATIVE
        return "" if is_right else "negative"
    return _why_no_text(column, value) if isinstance(value, str) else ""


# Of an application, a deadline and a reply: others than a transfer's.
_OTHER_STATES = frozenset({"jobs", "expectations", "replies"})


def _why_no_text(column: Column[Any], value: str) -> str:
    if column.name in _URIS and "://" not in value:
        return "no URI"
    if column.name == "relative" and _UP.search(value):
        return "no path below a directory"
    if column.name in _ENUMS and column.table.name not in _OTHER_STATES:
        return "" if value in _values(_ENUMS[column.name]) else "unknown"
    return ""


@cache
def _kind(column: Column[Any]) -> type:
    return datetime if isinstance(column.type, UtcTime) else column.type.python_type


@cache
def _values(of: type[StrEnum]) -> frozenset[str]:
    return frozenset(one.value for one in of)


def is_since(stored_us: Any, since_us: int) -> bool:
    """Whether a time is then or later, as stored; one that was edited into none hides nothing."""
    return not isinstance(stored_us, int | None) or (stored_us or 0) >= since_us


def text(value: Any) -> str | None:
    """A text of one column, or None.

    Raises:
        WrongValue: It is something else.
    """
    if value is not None and not isinstance(value, str):
        raise WrongValue(f"{value!r} is no text")
    return value


def named(transfer_id: Any) -> str:
    """An id of one column, which is never null.

    Raises:
        WrongValue: It is something else.
    """
    if transfer_id is None:
        raise WrongValue("an id of a transfer is missing")
    return text(transfer_id) or ""


def location(uri: str) -> Location:
    """The reverse of `Location.uri`.

    Raises:
        WrongValue: It is none.
    """
    if "://" not in (text(uri) or ""):
        raise WrongValue(f"{uri!r} is no URI")
    return Location.from_uri(uri)


def optional_location(uri: str | None) -> Location | None:
    """`location` of a column that may be null."""
    return None if uri is None else location(uri)


def overlap(one: Location, other: Location) -> bool:
    """True when one is the other, above it or below it."""
    return one.is_within(other) or other.is_within(one)


def uri_batches(locations: Sequence[Location]) -> Iterator[list[str]]:
    """Their URIs, as many at a time as one query takes."""
    for start in range(0, len(locations), LOOKUP_BATCH):
        yield [location.uri for location in locations[start : start + LOOKUP_BATCH]]


def readable(text: str) -> str:
    """Text for people: without secrets, and with what a ledger cannot hold replaced.

    Sources and reasons quote messages and answers, and those may be anything. UTF-8 has no
    surrogates, PostgreSQL no U+0000.
    """
    return redacted(text).encode("utf-8", "replace").decode("utf-8").replace("\0", "\u2400")


def planned_values(transfer_id: str, planned: PlannedObject) -> dict[str, Any]:
    """One row of `objects` before its proof."""
    own = {"transfer_id": transfer_id, "seq": planned.seq, "relative": planned.relative}
    return own | {name: getattr(planned.pin, name) for name in _PIN}


def content_text(content: Checksum) -> str:
    """For the column `crc32c`: the digits, after `crc32:` where they are a CRC32."""
    return content.hex if content.algorithm == "CRC32C" else f"crc32:{content.hex}"


def content_of(text: str) -> Checksum:
    """From the column `crc32c`."""
    digits = text.removeprefix("crc32:")
    return Checksum("CRC32C" if digits == text else "CRC32", digits)


def _target_checksum(row: RowMapping) -> Checksum | None:
    algorithm, digits = row["target_algorithm"], row["target_checksum"]
    if (algorithm is None) != (digits is None):
        raise WrongValue(f"object {row['seq']} has half a target checksum")
    return None if algorithm is None else Checksum(algorithm, digits)


def proof_values(transfer_id: str, epoch: int, staged: StagedObject) -> dict[str, Any]:
    """Parameters of the statement that writes a proof."""
    target = staged.target_checksum
    return {
        "of_transfer": transfer_id,
        "of_seq": staged.seq,
        "of_size": staged.size_bytes,
        "epoch": epoch,
        "crc32c": content_text(staged.content),
        "proof": staged.proof.value,
        "algorithm": staged.algorithm,
        "checksum": staged.checksum,
        "seen_version_id": staged.version_id,
        "modified_ms": staged.modified_ms,
        "checksum_type": staged.checksum_type,
        "target_algorithm": target.algorithm if target else None,
        "target_checksum": target.hex if target else None,
        "asked": staged.checksum_source,
        "note": readable(staged.note),
        "bytes_read": staged.bytes_read,
        "proven_at": staged.proven_at,
    }


def pin(row: Mapping[Any, Any]) -> Pin:
    """From a row of `objects` or `published`."""
    return Pin(**{name: row[name] for name in _PIN})


def planned_object(row: RowMapping) -> PlannedObject:
    """From `PLANNED_COLUMNS`, checked."""
    return PlannedObject(seq=row["seq"], pin=pin(row), relative=row["relative"])


def staged_object(row: RowMapping) -> StagedObject:
    """From both column lists, checked, of a proven row.

    Raises:
        WrongValue: It has no proof.
    """
    if any(row[name] is None for name in _OF_EVERY_PROOF):
        raise WrongValue(f"object {row['seq']} has an epoch and no proof")
    return StagedObject(
        seq=row["seq"],
        size_bytes=row["size_bytes"],
        content=content_of(row["crc32c"]),
        proof=Proof(row["proof"]),
        algorithm=row["algorithm"],
        checksum=row["checksum"],
        checksum_type=row["checksum_type"],
        version_id=row["seen_version_id"],
        modified_ms=row["modified_ms"],
        target_checksum=_target_checksum(row),
        checksum_source=row["asked"] or "",
        note=row["note"] or "",
        bytes_read=row["bytes_read"] or 0,
        proven_at=row["proven_at"],
    )


def abandoned_staging(row: Mapping[Any, Any]) -> AbandonedStaging:
    """From a row of `staging_roots`."""
    checked(row, staging_roots.c)
    return AbandonedStaging(
        transfer_id=row["transfer_id"],
        staging_root=location(row["staging_root"]),
        epoch=row["epoch"],
        route=row["route"],
    )


def published_file(row: PublishedRow) -> Published:
    """From what `paths.packed` finds.

    Raises:
        WrongValue: A value that Backhaul never writes.
    """
    modified = UtcTime().process_result_value(row.last_modified, None)
    values = row._asdict() | {"last_modified": modified}
    checked(values, published.c)
    return Published(
        location=location(row.uri),
        transfer_id=row.transfer_id,
        pin=pin(values),
        content=content_of(row.crc32c),
        modified_ms=row.modified_ms,
    )


def begun(row: Mapping[Any, Any], *, is_live: bool) -> AttemptStart:
    """From a row of `transfers`."""
    return AttemptStart(
        transfer_id=row["id"],
        state=TransferState(row["state"]),
        attempt=row["attempt"],
        is_live=is_live,
        has_plan=row["plan_complete"],
        was_publishing=row["renames_possible"],
        first_seen_at=row["first_seen_at"],
        directory=optional_location(row["directory"]),
        destination=optional_location(row["canonical"]),
        failures=row["failures"],
        source_changes=row["source_changes"],
        code=row["code"],
        reason=row["reason"],
        has_dead_letter=row["has_letter"],
        owner=row["owner"],
        egress=Egress(row["egress_copy"], row["egress_retry"], row["egress_verify"]),
    )
