"""Judges expected data at its deadlines, and warns before the backlog breaks one, or a retention.

A part of the agent's report: it reads the ledger in short transactions, and no transfer waits for
it. What was judged is in the ledger, so a restart repeats nothing: a deadline that passed while no
agent ran is judged at the next start, and one of long ago is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backhaul.core.errors import BackhaulError
from backhaul.core.facts import (
    ExpectationArrived,
    ExpectationMissed,
    ForecastCleared,
    ForecastWarned,
)
from backhaul.core.outlook.expectation import (
    Expectation,
    ExpectationRecord,
    ExpectationState,
    ExpectationStatus,
    statuses,
)
from backhaul.core.outlook.forecast import Forecast, forecasts
from backhaul.core.outlook.risks import Risk, risks
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.outlook import OutlookLedger, OutlookReader

EVERY_S = 30.0
SHARE = 20  # a turn that took long is followed by a pause of so many times that
DEFECT_AGAIN_S = 300.0
TURN_MOST_S = 0.5  # then the others come with the next report
ALARM_WITHIN = timedelta(days=3)  # a deadline that passed longer ago is not judged any more
LATE_WITHIN = timedelta(days=7)  # what comes later than that is not reported as late
RISK_LASTS_S = 300.0
CLEAR_LASTS_S = 1800.0
_MOMENT = timedelta(microseconds=1)
_FACTS: dict[ExpectationState, type[ExpectationMissed | ExpectationArrived]] = {
    ExpectationState.MISSED: ExpectationMissed,
    ExpectationState.LATE: ExpectationArrived,
}


@dataclass(kw_only=True)
class _Seen:
    """A risk, since when it has been there, or has not been; monotonic."""

    risk: Risk
    since_s: float
    gone_s: float | None = None
    is_announced: bool = False


class OutlookWatch:
    """Used by one thread.

    Args:
        expectations: Of the configuration.
    """

    def __init__(
        self,
        *,
        expectations: Sequence[Expectation],
        ledger: OutlookLedger,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._expectations = tuple(expectations)
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._due_s = clock.monotonic()
        self._left: deque[Expectation] = deque()
        self._seen: dict[str, _Seen] = {}

    def turn(self) -> None:
        """Judge what is due, and look ahead; mostly there is nothing to do.

        A defect is emitted, and keeps no report from being made.

        Raises:
            OutageError: `ledger`.
        """
        began_s = self._clock.monotonic()
        if began_s < self._due_s:
            return
        try:
            self._turn(began_s)
        except BackhaulError:
            raise
        except Exception as error:  # noqa: BLE001 - without reports the agent would look dead
            self._left.clear()
            self._due_s = self._clock.monotonic() + DEFECT_AGAIN_S
            self._emit(error)

    def _turn(self, began_s: float) -> None:
        now = self._clock.now()
        with self._ledger.reading() as reader:
            records = reader.expectations()
            if not self._left:
                self._left.extend(self._expectations)
                self._forget_unknown(records)
            while self._left and self._clock.monotonic() - began_s <= TURN_MOST_S:
                one = self._left.popleft()
                mine = [r for r in records if (r.route, r.name) == (one.route, one.name)]
                self._follow(one, mine, reader, now)
            if self._left:
                return
            found = statuses(reader.expectations())
            self._look_ahead(forecasts(reader, reader.agents(), now), found)
        ended_s = self._clock.monotonic()
        self._due_s = ended_s + max(EVERY_S, SHARE * (ended_s - began_s))

    # ------------------------------------------------------------ expectations

    def _forget_unknown(self, records: Sequence[ExpectationRecord]) -> None:
        known = {(one.route, one.name) for one in self._expectations}
        self._forget(
            [
                one
                for one in records
                if one.state is ExpectationState.DUE and (one.route, one.name) not in known
            ]
        )

    def _forget(self, records: Sequence[ExpectationRecord]) -> None:
        if records:
            self._ledger.forget_expectations(records)

    def _follow(
        self,
        one: Expectation,
        records: Sequence[ExpectationRecord],
        reader: OutlookReader,
        now: datetime,
    ) -> None:
        """One expectation: what has passed, what may yet come late, what is next."""
        following = one.deadline_after(now)
        passed = _passed(one, records, now)
        kept = {}
        wrong = []
        for record in records:
            is_due = record.state is ExpectationState.DUE
            if is_due and record.deadline not in {following, *passed}:
                wrong.append(record)  # the setting has changed, or it passed long ago
            elif not is_due and record.deadline > now:
                wrong.append(record)  # judged while the clock was wrong
            else:
                kept[record.deadline] = record
        self._forget(wrong)
        for deadline in passed:
            before = kept.get(deadline)
            if before is not None and _is_enough(one, before):
                met = replace(before, state=ExpectationState.MET, judged_at=now)
                self._note(met, before, now)
            else:
                self._note(_judged(one, deadline, reader, now), before, now)
        for record in kept.values():
            if record.state is ExpectationState.MISSED and now - record.deadline <= LATE_WITHIN:
                self._note(_perhaps_late(one, record, reader, now), record, now)
        before = kept.get(following)
        if before is not None and _is_enough(one, before):
            return
        found = reader.arrived(one.query(following, now))
        self._note(one.record(following, found), before, now)

    def _note(
        self, record: ExpectationRecord, before: ExpectationRecord | None, now: datetime
    ) -> None:
        """Keep it; what is new for everyone becomes a fact."""
        if record == before:
            return
        is_new = self._ledger.note_expectation(record)
        if not is_new:
            return
        kind = _FACTS.get(record.state)
        if kind is not None:
            self._emit(
                kind(
                    route=record.route,
                    name=record.name,
                    deadline=record.deadline,
                    due=record.due,
                    found=record.words,
                    late_s=(now - record.deadline).total_seconds(),
                )
            )

    # ------------------------------------------------------------ risks

    def _look_ahead(self, every: Sequence[Forecast], expected: Sequence[ExpectationStatus]) -> None:
        """Announce what has been at risk for a while, once, until it has long been well.

        What is unknown is not well, and a deadline that has passed is judged by what has come.
        """
        now_s, now = self._clock.monotonic(), self._clock.now()
        there = {one.subject: one for one in risks(every, expected)}
        known = {one.queue for one in every if one.left is not None}
        for subject, risk in there.items():
            seen = self._seen.setdefault(subject, _Seen(risk=risk, since_s=now_s))
            seen.risk, seen.gone_s = risk, None
            if not seen.is_announced and now_s - seen.since_s >= RISK_LASTS_S:
                seen.is_announced = True
                self._emit(
                    ForecastWarned(
                        subject=subject, code=risk.code, reason=risk.sentence, hint=risk.hint
                    )
                )
        for subject, seen in list(self._seen.items()):
            if subject in there:
                continue
            until = seen.risk.until
            if until is not None and until <= now:
                del self._seen[subject]
                continue
            if seen.is_announced and seen.risk.queue not in known:
                seen.gone_s = None
                continue
            seen.gone_s = now_s if seen.gone_s is None else seen.gone_s
            if not seen.is_announced:
                del self._seen[subject]
            elif now_s - seen.gone_s >= CLEAR_LASTS_S:
                del self._seen[subject]
                self._emit(ForecastCleared(subject=subject, code=seen.risk.code))


def _passed(
    one: Expectation, records: Sequence[ExpectationRecord], now: datetime
) -> list[datetime]:
    """The deadlines that have passed and were not judged, oldest first.

    None for an expectation that is new: what passed before it was configured is no breach.
    """
    waiting = [r.deadline for r in records if r.state is ExpectationState.DUE]
    judged = [
        r.deadline for r in records if r.state is not ExpectationState.DUE and r.deadline <= now
    ]
    if any(deadline > now for deadline in waiting) or not (waiting or judged):
        return []  # an agent has seen that nothing else was due
    begin = max(judged) if judged else min(waiting) - _MOMENT
    begin = max(begin, now - ALARM_WITHIN)
    found = []
    while (deadline := one.deadline_after(begin)) <= now:
        found.append(deadline)
        begin = deadline
    return found


def _is_enough(one: Expectation, due: ExpectationRecord) -> bool:
    """It was all there before its deadline, and is wanted as it was; it does not go away."""
    return due.is_met and due == one.record(due.deadline, due.found)


def _judged(
    one: Expectation, deadline: datetime, reader: OutlookReader, now: datetime
) -> ExpectationRecord:
    found = reader.arrived(one.query(deadline, deadline))
    record = replace(one.record(deadline, found), judged_at=now)
    if record.is_met:
        return replace(record, state=ExpectationState.MET)
    return _perhaps_late(one, replace(record, state=ExpectationState.MISSED), reader, now)


def _perhaps_late(
    one: Expectation, missed: ExpectationRecord, reader: OutlookReader, now: datetime
) -> ExpectationRecord:
    """A deadline that was missed, with what has come since.

    Where the path does not name the day, what comes after the next deadline is for another one.
    """
    until = now
    if not one.path.names_day:
        until = min(now, one.deadline_after(missed.deadline))
    found = reader.arrived(replace(one.query(missed.deadline, until), wanted=missed.wanted))
    if missed.wanted.is_met_by(found):
        return replace(missed, state=ExpectationState.LATE, found=found, arrived_at=now)
    return replace(missed, found=found)
