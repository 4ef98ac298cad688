"""The attributes and the body of a dead letter, by SQS's rules for messages. Pure functions.

Sent by `sqs.SqsQueue.send_dead_letter`; read again by `backhaul dlq show`.

Source: Amazon SQS developer guide, "Message attributes": at most 10, names of A-Z a-z 0-9 _ - .,
never an empty value, text of #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from backhaul.core.ports import DeadLetterReason, Message
from backhaul.core.requests.signature import ATTRIBUTE

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

ATTRIBUTES_MAX = 10
REASON_MAX = 1000
BODY_HEAD_BYTES = 4096
_PREFIX = "backhaul."

_REFUSED = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def attributes_for(
    message: Message, reason: DeadLetterReason, *, with_senders: bool
) -> dict[str, MessageAttributeValueTypeDef]:
    """`backhaul.code` and so on, then the sender's own while there are at most ten in all.

    The sender's come back as String: `Message` does not keep their type. `backhaul.*` of an
    earlier death are replaced.
    """
    texts = {
        "code": reason.code,
        "reason": reason.sentence[:REASON_MAX],
        "hint": reason.hint[:REASON_MAX],
        "first_seen": reason.first_seen_at.isoformat(timespec="seconds"),
        "transfer": reason.transfer_id,
        "host": reason.host,
        "queue": message.queue,
        "redrive": reason.redrive,
    }
    made: dict[str, MessageAttributeValueTypeDef] = {
        f"{_PREFIX}{name}": {"DataType": "String", "StringValue": sendable(text)}
        for name, text in texts.items()
        if text
    }
    made[f"{_PREFIX}attempts"] = {"DataType": "Number", "StringValue": str(reason.attempts)}
    if with_senders:
        # The signature first: without it a dead letter cannot come back.
        senders = sorted(message.attributes.items(), key=lambda one: (one[0] != ATTRIBUTE, one[0]))
        for name, value in senders:
            if len(made) < ATTRIBUTES_MAX and value and not name.startswith(_PREFIX):
                made[name] = {"DataType": "String", "StringValue": value}
    return made


def sendable(text: str) -> str:
    r"""`text` with every character that SQS refuses written as an escape such as `\x00`."""
    return _REFUSED.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def shortened(body: str) -> str:
    r"""The JSON in place of a body that SQS does not accept a second time.

    `{"backhaul":"body too large","bytes":1048576,"sha256":"…","head":"…"}`; `head` is the first
    4 KiB, with non-ASCII characters escaped as JSON does.
    """
    data = body.encode("utf-8", "surrogatepass")
    why = "body too large"
    if not body:
        why = "body empty"
    elif _REFUSED.search(body):
        why = "body has characters that SQS does not take"
    return json.dumps(
        {
            "backhaul": why,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "head": data[:BODY_HEAD_BYTES].decode("utf-8", "replace"),
        }
    )


def is_shortened(body: str) -> bool:
    """True for a body that `shortened` made; no request begins like it."""
    return body.startswith('{"backhaul": "body ')
