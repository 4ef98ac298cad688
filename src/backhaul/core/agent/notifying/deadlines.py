"""Judges the deadlines of expected data, in pieces of work that the caller may end at any time.

Each deadline is first noted in the ledger as due, so whatever happens then, it is judged once and
only if it was due: a restart, a removed expectation and another calendar change nothing of that.
What a count has reached is kept in memory, and the next turn goes on there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum

from backhaul.core.facts import ExpectationArrived, ExpectationMissed
from backhaul.core.outlook.counting import Count
from backhaul.core.outlook.expectation import (
    ArrivalQuery,
    Arrived,
    Expectation,
    ExpectationRecord,
    ExpectationState,
)
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.outlook import OutlookLedger, OutlookReader

EVERY_S = 30.0
ALARM_WITHIN = timedelta(days=3)  # a deadline that passed longer ago is not judged any more
LATE_WITHIN = timedelta(days=7)  # what comes later than that is not reported as late
# What may have come late is counted after a hundredth of the time that it is late already, and in
# a hundredth of the time at most.
LATE_SHARE = 100
JUST_NOW = timedelta(minutes=1)
_FACTS: dict[ExpectationState, type[ExpectationMissed | ExpectationArrived]] = {
    ExpectationState.MISSED: ExpectationMissed,
    ExpectationState.LATE: ExpectationArrived,
}
_Key = tuple[str, str, datetime]


class _For(IntEnum):
    """Why something is counted; the most urgent first."""

    JUDGEMENT = 1
    NEXT = 2
    LATE = 3


@dataclass(kw_only=True)
class _Job:
    """One count.

    Attributes:
        missed: A deadline that was missed; what has come since is being counted.
        is_late: No agent ran at the deadline.
        spent_s: On it, so far.
    """

    expectation: Expectation
    deadline: datetime
    purpose: _For
    query: ArrivalQuery
    missed: ExpectationRecord | None = None
    is_late: bool = False
    count: Count | None = None
    spent_s: float = 0.0

    @property
    def key(self) -> _Key:
        return _key(self.expectation, self.deadline)


class DeadlineJudge:
    """Used by one thread: `plan`, then `work` as long as there is some.

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
        self._records: dict[_Key, ExpectationRecord] = {}
        self._jobs: dict[_Key, _Job] = {}
        self._late_due_s: dict[_Key, float] = {}
        self.counted_s = 0.0

    @property
    def has_work(self) -> bool:
        """Something is still to be counted."""
        return bool(self._jobs)

    @property
    def is_judging(self) -> bool:
        """A deadline that has passed is among it."""
        return any(one.purpose is _For.JUDGEMENT for one in self._jobs.values())

    def deadline_after(self, moment: datetime) -> datetime | None:
        """The first one of all; None where nothing is expected."""
        return min((one.deadline_after(moment) for one in self._expectations), default=None)

    def drop(self) -> None:
        """Forget what was planned: it is planned anew."""
        self._jobs.clear()

    # ------------------------------------------------------------ what is to be done

    def plan(self, records: Sequence[ExpectationRecord], now: datetime, *, is_round: bool) -> None:
        """Note what is due, and find out what must be counted.

        Args:
            records: As the ledger has them.
            is_round: Count everything once more, not only what is urgent.

        Raises:
            OutageError: `ledger`.
        """
        self._records = {_key(one, one.deadline): one for one in records}
        self._forget_unknown()
        jobs: dict[_Key, _Job] = {}
        for one in self._expectations:
            mine = [r for r in records if (r.route, r.name) == (one.route, one.name)]
            for job in self._planned(one, mine, now, is_round=is_round):
                jobs[job.key] = job
        for key, job in self._jobs.items():
            found = jobs.get(key)
            if found.purpose is job.purpose if found else self._is_wanted(job, now):
                jobs[key] = job  # it goes on
        self._jobs = jobs
        kept = self._late_due_s.keys() & self._records.keys()
        self._late_due_s = {key: self._late_due_s[key] for key in kept}

    def _is_wanted(self, job: _Job, now: datetime) -> bool:
        """A job of a round that is not over."""
        record = self._records.get(job.key)
        if record is None:
            return False
        if job.purpose is _For.NEXT:
            return record.state is ExpectationState.DUE and record.deadline > now
        return job.purpose is _For.LATE and record.state is ExpectationState.MISSED

    def _forget_unknown(self) -> None:
        known = {(one.route, one.name) for one in self._expectations}
        self._forget(
            [
                one
                for one in self._records.values()
                if one.state is ExpectationState.DUE and (one.route, one.name) not in known
            ]
        )

    def _forget(self, records: Sequence[ExpectationRecord]) -> None:
        if records:
            self._ledger.forget_expectations(records)
        for one in records:
            self._records.pop(_key(one, one.deadline), None)

    def _planned(
        self,
        one: Expectation,
        mine: Sequence[ExpectationRecord],
        now: datetime,
        *,
        is_round: bool,
    ) -> Iterator[_Job]:
        """One expectation: what has passed, what may yet come late, what is next."""
        following = one.deadline_after(now)
        passed = _passed(one, mine, now)
        self._forget(
            [
                record
                for record in mine
                if (
                    # The calendar has changed, or it passed long ago.
                    record.deadline not in {following, *passed}
                    if record.state is ExpectationState.DUE
                    else record.deadline > now  # judged while the clock was wrong
                )
            ]
        )
        # All are noted before one is judged: from the last one that is due a start goes on.
        noted = [self._noted(one, deadline, now) for deadline in (*passed, following)]
        for deadline, due in zip(passed, noted, strict=False):
            if due.is_met:  # before its deadline, and it does not go away
                self._note(replace(due, state=ExpectationState.MET, judged_at=now), now)
            else:
                yield _Job(
                    expectation=one,
                    deadline=deadline,
                    purpose=_For.JUDGEMENT,
                    query=one.query(deadline, deadline),
                    is_late=now - deadline > JUST_NOW,
                )
        if not noted[-1].is_met and (is_round or noted[-1].found is None):
            yield _Job(
                expectation=one,
                deadline=following,
                purpose=_For.NEXT,
                query=one.query(following, now),
            )
        for record in mine if is_round else ():
            if self._may_come_late(record, now):
                yield _Job(
                    expectation=one,
                    deadline=record.deadline,
                    purpose=_For.LATE,
                    query=_late_query(one, record, now),
                    missed=record,
                )

    def _noted(self, one: Expectation, deadline: datetime, now: datetime) -> ExpectationRecord:
        """As it is wanted now; what was counted for something else counts for nothing."""
        before = self._records.get(_key(one, deadline))
        record = one.record(deadline, before.found if before else None)
        if before is not None and replace(before, calendar=one.calendar) != record:
            record = replace(record, found=None)
        self._note(record, now)
        return record

    def _may_come_late(self, record: ExpectationRecord, now: datetime) -> bool:
        key = _key(record, record.deadline)
        is_missed = record.state is ExpectationState.MISSED and key in self._records
        is_due = self._clock.monotonic() >= self._late_due_s.get(key, 0.0)
        return is_missed and is_due and now - record.deadline <= LATE_WITHIN

    # ------------------------------------------------------------ counting

    def work(self, reader: OutlookReader) -> None:
        """Count one piece of what is most urgent.

        Raises:
            OutageError: `ledger`.
        """
        job = min(self._jobs.values(), key=lambda one: (one.purpose, one.deadline))
        began_s = self._clock.monotonic()
        job.count = reader.count_arrivals(job.query, job.count)
        spent_s = self._clock.monotonic() - began_s
        job.spent_s += spent_s
        if job.purpose is not _For.JUDGEMENT:
            self.counted_s += spent_s
        if job.count.is_over:
            self._finish(job, job.count.found, self._clock.now())

    def _finish(self, job: _Job, found: Arrived, now: datetime) -> None:
        one, missed = job.expectation, job.missed
        if job.purpose is _For.NEXT:
            self._note(one.record(job.deadline, found), now)
        elif missed is not None:
            self._note(_perhaps_late(missed, found, now), now)
            self._count_again(job, now)
        else:
            record = replace(one.record(job.deadline, found), judged_at=now)
            if not record.is_met and job.is_late:
                # It is reported as what it is by now.
                job.missed = replace(record, state=ExpectationState.MISSED)
                job.query, job.count = _late_query(one, record, now), None
                return
            state = ExpectationState.MET if record.is_met else ExpectationState.MISSED
            self._note(replace(record, state=state), now)
        del self._jobs[job.key]

    def _count_again(self, job: _Job, now: datetime) -> None:
        one, late_s = job.expectation, (now - job.deadline).total_seconds()
        pause_s = max(EVERY_S, LATE_SHARE * job.spent_s, late_s / LATE_SHARE)
        if not one.path.names_day and one.deadline_after(job.deadline) <= job.query.until:
            pause_s = LATE_WITHIN.total_seconds()  # what comes now is for another deadline
        self._late_due_s[job.key] = self._clock.monotonic() + pause_s

    def _note(self, record: ExpectationRecord, now: datetime) -> None:
        """Keep it; what is new for everyone becomes a fact."""
        key = _key(record, record.deadline)
        before = self._records.get(key)
        if record == before:
            return
        self._records[key] = record
        is_new = self._ledger.note_expectation(record)
        kind = _FACTS.get(record.state)
        if is_new and kind is not None:
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


def _key(of: Expectation | ExpectationRecord, deadline: datetime) -> _Key:
    return of.route, of.name, deadline


def _passed(
    one: Expectation, records: Sequence[ExpectationRecord], now: datetime
) -> list[datetime]:
    """The deadlines that have passed, were due, and were not judged; oldest first.

    Those that were noted, if they still are deadlines. After the last of them also those that
    passed while no agent ran, unless the calendar is another one: nobody was waiting for these.
    """
    began = now - ALARM_WITHIN
    noted = [r for r in records if r.state is ExpectationState.DUE and r.deadline <= now]
    found = {r.deadline for r in noted if r.deadline > began and one.has_deadline(r.deadline)}
    same = [r.deadline for r in noted if r.calendar == one.calendar]
    if same:
        judged = {r.deadline for r in records if r.state is not ExpectationState.DUE}
        deadline = max(*same, began)
        while (deadline := one.deadline_after(deadline)) <= now:
            if deadline not in judged:
                found.add(deadline)
    return sorted(found)


def _late_query(one: Expectation, missed: ExpectationRecord, now: datetime) -> ArrivalQuery:
    """Of what has come by now.

    Where the path does not name the day, what comes after the next deadline is for another one.
    """
    until = now
    if not one.path.names_day:
        until = min(now, one.deadline_after(missed.deadline))
    return replace(one.query(missed.deadline, until), wanted=missed.wanted)


def _perhaps_late(missed: ExpectationRecord, found: Arrived, now: datetime) -> ExpectationRecord:
    if missed.wanted.is_met_by(found):
        return replace(missed, state=ExpectationState.LATE, found=found, arrived_at=now)
    return replace(missed, found=found)
