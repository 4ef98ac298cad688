"""One member's part of the byte rate that all agents of a ledger share: rows, and who splits.

The rules are in `core.fleet.rate_shares`. A share goes with each beat: what the member could use,
and what it uses, by which it acknowledges what it was granted. Only who leads changes what is
granted, alone; where no agent is in force, the first of the commands does.
"""

# ruff: noqa: S608 - the texts are put together of constants
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from backhaul.adapters.ledger.fleet.limiting import BY_HAND
from backhaul.adapters.ledger.postgres.members.in_force import IN_FORCE, ME
from backhaul.core.fleet.rate_shares import (
    NO_LIMIT,
    RateLeader,
    RateReader,
    RateReport,
    RateSeat,
    RateShare,
    RateSplit,
    SeenRates,
    is_settling,
)
from backhaul.core.rate_limit import ManualLimit

Split = Callable[[str, RateSplit], bool]
SHARED = "shared"  # a row of `byte_rates`
_LEADER = "(SELECT split_part(value, ':', 2) FROM meta WHERE name = 'leader')"
# Where a transaction is alone this holds for one member at most.
_MAY_SPLIT = f"""(
    {ME} AND (
        {_LEADER} = %(me)s OR (
            NOT EXISTS (SELECT FROM members WHERE id = {_LEADER} AND {IN_FORCE})
            AND %(me)s = (
                SELECT min(member) FROM rate_shares JOIN members ON id = member WHERE {IN_FORCE}
            )
        )
    )
)"""
# A new one has nothing until the others have made room, unless there is no limit.
ENTER = f"""
INSERT INTO rate_shares (member, configured, demand, kept, granted, bound)
SELECT %(me)s, {NO_LIMIT}, 0, 0, share, share FROM (
    SELECT CASE WHEN coalesce(
        (SELECT bytes_per_s IS NULL FROM byte_rates WHERE name = '{SHARED}'), false
    ) THEN {NO_LIMIT} ELSE 0 END AS share
) AS found WHERE {ME}
"""
# Whoever uses no more than it was granted says so; its applications keep theirs.
REPORT = f"""
UPDATE rate_shares SET configured = %(configured)s, demand = %(demand)s, kept = %(kept)s,
    bound = greatest(CASE WHEN granted = %(held)s THEN granted ELSE bound END, %(kept)s)
WHERE member = %(me)s AND {ME}
"""
READ = f"""
SELECT member, configured, demand, kept, granted, bound,
    NOT EXISTS (SELECT FROM members WHERE id = member AND {IN_FORCE})
FROM rate_shares;
SELECT name, bytes_per_s, until FROM byte_rates
"""
# One that entered since the leader looked is granted what a new one is.
SPLIT = f"""
DELETE FROM rate_shares WHERE member = ANY(%(released)s::text[]) AND {_MAY_SPLIT};
UPDATE rate_shares AS mine SET granted = given.share, bound = greatest(mine.bound, given.share)
FROM (
    SELECT member, coalesce(wanted.share, %(others)s) AS share
    FROM rate_shares LEFT JOIN unnest(%(members)s::text[], %(shares)s::bigint[])
        AS wanted (id, share) ON wanted.id = member
) AS given
WHERE given.member = mine.member AND {_MAY_SPLIT};
INSERT INTO byte_rates (name, bytes_per_s, until)
SELECT '{SHARED}', %(limit)s::bigint, NULL WHERE {_MAY_SPLIT}
ON CONFLICT (name) DO UPDATE SET bytes_per_s = excluded.bytes_per_s;
SELECT {_MAY_SPLIT}
"""
LEAVE = "DELETE FROM rate_shares WHERE member = %(me)s"


def seen_rates(shares: list[tuple[Any, ...]], limits: list[tuple[Any, ...]]) -> SeenRates:
    """Of the rows that `READ` found."""
    of = {name: (bytes_per_s, until) for name, bytes_per_s, until in limits}
    by_hand, shared = of.get(BY_HAND), of.get(SHARED)
    return SeenRates(
        shares={
            member: RateShare(
                configured=configured,
                demand=demand,
                kept=kept,
                granted=granted,
                bound=bound,
                is_gone=is_gone,
            )
            for member, configured, demand, kept, granted, bound, is_gone in shares
        },
        limit=None if shared is None else NO_LIMIT if shared[0] is None else shared[0],
        by_hand=None
        if by_hand is None
        else ManualLimit(bytes_per_s=by_hand[0], until=_at(by_hand[1])),
    )


def _at(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1_000_000, UTC)


class MemberRates:
    """Of one member.

    Args:
        me: Its id.
        split: Writes a split of the rate; False: it was not this member's to do.
        seat: Holds its share for its workers.
        clock: Monotonic seconds.

    Attributes:
        is_settling: A beat is wanted soon: something is to be acknowledged.
    """

    def __init__(self, me: str, split: Split, seat: RateSeat, clock: Callable[[], float]) -> None:
        self._me = me
        self._split = split
        self._reader = RateReader(seat)
        self._leader = RateLeader()
        self._clock = clock
        self.is_settling = False

    def report(self) -> RateReport:
        """For the next beat."""
        return self._reader.report(self._clock())

    def turn(self, rates: SeenRates, *, leader: str | None) -> None:
        """After a beat: use what was granted, and split it where that is this member's to do.

        Args:
            leader: Its id; None while none is in force.

        Raises:
            OutageError: `ledger`.
        """
        if self._me not in rates.shares:
            return  # it was judged, and its reservation is over
        shares: Mapping[str, RateShare] = rates.shares
        before = self._reader.held
        self._follow(shares[self._me].granted, rates)
        is_first = self._me == min(one for one, share in shares.items() if not share.is_gone)
        is_waiting = False
        if leader == self._me or (leader is None and is_first):
            local = datetime.now(UTC).astimezone()
            plan = self._leader.plan(rates, self._clock(), local)
            if plan is not None and self._split(self._me, plan):
                self._follow(plan.granted[self._me], rates)
                is_waiting = True
            is_waiting |= is_settling(shares.values())
        self.is_settling = is_waiting or self._reader.held != before or not self._reader.held

    def _follow(self, granted: int, rates: SeenRates) -> None:
        self._reader.follow(granted, rates.by_hand, datetime.now(UTC).astimezone())
