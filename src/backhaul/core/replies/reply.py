"""One reply: what became of a transfer, as it is sent to whoever waits for the data.

Replies are written into the ledger in the transaction that records the end, and delivered from
there at least once: two deliveries of one reply have the same key. The JSON is a contract with the
systems of others; `docs/replies.md` describes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

REPLY_VERSION = 1
HIVE = "hive"  # the target that registers partitions
LINEAGE = "lineage"  # the target that takes run events
# The code of a reply DONE whose data was not copied: newer data from its source was there already.
SUPERSEDED = "superseded"


class ReplyEvent(StrEnum):
    """What a reply is about."""

    STARTED = "started"  # first claim of the destination; only for lineage
    DONE = "done"  # all of it is at its final paths, or newer data is
    DEAD = "dead"  # nothing follows unless someone sends it again
    HELD = "held"  # waits for a dependency, for longer than the target wants to go without news
    RESUMED = "resumed"  # after HELD: it moves again

    @property
    def is_end(self) -> bool:
        """The last reply of its transfer."""
        return self in {ReplyEvent.DONE, ReplyEvent.DEAD}


def setting_of(target: str) -> str:
    """The setting that makes a target of this name, for a hint."""
    return {HIVE: "[hive] command", LINEAGE: "[lineage] url"}.get(target, "its [[reply]]")


def reply_key(transfer_id: str, epoch: int, event: ReplyEvent, nth: int = 1) -> str:
    """The idempotency key: the same for each delivery of one reply, for each target.

    Args:
        epoch: Of the destination's claim; 0 where the transfer ended before it claimed one.
        nth: Of a transfer's holds, from 1.
    """
    key = f"{transfer_id}-{epoch}-{event}"
    return key if nth == 1 else f"{key}-{nth}"


@dataclass(frozen=True, kw_only=True)
class ReplyWish:
    """Which replies one target gets of a transfer; kept with the transfer from its begin.

    Attributes:
        target: As `Reply.target`.
        held_after_s: A hold that lasts longer is reported, and its end; None: no hold is.
    """

    target: str
    events: frozenset[ReplyEvent] = frozenset({ReplyEvent.DONE, ReplyEvent.DEAD})
    held_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one target is sent about one transfer.

    Attributes:
        key: `reply_key`; whoever acts on replies acts once for each key.
        target: Name of a `[[reply]]`; an address (URL of an SQS queue, ARN of an SNS topic) from a
            message's `reply_to`; `hive`; `lineage`.
        at: When it happened, aware UTC.
        epoch: 0 where the transfer ended before it claimed its destination.
        code: Of the error that made it DEAD or HELD; `SUPERSEDED`; else None.
        reason: Its sentence.
        source: As requested, `s3://…`.
        destination: As requested, `hdfs://…` or `file:///…`.
        objects: Planned; None where it ended before that was known.
        size_bytes: Their sum.
        digest: Of the manifest, as `show` and receipts have it; None unless data was published.
        message_id: SQS's; None for a transfer without a message.
    """

    key: str
    target: str
    event: ReplyEvent
    at: datetime
    transfer_id: str
    epoch: int
    code: str | None
    reason: str | None
    route: str
    source: str
    destination: str
    objects: int | None
    size_bytes: int | None
    digest: str | None
    message_id: str | None

    def document(self) -> dict[str, Any]:
        """The JSON contract, version `v`; fields may be added to it, and none is taken away."""
        return {
            "v": REPLY_VERSION,
            "event": self.event.value,
            "code": self.code,
            "reason": self.reason,
            "transfer": self.transfer_id,
            "epoch": self.epoch,
            "key": self.key,
            "at": self.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "route": self.route,
            "source": self.source,
            "destination": self.destination,
            "objects": self.objects,
            "bytes": self.size_bytes,
            "digest": self.digest,
            "message": self.message_id,
        }

    def body(self) -> str:
        """`document` as JSON in ASCII: the same bytes at each delivery."""
        return json.dumps(self.document(), separators=(",", ":"))
