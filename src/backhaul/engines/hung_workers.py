"""When a hung worker is killed: four rules, and where each is applied.

    silent      its call or staging call shows no activity for `stall_timeout_s` (120 s by default)
                while no dependency is down: `HangCheck` here
    outage      S3 or the target is down, and nothing has moved for 600 s, or for `stall_timeout_s`
                where that is longer; an agent that drains has `drain_patience_s` for the 600 s:
                `WAIT_MOST_S` in `core.transfer.outages`, which `HangCheck` consults
    return      both sides answer again for about 15 s, and still nothing moves: `RECOVERY_S` there
    cancel      the agent gave up a staging call, and 15 s later the worker has not ended it:
                `CANCEL_WAIT_S` here, for `WorkerSession._cancel`

Each makes the session's `fault` "stalled". The kill itself is in `engines.pool`: as soon as the
transfer has given the worker back, `WorkerPool._give_back` kills and replaces it. Beside these, a
worker that accepts no byte of a message for `stall_timeout_s` is killed at once by
`WorkerProcess.send`.
"""

from __future__ import annotations

import time

from backhaul.core.errors import BackhaulError, OutageError, TransientError
from backhaul.core.ports import Watch
from backhaul.engines.exchange import Conversation, Kind

CANCEL_WAIT_S = 15.0
READ_WAIT_S = 1.0  # between two checks while nothing arrives


class HangCheck:
    """Checks one worker about once a second while a call or a staging call waits for it.

    Attributes:
        watch: Of the dependencies; None: none is looked at.
    """

    def __init__(self, *, pid: int, filesystem: str, stall_timeout_s: float) -> None:
        self._pid = pid
        self._filesystem = filesystem
        self._stall_timeout_s = stall_timeout_s
        self._looked_s = 0.0
        self.watch: Watch | None = None

    def check(self, conversation: Conversation, method: str) -> tuple[bool, BackhaulError | None]:
        """Apply the first three rules.

        Silent: no activity of its own for `stall_timeout_s`, whatever else the worker does.

        Returns:
            Whether a second had passed since the last look at the dependencies; and the error with
            which the call ends now, where the worker hangs.
        """
        # Before the look, which may take seconds: what arrives during it is not read yet.
        silent_s = time.monotonic() - conversation.active_s
        has_looked, outage = self._look(conversation)
        if outage is not None:
            return has_looked, outage
        is_waiting = self.watch is not None and self.watch.is_waiting
        if is_waiting or silent_s <= self._stall_timeout_s:
            return has_looked, None
        return has_looked, self._stalled(conversation.kind, method)

    def _look(self, conversation: Conversation) -> tuple[bool, OutageError | None]:
        """Let the watch look once a second; False when it looked less than a second ago."""
        now_s = time.monotonic()
        if now_s - self._looked_s < READ_WAIT_S:
            return False, None
        still_s = now_s - conversation.moved_s
        outage = self.watch.look(still_s, self._stall_timeout_s) if self.watch else None
        self._looked_s = time.monotonic()
        return True, outage

    def _stalled(self, kind: Kind, method: str) -> BackhaulError:
        match kind:
            case Kind.CALL:
                # A call is one request to the file system: its silence is not the message's fault.
                return OutageError.of(
                    "target",
                    "E_TARGET_STALLED",
                    f"{self._filesystem} gave no answer to {method} for "
                    f"{self._stall_timeout_s:.0f} s",
                    hint="check the NameNode or the mount; the transfer waits and goes on",
                )
            case Kind.STAGING:
                return TransientError(
                    "E_WORKER_STALLED",
                    f"worker {self._pid} moved nothing for "
                    f"{self._stall_timeout_s:.0f} s and was killed",
                    hint="S3 or the target hangs; the attempt is repeated",
                )
