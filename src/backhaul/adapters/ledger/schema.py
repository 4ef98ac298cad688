"""The ledger's tables as they are now, and the upsert, which dialects write differently.

How the tables came to be is in `migrations/versions`. Portable types only, so that PostgreSQL can
hold the same tables. Texts that are paths or keys are compared as UTF-8 bytes. Rows are stored
under their keys (SQLite: WITHOUT ROWID): one page less to write per commit.

Partial indexes have their condition for SQLite here, for PostgreSQL in the migrations: naming its
dialect loads it, a twentieth of a start's CPU.
"""

# Longer than 450 lines: one table after another, to be looked up, not read through.
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Insert,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    true,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.engine import Dialect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class WrongValue(TypeError):
    """A value that Backhaul never writes: SQLite keeps any type in any column."""


class UtcTime(TypeDecorator[datetime]):
    """Aware datetimes as whole microseconds since 1970 UTC: exact and sortable."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Refuse naive times: they would be read back shifted."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes aware datetimes only")
        return micros(value)

    def process_result_value(self, value: Any | None, dialect: Dialect | None) -> datetime | None:  # noqa: ARG002
        """Aware UTC."""
        if value is None:
            return None
        try:
            return moment(value)
        except (ArithmeticError, TypeError) as error:
            raise WrongValue(f"{value!r} is no time") from error


class Flag(TypeDecorator[bool]):
    """A boolean; SQLite keeps 0 and 1, and SQLAlchemy takes any other value for true."""

    impl = Boolean
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bool | None]:  # noqa: ARG002
        """Refuse what is no boolean."""

        def process(value: Any) -> bool | None:
            if value is not None and value not in (0, 1):
                raise WrongValue(f"{value!r} is no boolean")
            return None if value is None else bool(value)

        return process


def micros(at: datetime) -> int:
    """What `UtcTime` writes; aware."""
    return (at - _EPOCH) // _MICROSECOND


def moment(since_epoch_us: int) -> datetime:
    """What `UtcTime` wrote."""
    return _EPOCH + timedelta(microseconds=since_epoch_us)


metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),  # `ledger_id`, `sealed_from_us`
    Column("value", Text, nullable=False),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("queue", Text),
    # `id#2` is the second record of a message with several, `id!…` another body under that id.
    Column("message_id", Text),
    Column("body_digest", Text),  # SHA-256 of the message's body
    Column("sender", Text),  # SQS's SenderId
    Column("sent_at", UtcTime),  # by SQS's clock
    Column("traceparent", Text),  # the sender's, W3C Trace Context
    Column("aws_trace_header", Text),  # X-Ray's
    Column("openlineage_parent", Text),  # the sender's, `NAMESPACE/JOB/RUN`
    Column("source", Text, nullable=False),  # as requested
    Column("destination", Text, nullable=False),  # as requested
    Column("canonical", Text),  # the claimed URI, from the first claim
    Column("directory", Text),  # the URI under which objects.relative is appended
    Column("route", Text),
    Column("policy", Text),  # digest of the policy that decided
    Column("event_bucket", Text),  # of the object in the S3 event that requested this
    Column("event_key", Text),
    Column("sequencer", Text),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False, default=0),  # recorded without refund
    Column("source_changes", Integer, nullable=False, default=0),
    Column("epoch", BigInteger),
    Column("owner", Text),  # the process at work on it; null in WAITING, HELD and final states
    Column("plan_complete", Flag, nullable=False, default=False),
    Column("renames_possible", Flag, nullable=False, default=False),  # from intend to finish
    Column("objects_planned", BigInteger, nullable=False, default=0),
    Column("bytes_planned", BigInteger, nullable=False, default=0),
    Column("markers", BigInteger, nullable=False, default=0),
    Column("bytes_copied", BigInteger),  # by the transfer that has ended; those adopted are not
    # Left S3 for it, by `core.cost.egress.Purpose`, over all its attempts.
    Column("egress_copy", BigInteger, nullable=False, default=0, server_default="0"),
    Column("egress_retry", BigInteger, nullable=False, default=0, server_default="0"),
    Column("egress_verify", BigInteger, nullable=False, default=0, server_default="0"),
    Column("publish_mode", Text),
    Column("completion_marker", Text),  # URI of the empty file that was published last
    Column("table_format", Text),  # `delta`, `iceberg` or both, where it was recognised
    Column("engine", Text),  # null where nothing was to be chosen
    Column("engine_reason", Text),
    Column("code", Text),
    Column("reason", Text),
    Column("held_by", Text),  # the dependency that it waits for, or waited for last
    Column("held_since", UtcTime),
    Column("retry_at", UtcTime),  # null while a worker waits for the dependency by itself
    Column("has_letter", Flag, nullable=False, default=False),  # dead, and its dead letter was sent
    Column("sent_again_as", Text),  # dead, and its dead letter went back as this message
    Column("sent_again_at", UtcTime),
    Column("settled_at", UtcTime),  # dead, and nothing is left to do about it
    Column("settled_how", Text),  # `Settlement`
    Column("settled_transfer", Text),  # that brought what this one should have
    Column("first_seen_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),  # first claim
    Column("updated_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("duration_us", BigInteger),  # first claim, else first seen, to finished
    Column("pruned_at", UtcTime),  # its rows of `objects` were dropped; the seal stays
    Column("pruned_by", Text),  # the rule
    Column("replies", Text),  # JSON: which of them it wants; null: none
    Column("holds_reported", Integer, nullable=False, server_default="0"),
    # A reply says that it is held, and none that it moves again.
    Column("is_hold_reported", Flag, nullable=False, server_default=false()),
    UniqueConstraint("queue", "message_id", name="uq_transfers_message"),
    sqlite_with_rowid=False,
)

destinations = Table(
    "destinations",
    metadata,
    Column("uri", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("staging_root", Text),  # fixed from a claim to the next finish
    Column("owner_transfer", Text, ForeignKey("transfers.id")),
    Column("owner", Text),
    Column("intent_transfer", Text),
    Column("intent_at", UtcTime),
    sqlite_with_rowid=False,
)
Index(
    "ix_destinations_owner_transfer",
    destinations.c.owner_transfer,
    sqlite_where=destinations.c.owner_transfer.is_not(None),
)
# For `status` and the dashboard, which may not read through a million transfers.
Index(
    "ix_transfers_open", transfers.c.first_seen_at, sqlite_where=transfers.c.finished_at.is_(None)
)
Index("ix_transfers_dead", transfers.c.finished_at, sqlite_where=transfers.c.state == "dead")
_DEAD_OPEN = and_(transfers.c.state == "dead", transfers.c.settled_at.is_(None))
Index("ix_transfers_dead_open", transfers.c.finished_at, sqlite_where=_DEAD_OPEN)
Index(
    "ix_transfers_superseded",
    transfers.c.finished_at,
    transfers.c.route,  # so that the index alone answers
    sqlite_where=transfers.c.state == "superseded",
)
Index("ix_transfers_dead_source", transfers.c.source, sqlite_where=_DEAD_OPEN)
# For what was published of a route within a span of time, however many transfers there are.
Index(
    "ix_transfers_done",
    transfers.c.route,
    transfers.c.finished_at,
    sqlite_where=transfers.c.state == "done",
)
Index("ix_transfers_renames_possible", transfers.c.id, sqlite_where=transfers.c.renames_possible)
# For `where`: by the path that was claimed, by the source, and by the destination of those that
# died before they claimed one; then by id, so by time.
Index(
    "ix_transfers_canonical",
    transfers.c.canonical,
    transfers.c.id,
    sqlite_where=transfers.c.canonical.is_not(None),
)
Index("ix_transfers_source", transfers.c.source, transfers.c.id)
Index(
    "ix_transfers_refused",
    transfers.c.destination,
    transfers.c.id,
    transfers.c.state,  # this and the next so that the index alone answers
    transfers.c.canonical,
    sqlite_where=and_(transfers.c.state == "dead", transfers.c.canonical.is_(None)),
)

# Staging roots from their claim until a sweep has seen them gone.
staging_roots = Table(
    "litter",
    metadata,
    Column("staging_root", Text, primary_key=True),
    Column("uri", Text, nullable=False),  # the destination
    Column("transfer_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("claimed_at", UtcTime, nullable=False),
    Column("route", Text),  # whose user it belongs to
    Index("ix_litter_uri", "uri"),
    sqlite_with_rowid=False,
)

objects = Table(
    "objects",
    metadata,
    Column("transfer_id", Text, ForeignKey("transfers.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version_id", Text),
    Column("etag", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("last_modified", UtcTime, nullable=False),
    Column("relative", Text, nullable=False),
    Column("epoch", BigInteger),  # of the proof; null while unproven
    Column("crc32c", Text),
    Column("proof", Text),
    Column("algorithm", Text),
    Column("checksum", Text),
    Column("seen_version_id", Text),
    Column("modified_ms", BigInteger),
    Column("checksum_type", Text),
    Column("target_algorithm", Text),
    Column("target_checksum", Text),
    Column("asked", Text),
    Column("note", Text),
    Column("bytes_read", BigInteger),
    Column("proven_at", UtcTime),
    sqlite_with_rowid=False,
)

# One row for each submission to YARN; open from before it until nothing of it runs or counts.
jobs = Table(
    "jobs",
    metadata,
    Column("transfer_id", Text, ForeignKey("transfers.id"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("tag", Text, nullable=False),
    Column("destination", Text, nullable=False),  # the claimed URI
    Column("application_id", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("tracking_url", Text),
    Column("maps_done", Integer),
    Column("maps", Integer),
    Column("size_bytes", BigInteger),
    Column("counters", Text),  # DistCp's, once final
    Column("opened_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("closed_at", UtcTime),
    sqlite_with_rowid=False,
)
Index("ix_jobs_open", jobs.c.transfer_id, sqlite_where=jobs.c.closed_at.is_(None))

published = Table(
    "published",
    metadata,
    Column("uri", Text, primary_key=True),
    Column("transfer_id", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version_id", Text),
    Column("etag", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("last_modified", UtcTime, nullable=False),
    Column("crc32c", Text, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Empty files that transfers published after all others; what is there now, like `published`.
completion_markers = Table(
    "completion_markers",
    metadata,
    Column("uri", Text, primary_key=True),
    Column("transfer_id", Text, nullable=False),
    Column("published_at", UtcTime, nullable=False),
    sqlite_with_rowid=False,
)

# Older rows of `published`, some thousand in each block, by `paths.block`. Blocks do not overlap. A
# row of `published` counts before the one of the same path in a block.
packed_paths = Table(
    "packed_paths",
    metadata,
    Column("first_uri", Text, primary_key=True),
    Column("last_uri", Text, nullable=False),
    Column("files", Integer, nullable=False),
    Column("block", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The event published last, per object and destination.
sequencers = Table(
    "sequencers",
    metadata,
    Column("uri", Text, primary_key=True),  # the destination that was claimed
    Column("bucket", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("sequencer", Text, nullable=False),
    Column("transfer_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Of signed messages: a second message with the same one is a replay.
nonces = Table(
    "nonces",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("keep_until", UtcTime, nullable=False),
    Index("ix_nonces_keep_until", "keep_until"),
    sqlite_with_rowid=False,
)

journal = Table(
    "journal",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("transfer_id", Text, ForeignKey("transfers.id"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("code", Text),
    Column("reason", Text),
    Index("ix_journal_transfer_id", "transfer_id"),
)

seals = Table(
    "seals",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("transfer_id", Text, nullable=False, unique=True),  # outlives the row of the transfer
    Column("line", Text, nullable=False),  # core.evidence.sealing_line
    Column("seal", Text, nullable=False),  # its SHA-256
)

# One row for each start of an agent; the last hundred of them.
agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),  # AgentIdentity, and its newest report
    Column("host", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("beat_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("report", Text, nullable=False),  # JSON of AgentReport
    sqlite_with_rowid=False,
)

# What ended and failed, summed up from `journal` by route and span of time: plots and totals.
activity = Table(
    "activity",
    metadata,
    Column("span_s", Integer, primary_key=True, autoincrement=False),  # 300 or 3,600
    Column("begins_at", UtcTime, primary_key=True),
    Column("route", Text, primary_key=True),  # empty: of none
    Column("done", BigInteger, nullable=False),  # transfers, those superseded among them
    Column("dead", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),  # attempts that another one follows
    Column("objects", BigInteger, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),  # of all objects of those done
    Column("bytes_copied", BigInteger, nullable=False),
    Column("lags", BigInteger, nullable=False),  # how many done have a lag: sent to done
    Column("lag_us", BigInteger, nullable=False),  # their sum
    Column("lag_max_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What operators did, by command or by the dashboard: `backhaul journal`.
operator_actions = Table(
    "operator_actions",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("operator", Text, nullable=False),  # user@host, or a name given to the dashboard
    Column("origin", Text, nullable=False),  # `command` or `dashboard`
    Column("action", Text, nullable=False),  # cancel, redrive, retry, pause, resume, limit
    Column("subject", Text, nullable=False),  # ids, route, or rate
    Column("transfers", BigInteger, nullable=False, default=0),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("outcome", Text, nullable=False),  # `done`, or the code and sentence of the error
)

# Deadlines of expected data: the one that is due, and what became of those before.
expectations = Table(
    "expectations",
    metadata,
    Column("route", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("deadline", UtcTime, primary_key=True),
    # Of the expectation, when this was written; empty before it was recorded.
    Column("calendar", Text, nullable=False, server_default=""),
    Column("counted", Flag, nullable=False, server_default=true()),  # false: noted, no more
    Column("due", Text, nullable=False),  # the deadline as people there write it
    Column("place", Text, nullable=False),
    Column("state", Text, nullable=False),  # ExpectationState
    Column("wanted_objects", BigInteger),
    Column("wanted_bytes", BigInteger),
    Column("wanted_transfers", BigInteger),
    Column("objects", BigInteger, nullable=False),  # counted until it is enough
    Column("size_bytes", BigInteger, nullable=False),
    Column("transfers", BigInteger, nullable=False),
    Column("judged_at", UtcTime),
    Column("arrived_at", UtcTime),
    sqlite_with_rowid=False,
)

# Routes that an operator has paused; their transfers wait, and spend nothing.
paused_routes = Table(
    "paused_routes",
    metadata,
    Column("route", Text, primary_key=True),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime),  # null: until it is resumed
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What is sent to others: a row for each reply and target, from the transaction that it is about.
replies = Table(
    "replies",
    metadata,
    Column("key", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("transfer_id", Text, ForeignKey("transfers.id"), nullable=False),
    Column("event", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON of `Reply`, as it is sent
    Column("state", Text, nullable=False),  # `ReplyState`
    Column("tries", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("tried_since", UtcTime, nullable=False),  # or when an operator had it sent again
    Column("due_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),  # sent, or given up
    Column("code", Text),  # of the last try that failed
    Column("reason", Text),
    Index("ix_replies_transfer_id", "transfer_id"),
    sqlite_with_rowid=False,
)
Index(
    "ix_replies_waiting",
    replies.c.target,
    replies.c.due_at,
    replies.c.key,
    sqlite_where=replies.c.state == "waiting",
)
Index("ix_replies_dead", replies.c.target, sqlite_where=replies.c.state == "dead")


def upsert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can be given ON CONFLICT, as `Connection.dialect.name` writes it."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - a tenth of a start's CPU

        return postgresql.insert(table)
    return sqlite.insert(table)


def put(tx: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row, or change these columns of the one with the same primary key."""
    tx.execute(putting(tx.dialect.name, table, tuple(values)), values)


@cache
def putting(dialect: str, table: Table, columns: tuple[str, ...]) -> Insert:
    """The statement of `put`."""
    statement, keys = upsert(dialect, table), list(table.primary_key.columns)
    changed = [name for name in columns if not table.c[name].primary_key]
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in changed}
    )
