"""`limits.per_minute` of a route, which all agents of a ledger share.

Each transfer that may begin leaves a row for a minute, in the turn of those that claim: so the
count is exact, by the one clock of the database. One agent alone counts in
`core.requests.admission`.
"""

from __future__ import annotations

from sqlalchemy import text

from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import Query
from backhaul.core.model import Assignment
from backhaul.core.requests.admission import MINUTE_S

_MINUTE_US = int(MINUTE_S * 1_000_000)
# Rows of a clock that was set back count no longer than those of one that was not.
_ADMIT = text(
    """
WITH moment AS MATERIALIZED (
    SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS now
), forgotten AS (
    DELETE FROM route_starts USING moment
    WHERE route = :route AND abs(at - now) >= :minute
), recent AS (
    SELECT transfer_id, at FROM route_starts, moment
    WHERE route = :route AND abs(at - now) < :minute
), found AS (
    SELECT count(*) AS many, coalesce(bool_or(transfer_id = :transfer), false) AS is_in FROM recent
), added AS (
    INSERT INTO route_starts (route, at, transfer_id)
    SELECT :route, now, :transfer FROM moment, found WHERE NOT is_in AND many < :most
)
SELECT is_in OR many < :most, (
    SELECT at + :minute - now FROM recent, moment
    ORDER BY at OFFSET greatest(many - :most, 0) LIMIT 1
) FROM found
"""
)


class SqlAdmissions(WriteSession):
    """Of `DestinationLedger`, what comes before a claim."""

    def admit(self, transfer_id: str, assignment: Assignment) -> float:
        most = assignment.limits.per_minute
        if most is None or not self.standing.is_shared:
            return 0.0
        values = {
            "route": assignment.route,
            "transfer": transfer_id,
            "most": most,
            "minute": _MINUTE_US,
        }
        query = Query(_ADMIT, values)
        with self._beside(query, turn=LedgerTurn.CLAIM) as tx:
            is_admitted, left_us = tx.execute(*query).one()
        return 0.0 if is_admitted else min(MINUTE_S, max(0.0, left_us / 1_000_000))
