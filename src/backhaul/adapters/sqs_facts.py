"""What a queue says about itself and its dead-letter queue. Read once, by `sqs.SqsQueue.open`.

Source: Amazon SQS API reference, GetQueueAttributes, GetQueueUrl.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from backhaul.adapters.aws_errors import Cause, cause_of
from backhaul.adapters.sqs_answer import number, text_in
from backhaul.core.errors import OutageError
from backhaul.core.ports import QueueFacts

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class _DeadLetters(NamedTuple):
    url: str
    name: str
    max_receive_count: int | None
    retention_s: int | None


def read_facts(client: SQSClient, url: str) -> QueueFacts:
    """Ask SQS; botocore's exceptions pass, except a refusal to speak of the dead-letter queue."""
    asked = client.get_queue_attributes(
        QueueUrl=url, AttributeNames=["QueueArn", "RedrivePolicy", "MessageRetentionPeriod"]
    )
    answer: Any = asked.get("Attributes") or {}
    arn = text_in(answer, "QueueArn", "attributes of the queue")
    dead = _dead_letters(client, url, answer.get("RedrivePolicy"))
    return QueueFacts(
        url=url,
        name=arn.rsplit(":", 1)[-1] or urlsplit(url).path.rsplit("/", 1)[-1],
        arn=arn,
        dead_letter_url=dead.url if dead else None,
        dead_letter_name=dead.name if dead else None,
        max_receive_count=dead.max_receive_count if dead else None,
        retention_s=number(answer.get("MessageRetentionPeriod")),
        dead_letter_retention_s=dead.retention_s if dead else None,
    )


def _dead_letters(
    client: SQSClient, queue_url: str, redrive_policy: str | None
) -> _DeadLetters | None:
    """From `{"deadLetterTargetArn":"arn:aws:sqs:…:123456789012:dead","maxReceiveCount":"10"}`."""
    try:
        policy = json.loads(redrive_policy or "{}")
        account, name = text_in(policy, "deadLetterTargetArn", "policy").rsplit(":", 2)[1:]
    except (ValueError, TypeError, AttributeError, OutageError):
        return None
    try:
        asked = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        url = text_in(asked, "QueueUrl", "URL of the dead-letter queue")
    except ClientError as exc:
        if cause_of(exc) is not Cause.DENIED:
            raise
        # A dead-letter queue is always of the same account and region as its queue.
        url = f"{queue_url.rsplit('/', 1)[0]}/{name}"
    return _DeadLetters(
        url=url,
        name=name,
        max_receive_count=number(policy.get("maxReceiveCount")),
        retention_s=_retention_s(client, url),
    )


def _retention_s(client: SQSClient, url: str) -> int | None:
    """None where the agent may not ask."""
    try:
        answer = client.get_queue_attributes(
            QueueUrl=url, AttributeNames=["MessageRetentionPeriod"]
        )
    except ClientError as exc:
        if cause_of(exc) is not Cause.DENIED:
            raise
        return None
    return number((answer.get("Attributes") or {}).get("MessageRetentionPeriod"))
