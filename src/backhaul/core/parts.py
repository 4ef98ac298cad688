"""The records of a message, and how each of them ended. `delivery` works them one after the other.

Most messages are one record. A message is deleted when all of its records have ended; on a
redelivery the ledger knows those that have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backhaul.core.content import Ask
from backhaul.core.errors import BackhaulError, PermanentError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.message import read_message
from backhaul.core.model import TransferState
from backhaul.core.ports import Begun, Message, MessageKey


@dataclass(frozen=True, kw_only=True)
class Part:
    """One record.

    Attributes:
        number: From 0.
        count: How many records the message has.
    """

    number: int
    count: int
    ask: Ask

    def key(self, message: Message) -> MessageKey:
        """What makes redeliveries of this record one transfer."""
        return MessageKey(queue=message.queue, message_id=message.message_id, part=self.number)

    @property
    def label(self) -> str:
        """`record 2 of 3: `; nothing where it is the only one."""
        return f"record {self.number + 1} of {self.count}: " if self.count > 1 else ""


def parts_of(message: Message, *, default_fs: DefaultFs) -> Sequence[Part]:
    """At least one: a body that cannot be read is a record that is its error."""
    try:
        asks = read_message(message.body, default_fs=default_fs, attributes=message.attributes).asks
    except PermanentError as error:
        asks = (error,)
    return [Part(number=n, count=len(asks), ask=ask) for n, ask in enumerate(asks)]


@dataclass(frozen=True, kw_only=True)
class Dead:
    """A record that no later attempt can help."""

    begun: Begun
    part: Part
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
class End:
    """How a record ended: done, unless it says otherwise.

    Attributes:
        retry_in_s: It failed and has to come back.
        dead: It is dead; the ledger says so.
        is_copied: Its dead letter has been sent in this delivery.
        is_ignored: It asked for nothing.
    """

    retry_in_s: int | None = None
    dead: Dead | None = None
    is_copied: bool = False
    is_ignored: bool = False
