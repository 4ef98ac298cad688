"""The threads that deliver replies: one that looks what is due, and one for each target at work.

No transfer waits for any of them, and no target for another. A target that hangs keeps its own
thread, which ends with the process.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from backhaul.core.agent.replying.lane import ReplyLane
from backhaul.core.errors import BackhaulError
from backhaul.core.facts import MessageDead, TransferDone
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.replies import ReplyLedger, ReplyTarget
from backhaul.core.replies.delivery import RepliesUnknown
from backhaul.core.replies.patience import ReplyPatience

LOOK_EVERY_S = 5.0  # for what other processes wrote, and for what is due again
GATHER_S = 0.2  # after an end: others that end just now share one look
HOLDS_EVERY_S = 10.0
LANES_MOST = 32  # targets at work at once; the others have their turn when one of them is done
LANES_KEPT = 200  # of targets that have nothing to do
CLOSE_S = 5.0  # for what is due when the agent ends; the rest is sent after the next start
_ENDS = (TransferDone, MessageDead)


class ReplySender:
    """Delivers what waits in the ledger until it is closed.

    Args:
        find: The target of a name as it is configured now; None: there is none.
        chance: 0.0 to 1.0, for jitter.
    """

    def __init__(
        self,
        *,
        ledger: ReplyLedger,
        find: Callable[[str], ReplyTarget | None],
        clock: Clock,
        emit: Emit,
        chance: Callable[[], float],
        patience: ReplyPatience | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._new_lane = partial(
            ReplyLane,
            ledger=ledger,
            find=find,
            clock=clock,
            emit=emit,
            chance=chance,
            patience=patience or ReplyPatience(),
            goes_on=self._goes_on,
        )
        self._lanes: dict[str, _Worked] = {}
        self._changed = threading.Condition()
        self._has_news = True  # what an earlier process left
        self._is_closing = False
        self._deadline_s = math.inf
        self._holds_looked_s = -math.inf
        self._looking = threading.Thread(
            target=self._look_until_closed, name="replies", daemon=True
        )

    def __call__(self, fact: object) -> None:
        """Look soon, where this fact is the end of a transfer."""
        if isinstance(fact, _ENDS):
            with self._changed:
                self._has_news = True
                self._changed.notify_all()

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._looking.start()

    def close(self) -> None:
        """Deliver what is due, within `CLOSE_S`; a delivery under way ends with the process."""
        with self._changed:
            self._is_closing = True
            self._deadline_s = self._clock.monotonic() + CLOSE_S
            self._changed.notify_all()
        self._join(self._looking)
        for worked in tuple(self._lanes.values()):
            self._join(worked.thread)

    def _join(self, thread: threading.Thread | None) -> None:
        if thread is not None and thread.ident is not None:
            thread.join(max(0.0, self._deadline_s - self._clock.monotonic()))

    # ------------------------------------------------------------ looking

    def _look_until_closed(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(lambda: self._has_news or self._is_closing, LOOK_EVERY_S)
                self._changed.wait_for(lambda: self._is_closing, GATHER_S)
                self._has_news, is_last = False, self._is_closing
            self._look()

    def _look(self) -> None:
        """Set the thread of each target to work that has a reply due."""
        now_s = self._clock.monotonic()
        try:
            if now_s - self._holds_looked_s >= HOLDS_EVERY_S:
                self._ledger.report_holds(self._clock.now())
                self._holds_looked_s = now_s
            due = self._ledger.due_reply_targets(self._clock.now())
        except BackhaulError as error:
            self._emit(RepliesUnknown(code=error.code, reason=error.message))
            return
        with self._changed:
            for name in due:
                self._wake(name)
            self._forget_idle()

    def _wake(self, name: str) -> None:
        worked = self._lanes.setdefault(name, _Worked(self._new_lane(name)))
        if worked.thread is not None:
            worked.has_news = True
        elif not worked.lane.rests and self._at_work() < LANES_MOST:
            worked.thread = threading.Thread(
                target=self._work, args=(worked,), name=f"reply {name}", daemon=True
            )
            worked.thread.start()

    def _at_work(self) -> int:
        return sum(one.thread is not None for one in self._lanes.values())

    def _forget_idle(self) -> None:
        """Addresses of messages may be many, each used once."""
        if len(self._lanes) > LANES_KEPT:
            self._lanes = {
                name: one
                for name, one in self._lanes.items()
                if one.thread is not None or not one.lane.is_idle
            }

    # ------------------------------------------------------------ a target's thread

    def _work(self, worked: _Worked) -> None:
        """Until nothing is due for the target, or it rests."""
        try:
            while worked.lane.turn() or self._has_more(worked):
                pass
        except BaseException:
            worked.thread = None  # a later look begins again
            raise

    def _has_more(self, worked: _Worked) -> bool:
        """Whether more has become due meanwhile; without, the thread is not at work any more."""
        with self._changed:
            has_more, worked.has_news = worked.has_news and self._goes_on(), False
            if not has_more:
                worked.thread = None
            return has_more

    def _goes_on(self) -> bool:
        return self._clock.monotonic() < self._deadline_s


@dataclass
class _Worked:
    """A target, and the thread that works for it now."""

    lane: ReplyLane
    thread: threading.Thread | None = None
    has_news: bool = False  # more was due while it worked
