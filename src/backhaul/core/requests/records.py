"""The records of a message, and how each of them ended. `agent.delivery` works through them.

Most messages are one record. A message is deleted when all of its records have ended; on a
redelivery the ledger knows those that have. Unreadable records count as one together: that is
decided by the body alone, before the ledger, so that a body of many costs one dead letter.
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
        body: The request or event; an error where it cannot be read.
        single_body: The text of a message for this record alone; None: there is none.
    """

    number: int
    count: int
    body: RecordBody
    also: tuple[int, ...] = ()
    single_body: str | None = None

    def key(self, message: Message) -> MessageKey:
        """Equal for all deliveries of this record, so that they are one transfer."""
        return MessageKey(
            queue=message.queue,
            message_id=message.message_id,
            part=self.number,
            also=self.also,
            body_digest=digest_of(message.body),
        )

    def dead_letter_for(self, message: Message) -> Message:
        """The message as it goes to the dead-letter queue: with this record alone, if possible.

        A signature is over the whole body, so a signed one stays whole.
        """
        if self.single_body is None or ATTRIBUTE in message.attributes:
            return message
        return replace(message, body=self.single_body)

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
        content = Content(form="", records=(error,))
    bodies, singles = content.records, content.single_bodies
    unreadable = [n for n, body in enumerate(bodies) if isinstance(body, PermanentError)]
    joined = frozenset(unreadable[1:])
    return [
        MessageRecord(
            number=n,
            count=len(bodies),
            body=_joined(bodies, unreadable) if joined and n == unreadable[0] else body,
            also=tuple(unreadable[1:]) if [n] == unreadable[:1] else (),
            single_body=singles[n] if singles and n not in unreadable else None,
        )
        for n, body in enumerate(bodies)
        if n not in joined
    ]


def _joined(bodies: Sequence[RecordBody], unreadable: Sequence[int]) -> PermanentError:
    """One error for all records that cannot be read; its code is the first one's."""
    errors = [(n, body) for n in unreadable if isinstance(body := bodies[n], PermanentError)]
    named = [f"record {n + 1}: {error.message} ({error.code})" for n, error in errors[:NAMED_MAX]]
    more = len(errors) - len(named)
    tail = [f"and {more} more"] if more else []
    _, first = errors[0]
    return type(first)(
        first.code,
        f"{len(errors)} of {len(bodies)} records cannot be read: {'; '.join([*named, *tail])}",
        hint=first.hint,
    )


@dataclass(frozen=True, kw_only=True)
class Dead:
    """A record that no later attempt can help."""

    start: AttemptStart
    record: MessageRecord
    error: BackhaulError

    @property
    def attempts(self) -> int:
        """Failed ones, this one among them; at least one."""
        is_known = self.start.state is TransferState.DEAD
        return max(1, self.start.failures + (0 if is_known else 1))

    @property
    def sentence(self) -> str:
        """Why, naming the record where there are several."""
        return f"{self.record.label}{self.error.message}"


@dataclass(frozen=True, kw_only=True)
class RouteWait:
    """What a message without a slot waits for.

    Attributes:
        needed_bytes: What the route's budgets have to allow; 0: not known.
        is_full: For a place on its route, not for the end of a pause.
    """

    route: str
    needed_bytes: int = 0
    is_full: bool = False


@dataclass(frozen=True, kw_only=True)
class RecordOutcome:
    """How a record ended; without any attribute set: it is done.

    Attributes:
        retry_in_s: It failed and has to come back.
        dead: It is dead, and recorded so in the ledger.
        is_copied: Its dead letter has been sent, in this delivery or an earlier one.
        is_ignored: It needed no copy.
        wait: It may not begin before a route is resumed, or its budget allows it.
    """

    retry_in_s: int | None = None
    dead: Dead | None = None
    is_copied: bool = False
    is_ignored: bool = False
    wait: RouteWait | None = None
