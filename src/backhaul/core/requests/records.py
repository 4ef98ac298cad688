"""The records of a message, and how each of them ended. `delivery` works them one after the other.

Most messages are one record. A message is deleted when all of its records have ended; on a
redelivery the ledger knows those that have. Records that cannot be read are one part together:
that is decided by the body alone, before the ledger, so that a body of many costs one dead letter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from backhaul.core.errors import BackhaulError, PermanentError
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import TransferState
from backhaul.core.ports import AttemptStart, Message, MessageKey
from backhaul.core.requests.body import read_message
from backhaul.core.requests.content import Content, RecordBody
from backhaul.core.requests.signature import ATTRIBUTE

NAMED_MAX = 10  # unreadable records that a dead letter gives a reason for


@dataclass(frozen=True, kw_only=True)
class MessageRecord:
    """One record, or all of those that cannot be read.

    Attributes:
        number: From 0.
        count: How many records the message has.
        also: Numbers of further records that end with this one.
        body: What asks for this record alone; None: only the whole body does.
    """

    number: int
    count: int
    ask: RecordBody
    also: tuple[int, ...] = ()
    body: str | None = None

    def key(self, message: Message) -> MessageKey:
        """What makes redeliveries of this record one transfer."""
        return MessageKey(
            queue=message.queue,
            message_id=message.message_id,
            part=self.number,
            also=self.also,
            body_digest=digest_of(message.body),
        )

    def letter_of(self, message: Message) -> Message:
        """The message as it goes to the dead-letter queue: with this record alone, if it can be.

        A signature is over the whole body, so a signed one stays whole.
        """
        if self.body is None or ATTRIBUTE in message.attributes:
            return message
        return replace(message, body=self.body)

    @property
    def label(self) -> str:
        """`record 2 of 3: `; nothing where it is the only one, or where each is named anyway."""
        is_named = self.count > 1 and not self.also
        return f"record {self.number + 1} of {self.count}: " if is_named else ""


def digest_of(body: str) -> str:
    """SHA-256 of a body, hexadecimal."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def records_of(
    message: Message, *, default_fs: FileSystems | str | None
) -> Sequence[MessageRecord]:
    """At least one: a body that cannot be read is a record that is its error."""
    try:
        content = read_message(message.body, default_fs=default_fs, attributes=message.attributes)
    except PermanentError as error:
        content = Content(form="", asks=(error,))
    asks, bodies = content.asks, content.bodies
    unreadable = [n for n, ask in enumerate(asks) if isinstance(ask, PermanentError)]
    joined = frozenset(unreadable[1:])
    return [
        MessageRecord(
            number=n,
            count=len(asks),
            ask=_joined(asks, unreadable) if joined and n == unreadable[0] else ask,
            also=tuple(unreadable[1:]) if [n] == unreadable[:1] else (),
            body=bodies[n] if bodies and n not in unreadable else None,
        )
        for n, ask in enumerate(asks)
        if n not in joined
    ]


def _joined(asks: Sequence[RecordBody], unreadable: Sequence[int]) -> PermanentError:
    """One error for all records that cannot be read; its code is the first one's."""
    errors = [(n, ask) for n in unreadable if isinstance(ask := asks[n], PermanentError)]
    named = [f"record {n + 1}: {error.message} ({error.code})" for n, error in errors[:NAMED_MAX]]
    more = len(errors) - len(named)
    tail = [f"and {more} more"] if more else []
    _, first = errors[0]
    return type(first)(
        first.code,
        f"{len(errors)} of {len(asks)} records cannot be read: {'; '.join([*named, *tail])}",
        hint=first.hint,
    )


@dataclass(frozen=True, kw_only=True)
class Dead:
    """A record that no later attempt can help."""

    begun: AttemptStart
    part: MessageRecord
    error: BackhaulError

    @property
    def attempts(self) -> int:
        """Failed ones, this one among them; at least one."""
        is_known = self.begun.state is TransferState.DEAD
        return max(1, self.begun.failures + (0 if is_known else 1))

    @property
    def sentence(self) -> str:
        """Why, naming the record where there are several."""
        return f"{self.part.label}{self.error.message}"


@dataclass(frozen=True, kw_only=True)
class RecordOutcome:
    """How a record ended: done, unless it says otherwise.

    Attributes:
        retry_in_s: It failed and has to come back.
        dead: It is dead; the ledger says so.
        is_copied: Its dead letter has been sent, in this delivery or an earlier one.
        is_ignored: It asked for nothing.
    """

    retry_in_s: int | None = None
    dead: Dead | None = None
    is_copied: bool = False
    is_ignored: bool = False
