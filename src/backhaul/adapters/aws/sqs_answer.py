"""Reads the answers of SQS strictly: messages, and the attributes of a queue; used by `sqs`.

Pure, but for `read_facts` and `with_dead_letter_queue`, which request the attributes once at the
start.

Source: Amazon SQS API reference, ReceiveMessage, SendMessage, Message, GetQueueAttributes,
GetQueueUrl.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from backhaul.adapters.aws.causes import Cause, cause_of, one_line
from backhaul.core.agent_report import QueueDepth
from backhaul.core.errors import OutageError
from backhaul.core.ports import Message, QueueFacts

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

_NAME = re.compile("[!-~]{1,1000}")
_HANDLE = re.compile("[!-~]+")
_BORN_MS = 1_136_073_600_000  # of 2006, when SQS began; a smaller number is not in ms
_REFUSED, _FAULT = 400, 500  # of HTTP: the statuses of one refused entry
_MOST = 2**53  # a number of JSON, and one that the ledger holds


def bad_answer(subject: str, flaw: str) -> OutageError:
    """SQS, or a proxy in its place, sent an impossible answer: hold and try again."""
    return OutageError.of(
        "sqs",
        "E_SQS_ANSWER",
        f"{subject}: {flaw}",
        hint="check HTTPS_PROXY and AWS_ENDPOINT_URL_SQS: is it SQS that answers?",
    )


def text_in(answer: Mapping[str, Any], name: str, subject: str) -> str:
    """A field that must be printable ASCII and not empty: an id, a URL or an ARN.

    Raises:
        OutageError: E_SQS_ANSWER.
    """
    value = answer.get(name)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad_answer(subject, f"the answer has no usable {name}")
    return value


def sent_id(answer: Mapping[str, Any], body: str, subject: str) -> str:
    """The id of a message that SQS has taken; its digest proves that it is this one.

    Only after this may a message be deleted whose dead letter was sent.

    Raises:
        OutageError: E_SQS_ANSWER.
    """
    found = text_in(answer, "MessageId", subject)
    if answer.get("MD5OfMessageBody", md5 := _md5(body)) != md5:
        raise bad_answer(subject, f"message {one_line(found, 100)} was taken with another body")
    return found


def sent_ids(answer: Mapping[str, Any], bodies: Mapping[str, str], subject: str) -> frozenset[str]:
    """Which entries of a batch SQS has taken, each as `sent_id` has it.

    Args:
        bodies: Of all entries, by the id of the entry.

    Raises:
        OutageError: E_SQS_ANSWER.
    """
    found = set()
    for entry in answer.get("Successful") or []:
        name = text_in(entry, "Id", subject)
        if name not in bodies:
            raise bad_answer(subject, f"entry {one_line(name, 100)} was not sent")
        sent_id(entry, bodies[name], subject)
        found.add(name)
    return frozenset(found)


def refusals_in(
    answer: Mapping[str, Any], count: int, operation: str
) -> list[ClientError | ResponseParserError | None]:
    """Of each entry of a batch how SQS refused it; None: it was done.

    Entries are named by their place, from 0. One that the answer does not mention is refused.
    """
    done = {_texts(entry).get("Id") for entry in _entries(answer, "Successful")}
    failed = {_texts(entry).get("Id"): entry for entry in _entries(answer, "Failed")}
    found: list[ClientError | ResponseParserError | None] = []
    for name in map(str, range(count)):
        if name in failed:
            error: Any = _texts(failed[name])
            status = _REFUSED if failed[name].get("SenderFault") is True else _FAULT
            response: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
            found.append(ClientError(response, operation))
        elif name in done:
            found.append(None)
        else:
            found.append(ResponseParserError(f"the answer to {operation} lacks an entry"))
    return found


def _entries(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = answer.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def read_messages(
    answer: Mapping[str, Any], arn: str, received_monotonic_s: float
) -> tuple[list[Message], list[str]]:
    """The messages of an answer, and the flaws of those that are left out.

    Those come again when their visibility timeout ends.
    """
    messages, flaws = [], []
    for raw in answer.get("Messages") or []:
        flaw = _flaw(raw)
        if flaw:
            flaws.append(flaw)
        else:
            messages.append(_message(raw, arn, received_monotonic_s))
    return messages, flaws


def _flaw(raw: Any) -> str:
    if not isinstance(raw, dict):
        return "a message that is no object"
    name = one_line(str(raw.get("MessageId", "")), 100) or "without id"
    for field in ("MessageId", "ReceiptHandle", "Body"):
        if not isinstance(raw.get(field), str):
            return f"message {name} has no {field}"
    if not _NAME.fullmatch(raw["MessageId"]) or not _HANDLE.fullmatch(raw["ReceiptHandle"]):
        return f"message {name} has no usable MessageId or ReceiptHandle"
    if raw.get("MD5OfBody", md5 := _md5(raw["Body"])) != md5:
        return f"message {name} has another body than its MD5OfBody"
    return ""


def _message(raw: dict[str, Any], arn: str, received_monotonic_s: float) -> Message:
    system = _texts(raw.get("Attributes"))
    return Message(
        queue=arn,
        message_id=raw["MessageId"],
        receipt_handle=raw["ReceiptHandle"],
        body=raw["Body"],
        sender_id=system.get("SenderId", ""),
        receive_count=number(system.get("ApproximateReceiveCount"), 1, _MOST) or 1,
        sent_at=_time(number(system.get("SentTimestamp"), _BORN_MS, _MOST)),
        received_monotonic_s=received_monotonic_s,
        attributes={
            name: value["StringValue"]
            for name, value in (raw.get("MessageAttributes") or {}).items()
            # Binary ones are not used.
            if isinstance(value, dict) and isinstance(value.get("StringValue"), str)
        },
        group=system.get("MessageGroupId"),
        aws_trace_header=system.get("AWSTraceHeader"),
    )


def _texts(value: Any) -> dict[str, str]:
    found = value if isinstance(value, dict) else {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _time(sent_ms: int | None) -> datetime | None:
    """None where SQS gives no time, or an impossible one."""
    try:
        return None if sent_ms is None else datetime.fromtimestamp(sent_ms / 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _md5(body: str) -> str:
    data = body.encode("utf-8", "surrogatepass")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def number(value: object, least: int, most: int) -> int | None:
    """SQS gives numbers as text, and maxReceiveCount as either; None where none is in bounds."""
    try:
        found = int(str(value))
    except ValueError:
        return None
    return found if least <= found <= most else None


# ---------------------------------------------------------------- attributes of queues


# What SQS itself allows; any other number, of a stand-in, counts as unknown.
_RETENTION_S = (60, 1_209_600)
_RECEIVES = (1, 1000)


def read_facts(client: SQSClient, url: str) -> tuple[QueueFacts, str]:
    """Read the queue's attributes; botocore's exceptions pass.

    Returns:
        The facts without the URL and retention of the dead-letter queue, and its account.
    """
    found = client.get_queue_attributes(
        QueueUrl=url, AttributeNames=["QueueArn", "RedrivePolicy", "MessageRetentionPeriod"]
    )
    answer: Any = found.get("Attributes") or {}
    arn = text_in(answer, "QueueArn", "attributes of the queue")
    account, name, receives = _redrive(answer.get("RedrivePolicy"))
    facts = QueueFacts(
        url=url,
        name=arn.rsplit(":", 1)[-1] or urlsplit(url).path.rsplit("/", 1)[-1],
        arn=arn,
        dead_letter_url=None,
        dead_letter_name=name,
        max_receive_count=receives,
        retention_s=number(answer.get("MessageRetentionPeriod"), *_RETENTION_S),
    )
    return facts, account


_DEPTH: tuple[QueueAttributeNameType, ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def read_depth(client: SQSClient, url: str, now: datetime) -> QueueDepth:
    """The queue's approximate counts; botocore's exceptions pass.

    Raises:
        OutageError: E_SQS_ANSWER: a count is missing.
    """
    found = client.get_queue_attributes(
        QueueUrl=url, AttributeNames=[*_DEPTH, "MessageRetentionPeriod"]
    )
    answer: Any = found.get("Attributes") or {}
    counts = [number(answer.get(name), 0, _MOST) for name in _DEPTH]
    visible, in_flight, delayed = counts
    if visible is None or in_flight is None:
        raise bad_answer("attributes of the queue", "the answer has no usable counts of messages")
    return QueueDepth(
        visible=visible,
        in_flight=in_flight,
        delayed=delayed or 0,
        retention_s=number(answer.get("MessageRetentionPeriod"), *_RETENTION_S),
        at=now,
    )


def read_dead_letters(client: SQSClient, url: str) -> int | None:
    """How many messages a dead-letter queue holds; None where the answer has no usable counts."""
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=[*_DEPTH])
    counts = [number((found.get("Attributes") or {}).get(name), 0, _MOST) for name in _DEPTH]
    return None if counts[0] is None else sum(one or 0 for one in counts)


def _redrive(policy: str | None) -> tuple[str, str | None, int | None]:
    """From `{"deadLetterTargetArn":"arn:aws:sqs:…:123456789012:dead","maxReceiveCount":"10"}`."""
    try:
        read = json.loads(policy or "{}")
        account, name = text_in(read, "deadLetterTargetArn", "policy").rsplit(":", 2)[1:]
        return account, name, number(read.get("maxReceiveCount"), *_RECEIVES)
    except (ValueError, TypeError, AttributeError, RecursionError, OutageError):
        return "", None, None


def with_dead_letter_queue(client: SQSClient, facts: QueueFacts, account: str) -> QueueFacts:
    """Find the dead-letter queue; botocore's exceptions pass, except AccessDenied."""
    name = facts.dead_letter_name
    if name is None:
        return facts
    try:
        found = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        url = text_in(found, "QueueUrl", "URL of the dead-letter queue")
    except ClientError as exc:
        if cause_of(exc) is not Cause.DENIED:
            raise
        # A dead-letter queue is always of the same account and region as its queue.
        url = f"{facts.url.rsplit('/', 1)[0]}/{name}"
    return replace(facts, dead_letter_url=url, dead_letter_retention_s=_retention_s(client, url))


def _retention_s(client: SQSClient, url: str) -> int | None:
    """None where the agent may not read it."""
    try:
        answer = client.get_queue_attributes(
            QueueUrl=url, AttributeNames=["MessageRetentionPeriod"]
        )
    except ClientError as exc:
        if cause_of(exc) is not Cause.DENIED:
            raise
        return None
    return number((answer.get("Attributes") or {}).get("MessageRetentionPeriod"), *_RETENTION_S)
