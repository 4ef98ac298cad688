"""How a queue is named: by its name, its URL or its ARN.

    orders
    https://sqs.us-west-2.amazonaws.com/123456789012/orders
    arn:aws:sqs:us-west-2:123456789012:orders

The command line, `queues` of a route and the policy all read names here, so one queue is the same
queue however it is written. Which endpoint is called is decided in `adapters.aws.sqs`.

Source: Amazon SQS developer guide, "Queue and message identifiers"; AWS general reference, "Amazon
SQS endpoints and quotas" (legacy endpoints among them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit

from backhaul.core.errors import BadArgument
from backhaul.core.text import printable, redacted

_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}(?:\.fifo)?|[A-Za-z0-9_-]{1,80}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(r"arn:(aws[a-z-]*):sqs:([a-z0-9-]+):([0-9]{12}):(.+)")
PUBLIC_HOST = re.compile(
    r"sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)"
    r"|([a-z0-9-]+)\.queue\.amazonaws\.com(?:\.cn)?"
)
_PRIVATE_HOST = re.compile(r"vpce-[a-z0-9-]+\.sqs\.([a-z0-9-]+)\.vpce\.amazonaws\.com(?:\.cn)?")
_HOST = re.compile(r"[a-z0-9_.:-]+")  # a colon: of an IPv6 address
_OLDEST_HOST = "queue.amazonaws.com"  # of us-east-1
_FORMS = (
    "write its name (orders), its URL (https://sqs.us-west-2.amazonaws.com/123456789012/orders)"
    " or its ARN (arn:aws:sqs:us-west-2:123456789012:orders)"
)


@dataclass(frozen=True, kw_only=True)
class QueueName:
    """A queue, as far as its text identifies it.

    Attributes:
        text: As it was written.
        name: The last part alone.
        account: Who owns it, 12 digits; None: not named, so the caller's own.
        region: None: not named.
        url: The text, where it is a URL.
        host_url: `https://host` of a URL that is not one of SQS's public endpoints: an interface
            endpoint of a VPC, a proxy, or a stand-in.
    """

    text: str
    name: str
    account: str | None = None
    region: str | None = None
    url: str | None = None
    host_url: str | None = None

    def is_same(self, other: QueueName) -> bool:
        """False where the two name different queues; what one leaves out is no difference."""
        return (
            self.name == other.name
            and (self.account == other.account or None in {self.account, other.account})
            and (self.region == other.region or None in {self.region, other.region})
        )

    def with_known(self, *, region: str | None, account: str | None) -> QueueName:
        """With what its text leaves out."""
        return replace(self, region=self.region or region, account=self.account or account)

    def check_region(self, region: str) -> None:
        """Refuse a REGION beside a queue of another one.

        Raises:
            BadArgument: E_QUEUE_NAME.
        """
        if self.region is not None and self.region != region:
            raise BadArgument(
                "E_QUEUE_NAME",
                f"queue {printable(self.text)} is in {self.region}, and REGION is"
                f" {printable(region, 40)}",
                hint=f"write REGION as {self.region}, or name the queue that you mean",
            )


@lru_cache(maxsize=1024)
def parse_queue(text: str) -> QueueName:
    """The queue that a name, URL or ARN means.

    Raises:
        BadArgument: E_QUEUE_NAME: it is none of the three.
    """
    if text.startswith("arn:"):
        match = _ARN.fullmatch(text)
        if match is None or not _NAME.fullmatch(match[4]):
            raise _no_queue(text, "is no ARN of an SQS queue")
        return QueueName(text=text, name=match[4], account=match[3], region=match[2])
    if "://" in text:
        return _from_url(text)
    if not _NAME.fullmatch(text):
        raise _no_queue(text, "is no name of an SQS queue")
    return QueueName(text=text, name=text)


def are_same(one: str, other: str) -> bool:
    """As `QueueName.is_same`, of two texts; also of ARNs in the form of a stand-in for SQS."""
    try:
        return parse_queue(one).is_same(parse_queue(other))
    except BadArgument:
        return one.rsplit(":", 1)[-1] == other.rsplit(":", 1)[-1]


def _from_url(text: str) -> QueueName:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _no_queue(text, "is no URL") from None
    if not _HOST.fullmatch(host):
        raise _no_queue(text, "is no URL of an SQS queue")
    if parts.username is not None or parts.password is not None:
        raise BadArgument(
            "E_QUEUE_NAME",
            f"the queue's URL at {printable(host, 80)} has credentials in it (not shown)",
            hint="write it without; if these were credentials, revoke them now",
        )
    segments = parts.path.strip("/").split("/")
    is_path = len(segments) >= 2 and _NAME.fullmatch(segments[-1])  # noqa: PLR2004 - account, name
    if parts.scheme not in {"http", "https"} or not host or not is_path or parts.query:
        raise _no_queue(text, "is no URL of an SQS queue")
    account = segments[-2] if _ACCOUNT.fullmatch(segments[-2]) else None
    public = PUBLIC_HOST.fullmatch(host)
    private = _PRIVATE_HOST.fullmatch(host)
    region = None
    if host == _OLDEST_HOST:
        region = "us-east-1"
    elif public is not None:
        region = public[1] or public[2]
    elif private is not None:
        region = private[1]
    is_public = host == _OLDEST_HOST or public is not None
    shown_host = f"[{host}]" if ":" in host else host
    address = shown_host if port is None else f"{shown_host}:{port}"
    return QueueName(
        text=text,
        name=segments[-1],
        account=account,
        region=region,
        url=text,
        host_url=None if is_public else f"{parts.scheme}://{address}",
    )


def _no_queue(text: str, why: str) -> BadArgument:
    return BadArgument("E_QUEUE_NAME", f"{printable(redacted(text), 120)} {why}", hint=_FORMS)
