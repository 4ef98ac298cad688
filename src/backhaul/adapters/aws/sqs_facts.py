"""The attributes of a queue and of its dead-letter queue. Read once, by `sqs.SqsQueue.open`.

Source: Amazon SQS API reference, GetQueueAttributes, GetQueueUrl.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from backhaul.adapters.aws.causes import Cause, cause_of
from backhaul.adapters.aws.sqs_answer import number, text_in
from backhaul.core.errors import OutageError
from backhaul.core.ports import QueueFacts

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


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
