"""Where a message may have replies sent: URLs of SQS queues and ARNs of SNS topics, by allow-list.

An address is compared as it is written, and has no part that could lead elsewhere: no path but
account and name, no query, no user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLACE = (
    r"(?:https?://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?/[0-9]{12}/"
    r"|arn:aws[a-z-]{0,20}:sns:[a-z0-9-]{1,30}:[0-9]{12}:)"
)
_ADDRESS = re.compile(_PLACE + r"[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_PATTERN = re.compile(_PLACE + r"(?:[A-Za-z0-9_-]{0,256}\*|[A-Za-z0-9_-]{1,256}(?:\.fifo)?)")


def is_reply_address(text: str) -> bool:
    """True for the URL of a queue and the ARN of a topic, each with its account."""
    return _ADDRESS.fullmatch(text) is not None


def is_reply_pattern(text: str) -> bool:
    """True for an address, and for the beginning of one, account included, with `*` behind."""
    return _PATTERN.fullmatch(text) is not None


def is_reply_allowed(address: str, patterns: Iterable[str]) -> bool:
    """True for an address that one of the patterns covers."""
    return is_reply_address(address) and any(
        address.startswith(one[:-1]) if one.endswith("*") else address == one for one in patterns
    )
