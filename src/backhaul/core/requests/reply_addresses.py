"""Where a message may have replies sent: URLs of SQS queues and ARNs of SNS topics, by allow-list.

An address is compared as it is written, and has no part that could lead elsewhere: no path but
account and name, no query, no user. Which host is called is spelled out in the configuration, and
it is one of SQS's own, or a stand-in on this machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from backhaul.core.endpoints import is_region
from backhaul.core.errors import BadArgument
from backhaul.core.requests.queue_names import parse_queue

_PLACE = (
    r"(?:https?://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?/[0-9]{12}/"
    r"|arn:aws[a-z-]{0,20}:sns:[a-z0-9-]{1,30}:[0-9]{12}:)"
)
_ADDRESS = re.compile(_PLACE + r"[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_PATTERN = re.compile(_PLACE + r"(?:[A-Za-z0-9_-]{0,256}\*|[A-Za-z0-9_-]{1,256}(?:\.fifo)?)")
_LOCALHOST = "localhost"
_HTTPS_PORT = 443
_NAME_MOST = {"http": 80, "https": 80, "arn": 256}  # characters of a queue, of a topic
_FORM_FIX = (
    "write it whole, or its beginning up to the account and some of the name, then *:"
    " https://sqs.us-west-2.amazonaws.com/123456789012/replies-*"
)
_HOST_FIX = (
    "write a host of SQS, such as sqs.us-west-2.amazonaws.com; a queue of another host is named"
    " whole by sqs of a [[reply]]"
)


def is_reply_address(text: str) -> bool:
    """True for the URL of a queue and the ARN of a topic, each with its account."""
    return _ADDRESS.fullmatch(text) is not None


def reply_pattern_fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a pattern of the configuration, as the end of a sentence, and the fix.

    None for an address, and for the beginning of one, account included, with `*` behind.
    """
    if _PATTERN.fullmatch(text) is None:
        return "which is no URL of an SQS queue and no ARN of an SNS topic", _FORM_FIX
    start, _, name = text.replace("/", ":").rpartition(":")
    kind = text.partition(":")[0]
    if len(name) > _NAME_MOST[kind]:
        return f"whose name is longer than {_NAME_MOST[kind]} characters", _FORM_FIX
    if kind != "arn":
        return _host_fault(text.rstrip("*"))
    if not is_region(start.split(":")[3]):
        return "whose region is none", "write an ARN such as arn:aws:sns:us-west-2:123456789012:q"
    return None


def _host_fault(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "whose port is none", _HOST_FIX
    host = parts.hostname or ""
    if host == _LOCALHOST or _is_loopback(host):
        return ("whose port is none", _HOST_FIX) if port == 0 else None
    try:
        region = parse_queue(url if not url.endswith("/") else f"{url}q").region
    except BadArgument:
        return "which is no URL of an SQS queue", _FORM_FIX
    if region is None:
        return f"whose host {host} is none of SQS's", _HOST_FIX
    if parts.scheme != "https":
        return "which is not https", "write https://: http:// is for stand-ins on this machine"
    if port not in {None, _HTTPS_PORT}:
        return f"whose port {port} is none of SQS's", "leave the port out"
    return None


def _is_loopback(host: str) -> bool:
    """An address written in full; not `127.1`, nor one in octal, which resolvers read as one."""
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def is_reply_allowed(address: str, patterns: Iterable[str]) -> bool:
    """True for an address that one of the patterns covers."""
    return is_reply_address(address) and any(
        address.startswith(one[:-1]) if one.endswith("*") else address == one for one in patterns
    )
