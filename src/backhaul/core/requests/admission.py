"""Between the policy's decision and the first byte: the signature, and the limits of the route.

The rules of routes are in `policy`, the form of a signature in `signature`.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from datetime import datetime

from backhaul.core.errors import NotAllowed
from backhaul.core.model import Assignment, SignatureRule
from backhaul.core.ports import Clock, Ledger, Message, MessageKey
from backhaul.core.requests.policy import Policy, serves_queue
from backhaul.core.requests.signature import (
    ATTRIBUTE,
    RETENTION_MAX,
    TICKET,
    Ticket,
    make_ticket,
    replayed,
    verify,
    verify_ticket,
)

MINUTE_S = 60.0


def check_signature(
    rule: SignatureRule | None, message: Message, key: MessageKey, ledger: Ledger, clock: Clock
) -> None:
    """Check the signature, and that no other message had it; a redelivery is the same message.

    Raises:
        NotAllowed: E_SIG_MISSING, E_SIG_BAD, E_SIG_EXPIRED, E_SIG_REPLAY.
    """
    if rule is None:
        return
    now = clock.now()
    value = message.attributes.get(ATTRIBUTE)
    ticket = _ticket(rule, message)
    sent_at = ticket.sent_at if ticket else message.sent_at or now
    signed = verify(rule, value, body=message.body, queue=message.queue, sent_at=sent_at)
    keep_until = signed.keep_until
    if ticket is not None:  # as long as a copy of the message that came back may be left
        keep_until = max(keep_until, now + RETENTION_MAX)
    if not ledger.claim_nonce(
        signed.nonce,
        key,
        keep_until,
        now,
        redriven_from=ticket.transfer_id if ticket else None,
    ):
        raise replayed(signed.nonce)


def _ticket(rule: SignatureRule, message: Message) -> Ticket | None:
    value, text = message.attributes.get(ATTRIBUTE), message.attributes.get(TICKET)
    if value is None or text is None:
        return None
    return verify_ticket(rule, text, value=value, body=message.body, queue=message.queue)


def ticket_for(policy: Policy, message: Message, transfer_id: str, now: datetime) -> str:
    """The ticket with which a signed message may leave the dead-letter queue; empty: it may not.

    Only a message whose signature was good when it was sent gets one.
    """
    value = message.attributes.get(ATTRIBUTE)
    rules = [
        route.signature
        for route in policy.routes
        if route.signature is not None and serves_queue(route, message.queue)
    ]
    for rule in rules if value is not None else ():
        for key in rule.keys:
            alone = replace(rule, keys=(key,))
            try:
                before = _ticket(alone, message)
                sent_at = before.sent_at if before else message.sent_at or now
                verify(alone, value, body=message.body, queue=message.queue, sent_at=sent_at)
            except NotAllowed:
                continue
            return make_ticket(
                key,
                value=value or "",
                body=message.body,
                queue=message.queue,
                transfer_id=transfer_id,
                sent_at=sent_at,
            )
    return ""


class RouteGate:
    """Counts transfers by route; safe to share only under its caller's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._admitted: dict[str, deque[tuple[float, str]]] = {}  # in the last minute

    def enter(self, job: Assignment, transfer_id: str) -> bool:
        """Count the transfer in; False when the route is full or has had its minute's share.

        A transfer that waits or is held enters many times, and counts once a minute.
        """
        limits = job.limits
        if limits.in_flight is not None and self._in_flight[job.route] >= limits.in_flight:
            return False
        if limits.per_minute is not None and not self._is_admitted(
            job.route, limits.per_minute, transfer_id
        ):
            return False
        self._in_flight[job.route] += 1
        return True

    def leave(self, job: Assignment) -> None:
        """Count it out."""
        self._in_flight[job.route] -= 1

    def _is_admitted(self, route: str, per_minute: int, transfer_id: str) -> bool:
        now_s = self._clock.monotonic()
        admitted = self._admitted.setdefault(route, deque())
        while admitted and now_s - admitted[0][0] >= MINUTE_S:
            admitted.popleft()
        if any(taken == transfer_id for _, taken in admitted):
            return True
        if len(admitted) >= per_minute:
            return False
        admitted.append((now_s, transfer_id))
        return True
