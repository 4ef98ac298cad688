"""The replies of one target: what is due is delivered, then noted; a target that fails rests.

The row is in the ledger, then the target has the reply, then the row says so. Die between the last
two and the target gets it again, with the same key. Nothing is noted as sent before it was.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from backhaul.core.agent.defects import result_or_error
from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.replies import DueReply, ReplyLedger, ReplyTarget
from backhaul.core.replies.delivery import RepliesUnknown, ReplyDead, ReplyNotTaken, ReplySent
from backhaul.core.replies.patience import ReplyPatience
from backhaul.core.text import redacted

MOST = 20  # replies read at once
NOTED_AT_ONCE = 5  # of those delivered: so many are delivered again, at most, after a death


class ReplyLane:
    """One target; used by one thread at a time.

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
        self._failures = 0  # in a row
        self._rests_until_s = 0.0
        self._delivered: list[str] = []  # and not noted yet

    @property
    def rests(self) -> bool:
        """True while the target is left alone after a failure."""
        return self._clock.monotonic() < self._rests_until_s

    @property
    def is_idle(self) -> bool:
        """True when nothing is lost by forgetting it."""
        return not self._failures and not self._delivered

    def turn(self) -> bool:
        """Deliver what is due, until something is not taken; True when there may be more."""
        try:
            self._note_delivered()
            due = self._ledger.due_replies(self.name, self._clock.now(), most=MOST)
            for one in due:
                if self.rests or not self._goes_on():
                    break
                self._deliver(one)
            self._note_delivered()
        except BackhaulError as error:  # the ledger's; what was delivered is noted next time
            self._rest()
            self._emit(RepliesUnknown(code=error.code, reason=error.message))
            return False
        return len(due) == MOST and not self.rests and self._goes_on()

    # ------------------------------------------------------------ one reply

    def _deliver(self, due: DueReply) -> None:
        error = self._try(due)
        if not self._goes_on():
            return
        if error is None:
            self._failures = 0
            self._delivered.append(due.reply.key)
            if len(self._delivered) >= NOTED_AT_ONCE:
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
        elif isinstance(error, PermanentError):
            self._give_up(due, error)
        else:
            self._put_off(due, error)

    def _try(self, due: DueReply) -> BackhaulError | None:
        target = self._find(self.name)
        if target is None:
            return PermanentError(
                "E_REPLY_TARGET",
                f"there is no reply target {self.name} in the configuration",
                hint="add it, and then: backhaul replies resend --target",
            )
        try:
            return result_or_error(lambda: target.deliver(due.reply), self._emit)
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
        self._failures += 1
        seconds = max(least_s, self._patience.delay_s(self._failures, self._chance()))
        self._rests_until_s = self._clock.monotonic() + seconds
        return seconds

    # ------------------------------------------------------------ the ledger

    def _note_delivered(self) -> None:
        if self._delivered and self._goes_on():
            self._ledger.note_replies_sent(self.name, self._delivered, self._clock.now())
            self._delivered = []

    def _note_failed(self, due: DueReply, error: BackhaulError, retry_in_s: float | None) -> None:
        now = self._clock.now()
        self._ledger.note_reply_failed(
            self.name,
            due.reply.key,
            error.code,
            error.message,
            now,
            due_at=None if retry_in_s is None else now + timedelta(seconds=retry_in_s),
        )
