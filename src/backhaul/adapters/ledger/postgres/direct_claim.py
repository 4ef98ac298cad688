"""A claim with nothing in its way, as one text: one round trip, and the turn is held for no other.

While a claim is made all other agents wait for its turn, so what it costs is theirs, too. The
ordinary way reads what is in the way, decides, and writes: the turn lasts from the one trip to the
next, and as long as this process computes in between. Here the server decides, by one statement
that claims only if all conditions hold under which the ordinary way would find nothing to consider.
If one does not hold, nothing is changed, and the caller goes the ordinary way, which knows what to
do about it. So a condition here may be too strict, and never too lax.

Where the answer is lost, the ledger shows whether the claim was made. If it was not, the ordinary
way makes one, and waits for the turn while the text is being carried out. A text that arrives
after that finds the transfer claimed, or no more at the beginning of that attempt, and changes
nothing.
"""

# ruff: noqa: S608 - the text is put together of constants
from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer
from sqlalchemy import BigInteger

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.dialects.database import DirectClaim, LedgerTurn, PreparedClaim
from backhaul.adapters.ledger.postgres import outcome
from backhaul.adapters.ledger.postgres.deferred import driver_of
from backhaul.adapters.ledger.postgres.engine import BEGIN_TO_WRITE, TIMEOUTS, last_moment
from backhaul.adapters.ledger.postgres.members.in_force import ME, NOW
from backhaul.adapters.ledger.postgres.members.pulse import LOCK_BESIDE, turn_row
from backhaul.adapters.ledger.postgres.moment import SYSTEM, TIMELINE
from backhaul.adapters.ledger.postgres.spans import span_of
from backhaul.adapters.ledger.schema import UtcTime, micros, objects
from backhaul.adapters.ledger.staging import around_query

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from backhaul.adapters.ledger.postgres.moment import ServerMoment

_COLUMNS = ("transfer_id", *(column.name for column in rows.PLANNED_COLUMNS))
_OF_CONSTRAINT = "23"  # SQLSTATEs begin so where a constraint refused a row


class ClaimWaits(Exception):
    """It is made, but for its COMMIT, which waits for a standby."""


def _overlaps(column: str) -> str:
    """Whether what this column names is at the destination, above it or below it."""
    there = f"rtrim({column}, '/') || '/'"
    return f"starts_with({there}, %(below)s) OR starts_with(%(below)s, {there})"


def _array(name: str) -> str:
    kind = "bigint" if isinstance(objects.c[name].type, (BigInteger, UtcTime)) else "text"
    return f"%(objects_{name})s::{kind}[]"


# What is known only with the connection, which other threads wait for: the rest is ready by then.
_SERVER = "<what the server must be>"
# Each condition is one of `SqlDestinations.claim` and `Member.check`, in the order of those.
_BEFORE, _AFTER = f"""
{BEGIN_TO_WRITE}; {TIMEOUTS}; {LOCK_BESIDE}; {turn_row(LedgerTurn.CLAIM)};
WITH claimed AS (
  INSERT INTO destinations AS known (uri, staging_root, owner_transfer, owner, epoch)
  SELECT %(uri)s, %(root)s, id, owner, greatest(%(min_epoch)s, {_SERVER}
    AND id = %(transfer)s AND owner = %(owner)s AND state = 'received'
    AND updated_at = %(begun_at)s
    AND {ME}
    AND {len(LedgerTurn)} = (SELECT count(*) FROM meta WHERE name = ANY(%(turns)s))
    AND (replies IS NULL OR started_at IS NOT NULL)
    AND (NOT %(has_page)s OR (NOT plan_complete AND objects_planned = 0))
    AND NOT EXISTS (
      SELECT FROM destinations
      WHERE owner_transfer IS NOT NULL AND span && pathspan(%(begins)s, %(ends)s))
    AND NOT EXISTS (SELECT FROM destinations WHERE owner_transfer = %(transfer)s)
    AND (%(most)s::bigint IS NULL OR %(most)s::bigint > (
      SELECT count(*) FROM destinations AS taken JOIN transfers AS other
      ON other.id = taken.owner_transfer
      WHERE taken.owner_transfer IS NOT NULL AND other.route = %(route)s))
    AND NOT EXISTS (
      SELECT FROM jobs WHERE closed_at IS NULL
      AND (transfer_id = %(transfer)s OR {_overlaps("destination")}))
    AND NOT EXISTS (
      SELECT FROM litter WHERE staging_root <> %(root)s
      AND (uri = ANY(%(of_uris)s::text[]) OR (uri >= %(of_first_below)s AND uri < %(of_beyond)s)))
    AND NOT EXISTS (
      SELECT FROM transfers AS other WHERE other.renames_possible AND other.id <> %(transfer)s
      AND ({_overlaps("other.canonical")}))
  ON CONFLICT (uri) DO UPDATE SET epoch = greatest(excluded.epoch, known.epoch + 1),
    staging_root = excluded.staging_root, owner_transfer = excluded.owner_transfer,
    owner = excluded.owner
  RETURNING epoch
), remembered AS (
  INSERT INTO litter (staging_root, uri, transfer_id, epoch, claimed_at, route)
  SELECT %(root)s, %(uri)s, %(transfer)s, epoch,
    {NOW}, %(route)s FROM claimed
  ON CONFLICT (staging_root) DO UPDATE SET uri = excluded.uri, transfer_id = excluded.transfer_id,
    epoch = excluded.epoch, claimed_at = excluded.claimed_at, route = excluded.route
), planned AS (
  INSERT INTO objects ({", ".join(_COLUMNS)})
  SELECT %(transfer)s, page.* FROM claimed,
    unnest({", ".join(_array(name) for name in _COLUMNS[1:])}) AS page
), moved AS (
  UPDATE transfers SET state = 'staging', epoch = claimed.epoch, canonical = %(uri)s,
    directory = %(directory)s, route = %(route)s, policy = %(policy)s,
    event_bucket = %(event_bucket)s, event_key = %(event_key)s, sequencer = %(sequencer)s,
    started_at = coalesce(started_at, %(now)s), updated_at = %(now)s,
    objects_planned = objects_planned + %(objects)s, bytes_planned = bytes_planned + %(bytes)s,
    plan_complete = plan_complete OR %(is_complete)s,
    markers = CASE WHEN %(has_page)s THEN %(markers)s ELSE markers END
  FROM claimed WHERE id = %(transfer)s
  RETURNING id, updated_at, state, transfers.epoch, attempt, code, reason
), noted AS (
  INSERT INTO journal (transfer_id, at, state, epoch, attempt, code, reason) SELECT * FROM moved
)
SELECT epoch FROM claimed;
COMMIT""".split(_SERVER)


@dataclass(frozen=True, kw_only=True)
class ClaimText(PreparedClaim):
    """All of it but what the server must be, with its values.

    Attributes:
        mark: In its first line.
    """

    wanted: DirectClaim
    mark: str
    before: str
    after: str

    def at(self, server: ServerMoment, timelines_before: int) -> str:
        """The whole text, for this server alone."""
        least = server.least_epoch(timelines_before)
        return (
            f"{self.before}{least}) FROM transfers WHERE {TIMELINE} = '{server.timeline_digits}' "
            f"AND ({SYSTEM}) = {server.system}{self.after}"
        )


def prepared(wanted: DirectClaim, me: str) -> ClaimText:
    """The text of a claim.

    Args:
        me: Id of this process among the members.

    Raises:
        psycopg.DataError: A value that no text of PostgreSQL can have.
    """
    mark = f"claim {uuid.uuid4().hex}"
    literal = Transformer().as_literal
    values = _values(wanted) | {"me": me}
    texts = {name: literal(value).decode() for name, value in values.items()}
    return ClaimText(
        wanted=wanted,
        mark=mark,
        before=f"-- {mark}{_BEFORE % texts}",
        after=_AFTER % texts,
    )


def claim_directly(
    connection: Connection, claim: ClaimText, *, timelines_before: int
) -> int | None:
    """Claim as `SqlDestinations.claim` does, where that would find nothing in the way.

    Args:
        connection: Of the writer, between two transactions.
        timelines_before: As `lineage.timelines_before` found it.

    Returns:
        The claim's epoch; None: the ordinary way has to make one.

    Raises:
        psycopg.Error: Nothing was changed.
        ClaimWaits
    """
    server = last_moment(connection)
    wanted = claim.wanted
    if server is None or wanted.min_epoch >= server.least_epoch(timelines_before + 1):
        return None
    driver = driver_of(connection)
    try:
        answers = driver.answers([claim.at(server, timelines_before)])
    except psycopg.Error as error:
        if outcome.is_answer(error) and not driver.closed:
            driver.rollback()
            if (error.sqlstate or "").startswith(_OF_CONSTRAINT):
                return None
            raise
        connection.invalidate()
        lost = outcome.of_lost_claim(
            connection.engine, claim.mark, wanted.transfer_id, wanted.owner
        )
        if lost.is_waiting:
            raise ClaimWaits from error
        return lost.epoch
    except BaseException:
        connection.invalidate()  # Ctrl-C, in the middle of it
        raise
    found = answers[-2].rows
    return found[0][0] if found else None


def _values(wanted: DirectClaim) -> dict[str, Any]:
    begins, ends = span_of(wanted.destination.uri)
    page = [rows.planned_values(wanted.transfer_id, one) for one in wanted.first]
    around = around_query(wanted.destination).values
    values = {
        **around,
        **wanted.event,
        "transfer": wanted.transfer_id,
        "owner": wanted.owner,
        "turns": [turn.value for turn in LedgerTurn],
        "uri": wanted.destination.uri,
        "directory": wanted.directory.uri,
        "root": wanted.staging_root.uri,
        "min_epoch": wanted.min_epoch,
        "begins": begins,
        "ends": ends,
        "below": around["of_first_below"],
        "route": wanted.route,
        "most": wanted.most_of_route,
        "begun_at": None if wanted.begun_at is None else micros(wanted.begun_at),
        "now": micros(wanted.now),
        "has_page": bool(page),
        "objects": len(page),
        "bytes": sum(one.pin.size_bytes for one in wanted.first),
        "is_complete": wanted.is_complete and bool(page),
        "markers": wanted.markers,
    }
    for column in _COLUMNS[1:]:
        found = [one[column] for one in page]
        is_time = isinstance(objects.c[column].type, UtcTime)
        values[f"objects_{column}"] = [micros(one) for one in found] if is_time else found
    return values
