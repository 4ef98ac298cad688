"""Judges expected data at its deadlines, and warns before the backlog breaks one, or a retention.

A part of the agent's report: it reads the ledger in short transactions, and no transfer waits for
it. A turn is short however much is to be counted, so that the reports go on. What was judged is in
the ledger, so a restart repeats nothing: a deadline that passed while no agent ran is judged at the
next start, and one of long ago is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backhaul.core.agent.notifying.deadlines import EVERY_S, DeadlineJudge
from backhaul.core.errors import BackhaulError
from backhaul.core.facts import ForecastCleared, ForecastWarned
from backhaul.core.outlook.expectation import Expectation, ExpectationStatus, statuses
from backhaul.core.outlook.forecast import Forecast, forecasts
from backhaul.core.outlook.risks import Risk, risks
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.outlook import OutlookLedger

SHARE = 20  # counting for so long is followed by a pause of so many times that, or a deadline
DEFECT_AGAIN_S = 300.0
TURN_MOST_S = 0.5  # then it goes on with the next report, which comes after 5 s
JUDGING_MOST_S = 3.0  # likewise, once a deadline has passed
RISK_LASTS_S = 300.0
CLEAR_LASTS_S = 1800.0


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
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._judge = DeadlineJudge(
            expectations=expectations, ledger=ledger, clock=clock, emit=emit
        )
        self._due_s = clock.monotonic()
        self._deadline: datetime | None = None
        self._seen: dict[str, _Seen] = {}

    def turn(self) -> None:
        """Judge what is due, and look ahead; mostly there is nothing to do.

        A defect is emitted, and keeps no report from being made.

        Raises:
            OutageError: `ledger`.
        """
        began_s, now = self._clock.monotonic(), self._clock.now()
        has_passed = self._deadline is not None and now >= self._deadline
        if began_s < self._due_s and not (has_passed or self._judge.has_work):
            return
        try:
            self._turn(began_s, now)
        except BackhaulError:
            raise
        except Exception as error:  # noqa: BLE001 - without reports the agent would look dead
            self._judge.drop()
            self._deadline = None
            self._due_s = self._clock.monotonic() + DEFECT_AGAIN_S
            self._emit(error)

    def _turn(self, began_s: float, now: datetime) -> None:
        judge = self._judge
        is_round = began_s >= self._due_s and not judge.has_work
        if is_round:
            judge.counted_s = 0.0
        with self._ledger.reading() as reader:
            judge.plan(reader.expectations(), now, is_round=is_round)
            self._deadline = judge.deadline_after(now)
            while judge.has_work:
                judge.work(reader)
                most_s = JUDGING_MOST_S if judge.is_judging else TURN_MOST_S
                if self._clock.monotonic() - began_s >= most_s:
                    break
            if judge.has_work:
                return  # it goes on with the next report
            found = statuses(reader.expectations())
            self._look_ahead(forecasts(reader, reader.agents(), now), found)
        self._due_s = self._clock.monotonic() + max(EVERY_S, SHARE * judge.counted_s)

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
