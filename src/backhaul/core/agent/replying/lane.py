"""The replies of one target: what is due is delivered, then noted; a target that fails rests.

The row is in the ledger, then the target has the reply, then the row says so. Die between the last
two and the target gets it again, with the same key. Nothing is noted as sent before it was.

A commit and two queries for each reply would cost more than all else about it. So what this process
itself writes is offered to the lane, which need not read it; several are delivered in one call,
where the target takes that, and noted in one commit. The ledger is read at intervals, for
everything that was not offered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from shlex import quote
from typing import TypeVar

from backhaul.core.agent.defects import result_or_error
from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.replies import BatchReplyTarget, DueReply, ReplyLedger, ReplyTarget
from backhaul.core.replies.delivery import RepliesUnknown, ReplyDead, ReplyNotTaken, ReplySent
from backhaul.core.replies.patience import ReplyPatience
from backhaul.core.replies.reply import setting_of
from backhaul.core.text import printable, redacted

_T = TypeVar("_T")

MOST = 20  # replies read, or offered, at once
NOTED_AT_ONCE = 10  # of those delivered: so many are delivered again, at most, after a death


class ReplyLane:
    """One target; `turn` is called by one thread at a time, all else by any.

    Args:
        find: The target of this name as configured now; None: it is no longer.
        chance: 0.0 to 1.0, for jitter.
        goes_on: False once the ledger is about to be closed: nothing is begun or noted any more.
    """

    def __init__(
        self,
        name: str,
        *,
        ledger: ReplyLedger,
        find: Callable[[str], ReplyTarget | None],
        clock: Clock,
        emit: Emit,
        chance: Callable[[], float],
        patience: ReplyPatience,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self._ledger = ledger
        self._find = find
        self._clock = clock
        self._emit = emit
        self._chance = chance
        self._patience = patience
        self._goes_on = goes_on
        self._noted_at_once = NOTED_AT_ONCE
        self._failures = 0  # in a row
        self._rests_until_s = 0.0
        self._offering = threading.Lock()  # for what follows; no ledger is called under it
        self._delivered: dict[str, datetime] = {}  # and not noted yet
        self._offered: dict[str, DueReply] = {}  # by key
        self._is_behind = False  # some that are due are only in the ledger

    @property
    def rests(self) -> bool:
        """True while the target is left alone after a failure."""
        return self._clock.monotonic() < self._rests_until_s

    @property
    def is_idle(self) -> bool:
        """True when nothing is lost by forgetting it."""
        return not self._failures and not self._delivered and not self._offered

    @property
    def has_news(self) -> bool:
        """True when something was offered since the last turn."""
        return bool(self._offered) or self._is_behind

    def offer(self, due: DueReply) -> None:
        """One that the ledger has, before it can be read."""
        with self._offering:
            if self._is_behind or len(self._offered) >= MOST:
                self._is_behind = True  # it has its turn when it is read
            else:
                self._offered[due.reply.key] = due

    def turn(self, *, reads: bool) -> bool:
        """Deliver what is due, until something is not taken; True when there may be more.

        Args:
            reads: Look in the ledger, and note what was delivered; else what was offered will do.
        """
        try:
            due = self._read() if reads or self._is_behind else self._take_offered()
            while due:
                if self.rests or not self._goes_on():
                    return False
                room = max(1, self._noted_at_once - len(self._delivered))
                together, due = due[:room], due[room:]
                self._deliver(together)
        except BackhaulError as error:  # the ledger's; what was delivered is noted next time
            self._ledger_failed(error)
        return self.has_news and not self.rests and self._goes_on()

    def note_each(self) -> None:
        """From now on note each delivery at once: the agent ends, and the next one may hang."""
        self._noted_at_once = 1

    def note(self) -> bool:
        """Note what was delivered so far, also while the target works on the next one.

        Returns:
            False: the ledger did not take it; it is noted later.
        """
        try:
            self._note_delivered()
        except BackhaulError as error:
            self._ledger_failed(error)
            return False
        return True

    def _read(self) -> list[DueReply]:
        self._note_delivered()  # else they would be read again
        with self._offering:
            self._is_behind = False
        due = self._ledger.due_replies(self.name, self._clock.now(), most=MOST)
        with self._offering:
            self._is_behind |= len(due) == MOST
            for one in due:  # each was offered before it could be read
                self._offered.pop(one.reply.key, None)
        return due

    def _take_offered(self) -> list[DueReply]:
        with self._offering:
            taken, self._offered = list(self._offered.values()), {}
        return taken

    # ------------------------------------------------------------ one reply

    def _deliver(self, due: list[DueReply]) -> None:
        """In one call what the target takes so, and the others one by one."""
        alone = due
        if len(due) > 1:
            taken = self._try_batch(due)
            alone = [one for one in due if one.reply.key not in taken]
            for one in due:
                if one.reply.key in taken:
                    self._has_it(one)
        for one in alone:
            if self.rests or not self._goes_on():
                return
            self._deliver_alone(one)

    def _deliver_alone(self, due: DueReply) -> None:
        error = self._try(due)
        if not self._goes_on():
            return
        if error is None:
            self._has_it(due)
        elif isinstance(error, PermanentError):
            self._give_up(due, error)
        else:
            self._put_off(due, error)

    def _has_it(self, due: DueReply) -> None:
        self._failures = 0
        with self._offering:
            self._delivered[due.reply.key] = due.tried_since
        if len(self._delivered) >= self._noted_at_once:
            self._note_delivered()
        self._emit(
            ReplySent(
                target=self.name,
                key=due.reply.key,
                about=due.reply.event.value,
                transfer_id=due.reply.transfer_id,
                seconds=max(0.0, (self._clock.now() - due.reply.at).total_seconds()),
            )
        )

    def _try_batch(self, due: list[DueReply]) -> frozenset[str]:
        """The keys of those that were taken; where the call failed the first one is put off."""
        target = self._find(self.name)
        if not isinstance(target, BatchReplyTarget):
            return frozenset()
        taken = self._outcome(lambda: target.deliver_batch([one.reply for one in due]))
        if not isinstance(taken, BackhaulError):
            return taken if self._goes_on() else frozenset()
        if not isinstance(taken, PermanentError) and self._goes_on():
            self._put_off(due[0], taken)
        return frozenset()

    def _try(self, due: DueReply) -> BackhaulError | None:
        target = self._find(self.name)
        if target is None:
            return PermanentError(
                "E_REPLY_TARGET",
                f"there is no reply target {self.name} in the configuration",
                hint=f"write {setting_of(self.name)} again, restart the agent, then:"
                f" backhaul replies resend --target {printable(quote(self.name))}",
            )
        return self._outcome(lambda: target.deliver(due.reply))

    def _outcome(self, work: Callable[[], _T]) -> _T | BackhaulError:
        try:
            return result_or_error(work, self._emit)
        except ConfigurationError as error:  # of this target alone: a file that it needs, say
            return error

    def _put_off(self, due: DueReply, error: BackhaulError) -> None:
        """It is due again later; the target rests, and its other replies with it."""
        rest_s = self._rest(getattr(error, "retry_after_s", None) or 0.0)
        now = self._clock.now()
        if self._patience.is_over(due.tried_since, now):
            self._give_up(due, error)
            return
        retry_in_s = max(rest_s, self._patience.delay_s(due.tries + 1, self._chance()))
        self._note_failed(due, error, retry_in_s)
        self._emit(
            ReplyNotTaken(
                target=self.name,
                key=due.reply.key,
                transfer_id=due.reply.transfer_id,
                code=error.code,
                reason=redacted(error.message),
                hint=error.hint,
                retry_in_s=retry_in_s,
            )
        )

    def _give_up(self, due: DueReply, error: BackhaulError) -> None:
        self._note_failed(due, error, None)
        self._emit(
            ReplyDead(
                target=self.name,
                key=due.reply.key,
                transfer_id=due.reply.transfer_id,
                code=error.code,
                reason=redacted(error.message),
                hint=error.hint,
            )
        )

    def _rest(self, least_s: float = 0.0) -> float:
        with self._offering:
            self._failures += 1
            self._is_behind, self._offered = True, {}  # the ledger has them, and knows the order
        seconds = max(least_s, self._patience.delay_s(self._failures, self._chance()))
        self._rests_until_s = self._clock.monotonic() + seconds
        return seconds

    # ------------------------------------------------------------ the ledger

    def _ledger_failed(self, error: BackhaulError) -> None:
        self._rest()
        self._emit(RepliesUnknown(code=error.code, reason=error.message))

    def _note_delivered(self) -> None:
        with self._offering:
            noted = dict(self._delivered)
        if noted and self._goes_on():
            self._ledger.note_replies_sent(self.name, noted, self._clock.now())
            self._forget(noted)

    def _forget(self, noted: dict[str, datetime]) -> None:
        with self._offering:  # the next one may have been delivered since, or one of these again
            self._delivered = {
                key: since for key, since in self._delivered.items() if noted.get(key) != since
            }

    def _note_failed(self, due: DueReply, error: BackhaulError, retry_in_s: float | None) -> None:
        self._note_delivered()  # the target may rest for long now
        now = self._clock.now()
        self._ledger.note_reply_failed(
            self.name,
            due.reply.key,
            error.code,
            error.message,
            now,
            due_at=None if retry_in_s is None else now + timedelta(seconds=retry_in_s),
        )
