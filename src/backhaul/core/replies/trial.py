"""A reply that says of itself that it is a test; `backhaul replies test` sends it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backhaul.core.replies.reply import Reply, ReplyEvent, reply_key


@dataclass(frozen=True, kw_only=True)
class TrialReply(Reply):
    """DONE of no transfer."""

    def document(self) -> dict[str, Any]:
        """With `"test": true`, which no other reply has."""
        return {**super().document(), "test": True}


def trial_reply(target: str, at: datetime, nonce: str) -> TrialReply:
    """Another one for each `nonce`.

    Args:
        nonce: Letters and digits; makes the id `test-NONCE`.
    """
    transfer_id = f"test-{nonce}"
    return TrialReply(
        key=reply_key(transfer_id, 0, ReplyEvent.DONE),
        target=target,
        event=ReplyEvent.DONE,
        at=at,
        transfer_id=transfer_id,
        epoch=0,
        code=None,
        reason=None,
        route="test",
        source="s3://test/",
        destination="hdfs://test/",
        objects=0,
        size_bytes=0,
        digest=None,
        message_id=None,
    )
