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
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.replies import DueReply, ReplyLedger, ReplyTarget
from backhaul.core.replies.delivery import RepliesUnknown
from backhaul.core.replies.patience import ReplyPatience

LOOK_EVERY_S = 5.0  # for what other processes wrote, for what is due again, and to note the sent
UNUSED_LOOK_EVERY_S = 60.0  # where no route sends replies, and none is known of
GATHER_S = 0.5  # after an end: others that end just now share one turn, and one batch
HOLDS_EVERY_S = 10.0
LINGER_S = 10.0  # a target's thread waits so long for the next reply: a start costs more
LANES_MOST = 32  # targets at work at once; the others have their turn when one of them is done
LANES_KEPT = 200  # of targets that have nothing to do
CLOSE_S = 5.0  # for what is due when the agent ends; the rest is sent after the next start


class ReplySender:
    """Delivers what waits in the ledger until it is closed.

    Args:
        find: The target of a name as it is configured now; None: there is none.
        chance: 0.0 to 1.0, for jitter.
        sends: Whether any route sends replies now; the ledger may have some of earlier routes.
        leads: Whether this is the one process on the ledger that delivers.
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
        sends: Callable[[], bool] = lambda: True,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ledger = ledger
        self._sends = sends
        self._leads = leads
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
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._has_news = True  # what an earlier process left
        self._looked_s = -math.inf
        self._is_closing = False
        self._deadline_s = math.inf
        self._holds_looked_s = -math.inf
        self._looking = threading.Thread(
            target=self._look_until_closed, name="replies", daemon=True
        )

    def offer(self, due: DueReply) -> None:
        """One that this process has just written: its target gets it soon."""
        if not self._leads():
            return  # who leads finds it in the ledger
        with self._changed:
            self._worked(due.reply.target).lane.offer(due)
            self._has_news = True
            self._changed.notify_all()

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._ledger.observe_replies(self.offer)
        self._looking.start()

    def close(self) -> None:
        """Deliver what is due, within `CLOSE_S`, and note it.

        A delivery under way after that ends with the process. Whether it was taken is not known:
        it is repeated after the next start, and nothing else is.
        """
        with self._changed:
            self._is_closing = True
            self._deadline_s = self._clock.monotonic() + CLOSE_S
            self._changed.notify_all()
            for worked in self._lanes.values():
                worked.lane.note_each()
                worked.called.notify()
        self._join(self._looking)
        with self._changed:
            lanes = tuple(self._lanes.values())
        for worked in lanes:
            worked.lane.note()  # also where the target hangs, or the ledger did not take it before
        for worked in lanes:
            self._join(worked.thread)

    def _join(self, thread: threading.Thread | None) -> None:
        if thread is not None and thread.ident is not None:
            thread.join(max(0.0, self._deadline_s - self._clock.monotonic()))

    # ------------------------------------------------------------ looking

    def _look_until_closed(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._has_news or self._is_closing,
                    min(LOOK_EVERY_S, self._look_in_s()),  # the routes may change
                )
                self._changed.wait_for(lambda: self._is_closing, GATHER_S)
                self._has_news, is_last = False, self._is_closing
                looks = is_last or self._look_in_s() == 0
            if looks:
                self._look()
            self._pass_on()

    def _look_in_s(self) -> float:
        """A look takes SQLite's write lock: where there is nothing to expect it is rare."""
        is_unused = not self._sends() and all(one.is_quiet for one in self._lanes.values())
        every_s = UNUSED_LOOK_EVERY_S if is_unused else LOOK_EVERY_S
        return max(0.0, self._looked_s + every_s - self._clock.monotonic())

    def _pass_on(self) -> None:
        """Set the thread of each target to work that was offered a reply."""
        with self._changed:
            for name, worked in self._lanes.items():
                if worked.lane.has_news:
                    self._wake(name)

    def _look(self) -> None:
        """Set the thread of each target to work that has a reply due in the ledger."""
        now_s = self._looked_s = self._clock.monotonic()
        if not self._note_busy() or not self._leads():
            return
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
                self._worked(name).reads = True
                self._wake(name)
            self._forget_idle()

    def _note_busy(self) -> bool:
        """For threads that cannot note what they delivered while their target takes its time."""
        with self._changed:
            busy = [one.lane for one in self._lanes.values() if one.is_busy]
        return all(lane.note() for lane in busy)  # not under the lock: a commit may offer replies

    def _worked(self, name: str) -> _Worked:
        if name not in self._lanes:
            self._lanes[name] = _Worked(self._new_lane(name), threading.Condition(self._lock))
            if self._is_closing:
                self._lanes[name].lane.note_each()
        return self._lanes[name]

    def _wake(self, name: str) -> None:
        worked = self._lanes[name]
        if worked.is_busy:
            worked.has_news = True
        elif not worked.lane.rests and self._at_work() < LANES_MOST:
            worked.has_news = worked.is_busy = True
            if worked.thread is not None:
                worked.called.notify()
                return
            worked.thread = threading.Thread(
                target=self._work, args=(worked,), name=f"reply {name}", daemon=True
            )
            worked.thread.start()

    def _at_work(self) -> int:
        return sum(one.is_busy for one in self._lanes.values())

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
        """Until nothing has been due for some time, or too many others are at work."""
        try:
            while self._has_work(worked):
                while worked.lane.turn(reads=self._takes_look(worked)):
                    pass
        except BaseException:
            worked.is_busy, worked.thread = False, None  # a later look begins again
            raise

    def _takes_look(self, worked: _Worked) -> bool:
        with self._changed:
            reads, worked.reads = worked.reads, False
            return reads

    def _has_work(self, worked: _Worked) -> bool:
        """Whether something is due, now or soon; without, the thread is the target's no more."""
        with self._changed:
            if not worked.has_news and self._may_linger():
                worked.is_busy = False
                worked.called.wait_for(lambda: worked.has_news or self._is_closing, LINGER_S)
                worked.is_busy = True
        if self._is_closing:
            worked.lane.note()
        with self._changed:
            has_news, worked.has_news = worked.has_news and self._goes_on(), False
            if not has_news:
                worked.is_busy, worked.thread = False, None
            return has_news

    def _may_linger(self) -> bool:
        threads = sum(one.thread is not None for one in self._lanes.values())
        return threads <= LANES_MOST and not self._is_closing

    def _goes_on(self) -> bool:
        return self._clock.monotonic() < self._deadline_s


@dataclass
class _Worked:
    """A target, and its thread."""

    lane: ReplyLane
    called: threading.Condition
    thread: threading.Thread | None = None
    is_busy: bool = False  # else its thread waits for news
    has_news: bool = False  # more became due while it worked
    reads: bool = False  # its next turn looks in the ledger

    @property
    def is_quiet(self) -> bool:
        """True when nothing is under way, and nothing left to be tried again or noted."""
        return self.lane.is_idle and not (self.is_busy or self.reads or self.lane.has_news)
