"""Signed messages: who knows the key wrote this body, for this queue, and only once.

One message attribute, `backhaul-signature`, holds `v1,EXPIRES,NONCE,SIGNATURE`. The signature is
HMAC-SHA-256, in hexadecimal, over the canonical JSON of four texts:

    {"body":"…","expires":"2026-11-22T12:00:00Z","nonce":"…","queue":"arn:aws:sqs:…"}

canonical meaning: names in order, no blanks, ASCII only. The body is signed as it is sent, byte
for byte, so there is no second canonical form to disagree about.

Expiry is compared with the time of sending that SQS records, which no sender can set: a message may
wait out an outage, and a copy that someone sends again later has expired.

A dead letter of a signed message carries a ticket, `backhaul.redrive`, with which it may come back
as a new message: `v1,TRANSFER,SENT,MAC`. The agent makes it with the route's key over body,
signature, queue, transfer and original sending time, so no one else can. It is good while that
transfer is dead and its message has the nonce; the nonce then passes to the message that came back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from backhaul.core.errors import NotAllowed
from backhaul.core.model import SignatureRule
from backhaul.core.requests.aws_events import is_moment

ATTRIBUTE = "backhaul-signature"
TICKET = "backhaul.redrive"
RETENTION_MAX = timedelta(days=14)  # SQS's own: no message of that nonce can be older
NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")

_VERSION = "v1"
_PARTS = 4
_HINT = "send it with `backhaul send --sign`, or sign it as the manual describes"


@dataclass(frozen=True, kw_only=True)
class Signed:
    """The content of a good signature.

    Attributes:
        keep_until: The nonce must be remembered until then.
    """

    nonce: str
    keep_until: datetime


def sign(key: bytes, *, body: str, queue: str, expires: str, nonce: str) -> str:
    """The value of the attribute.

    Args:
        queue: ARN.
        expires: ISO 8601 with a zone.
        nonce: 16 to 64 of letters, digits, `_` and `-`; never used twice.
    """
    return ",".join((_VERSION, expires, nonce, _mac(key, body, queue, expires, nonce)))


def verify(
    rule: SignatureRule, value: str | None, *, body: str, queue: str, sent_at: datetime
) -> Signed:
    """Check everything but whether the nonce is new: the ledger knows that.

    Raises:
        NotAllowed: E_SIG_MISSING, E_SIG_BAD, E_SIG_EXPIRED.
    """
    if value is None:
        raise NotAllowed(
            "E_SIG_MISSING", f"route requires a signature, and {ATTRIBUTE} is missing", hint=_HINT
        )
    parts = value.split(",")
    if len(parts) != _PARTS or parts[0] != _VERSION:
        raise NotAllowed("E_SIG_BAD", f"{ATTRIBUTE} is not {_VERSION} of its form", hint=_HINT)
    _, expires, nonce, signature = parts
    # Every key is tried, so that the time taken does not reveal which one is right.
    wanted = [_mac(key, body, queue, expires, nonce) for key in rule.keys]
    good = [
        hmac.compare_digest(mac.encode(), signature.encode("utf-8", "replace")) for mac in wanted
    ]
    if not any(good) or not NONCE.fullmatch(nonce) or not is_moment(expires):
        raise NotAllowed(
            "E_SIG_BAD",
            f"signature is not this route's over this body for {queue}",
            hint="check the key, the queue's ARN, and that nothing rewrote the body",
        )
    expires_at = datetime.fromisoformat(expires)
    if sent_at > expires_at:
        late_s = (sent_at - expires_at).total_seconds()
        raise NotAllowed(
            "E_SIG_EXPIRED",
            f"signature ended {late_s:.0f} s before the message was sent",
            hint="sign it anew; check the sender's clock",
        )
    if expires_at - sent_at > timedelta(seconds=rule.max_age_s):
        raise NotAllowed(
            "E_SIG_EXPIRED",
            f"signature is good for more than the {rule.max_age_s} s its route allows",
            hint="sign it for a shorter time, or raise signature.max_age_s on the route",
        )
    return Signed(nonce=nonce, keep_until=expires_at + RETENTION_MAX)


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """The content of a good ticket.

    Attributes:
        transfer_id: Of the dead message.
        sent_at: When SQS took the message first.
    """

    transfer_id: str
    sent_at: datetime


def make_ticket(
    key: bytes, *, value: str, body: str, queue: str, transfer_id: str, sent_at: datetime
) -> str:
    """The ticket of a dead letter.

    Args:
        value: The message's signature, `backhaul-signature`.
    """
    sent = sent_at.isoformat()
    return ",".join(
        (_VERSION, transfer_id, sent, _ticket_mac(key, value, body, queue, transfer_id, sent))
    )


def verify_ticket(rule: SignatureRule, ticket: str, *, value: str, body: str, queue: str) -> Ticket:
    """Check that an agent with this route's key made the ticket, for this very message.

    Raises:
        NotAllowed: E_SIG_BAD.
    """
    parts = ticket.split(",")
    if len(parts) == _PARTS and parts[0] == _VERSION:
        _, transfer_id, sent, mac = parts
        wanted = [_ticket_mac(key, value, body, queue, transfer_id, sent) for key in rule.keys]
        good = [hmac.compare_digest(one.encode(), mac.encode("utf-8", "replace")) for one in wanted]
        if any(good):
            return Ticket(transfer_id=transfer_id, sent_at=datetime.fromisoformat(sent))
    raise NotAllowed(
        "E_SIG_BAD",
        f"{TICKET} was not made by an agent with this route's key, for this message",
        hint="redrive the dead letter as it is, body and attributes unchanged",
    )


def replayed(nonce: str) -> NotAllowed:
    """Another message had the nonce."""
    return NotAllowed(
        "E_SIG_REPLAY",
        f"nonce {nonce} belongs to another message: this one is a copy",
        hint="sign each message with a nonce of its own",
    )


def _mac(key: bytes, body: str, queue: str, expires: str, nonce: str) -> str:
    signed = {"body": body, "expires": expires, "nonce": nonce, "queue": queue}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()


def _ticket_mac(key: bytes, value: str, body: str, queue: str, transfer_id: str, sent: str) -> str:
    ticket = {
        "redrive": transfer_id,
        "sent": sent,
        "body": body,
        "queue": queue,
        "signature": value,
    }
    text = json.dumps(ticket, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()
