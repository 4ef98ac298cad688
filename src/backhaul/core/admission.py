"""Between the policy's yes and the first byte: is it signed, and is there room on its route?

What the policy itself says is in `policy`; what a signature is, in `signature`.
"""

from __future__ import annotations

from collections import Counter, deque

from backhaul.core.model import Job, SignatureRule
from backhaul.core.ports import Clock, Ledger, Message, MessageKey
from backhaul.core.signature import ATTRIBUTE, replayed, verify

MINUTE_S = 60.0


def check_signature(
    rule: SignatureRule | None, message: Message, key: MessageKey, ledger: Ledger, clock: Clock
) -> None:
    """Signed, and by a message that is no copy of another; a redelivery is none.

    Raises:
        NotAllowed: E_SIG_MISSING, E_SIG_BAD, E_SIG_EXPIRED, E_SIG_REPLAY.
    """
    if rule is None:
        return
    now = clock.now()
    signed = verify(
        rule,
        message.attributes.get(ATTRIBUTE),
        body=message.body,
        queue=message.queue,
        sent_at=message.sent_at or now,
    )
    if not ledger.claim_nonce(signed.nonce, key, signed.keep_until, now):
        raise replayed(signed.nonce)


class RouteGate:
    """Counts transfers by route; not safe to share but under its caller's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._turns: dict[str, deque[tuple[float, str]]] = {}  # of the last minute

    def enter(self, job: Job, transfer_id: str) -> bool:
        """Count the transfer in; False when the route is full or has had its minute's share.

        A transfer that waits or is held comes here again and again: it takes its turn once.
        """
        limits = job.limits
        if limits.in_flight is not None and self._in_flight[job.route] >= limits.in_flight:
            return False
        if limits.per_minute is not None and not self._has_turn(
            job.route, limits.per_minute, transfer_id
        ):
            return False
        self._in_flight[job.route] += 1
        return True

    def leave(self, job: Job) -> None:
        """Count it out."""
        self._in_flight[job.route] -= 1

    def _has_turn(self, route: str, per_minute: int, transfer_id: str) -> bool:
        now_s = self._clock.monotonic()
        turns = self._turns.setdefault(route, deque())
        while turns and now_s - turns[0][0] >= MINUTE_S:
            turns.popleft()
        if any(taken == transfer_id for _, taken in turns):
            return True
        if len(turns) >= per_minute:
            return False
        turns.append((now_s, transfer_id))
        return True
