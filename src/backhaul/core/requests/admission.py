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
FULL_S = (10.0, 30.0)  # until the ledger is read again, where other agents fill the route
FULL_HERE_S = 2.0  # this agent alone fills it, and notices when it does no more
FULL_LOOK_S = 10.0  # for the answer of the one message that looks
FULL_PARKED_MOST = 32  # messages; all others wait in their slots, and the queue keeps the rest


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


class FullRoutes:
    """Routes whose limit the agents of a ledger reached together, as far as is known here.

    The count is in the ledger, whose lock all agents share: so of all messages that wait for a
    route one looks, every 10 to 30 s, and the others go by its answer. For one thread at a time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: dict[str, float] = {}
        self._waiting: dict[str, set[int]] = {}  # numbers of records, by message

    def left_s(self, route: str) -> float:
        """Until a message has to look again; 0: it may be free."""
        return max(0.0, self._until_s.get(route, 0.0) - self._clock.monotonic())

    def may_look(self, route: str) -> bool:
        """Whether the caller is to look; where the route was full, all others wait meanwhile."""
        until_s, now_s = self._until_s.get(route), self._clock.monotonic()
        if until_s is not None and until_s > now_s:
            return False
        if until_s is not None:
            self._until_s[route] = now_s + FULL_LOOK_S
        return True

    def note_full(self, route: str, seconds: float) -> None:
        """For so long no message of it looks."""
        self._until_s[route] = self._clock.monotonic() + seconds

    def note_free(self, route: str) -> None:
        """A transfer of it ended here, or the ledger has room."""
        self._until_s.pop(route, None)

    def leave(self, message_id: str, record: int) -> bool:
        """Whether the message may wait without a slot: False once too many do."""
        if message_id not in self._waiting and len(self._waiting) >= FULL_PARKED_MOST:
            return False
        self._waiting.setdefault(message_id, set()).add(record)
        return True

    def back(self, message_id: str, record: int) -> bool:
        """It has a slot again; whether this record of it had waited."""
        records = self._waiting.get(message_id, set())
        had_waited = record in records
        records.discard(record)
        if not records:
            self._waiting.pop(message_id, None)
        return had_waited

    def forget(self, message_id: str) -> None:
        """It went back to its queue."""
        self._waiting.pop(message_id, None)
