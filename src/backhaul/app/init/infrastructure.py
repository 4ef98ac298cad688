"""What AWS needs for a queue and its routes: attributes, policies, notifications. Pure.

`terraform` and `cloudformation` write it down; `comparison` holds a live account against it.

Source: Amazon SQS developer guide, "Configuring a dead-letter queue", "Basic examples of Amazon SQS
policies"; S3 user guide, "Granting permissions to publish event notification messages to a
destination"; IAM Roles Anywhere user guide, "Role trusting".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote_plus

from backhaul.app.init.answers import InitAnswers
from backhaul.core.access_policy import (
    QueueAccess,
    RouteAccess,
    access_policy,
    in_documents,
    partition_of,
)

DAY_S = 86_400
# As the quick start explains them.
QUEUE_ATTRIBUTES = {
    "MessageRetentionPeriod": 7 * DAY_S,
    "VisibilityTimeout": 120,
    "ReceiveMessageWaitTimeSeconds": 20,
}
DEAD_LETTER_ATTRIBUTES = {"MessageRetentionPeriod": 14 * DAY_S}
MAX_RECEIVE_COUNT = 20
OBJECT_EVENTS = "s3:ObjectCreated:*"
_IAM_NAME_MAX = 64  # of a user or role
_UNKNOWN_ACCOUNT = "000000000000"
_PLAIN_IN_FILTERS = "/!-_.*'()"


class Known(Enum):
    """What a template knows when it is applied: a reference in its language stands for it."""

    QUEUE_ARN = "queue's ARN"
    DEAD_LETTER_ARN = "dead-letter queue's ARN"
    ACCOUNT = "account"


@dataclass(frozen=True, kw_only=True)
class EventSource:
    """Prefixes of one bucket whose new objects are reported to the queue.

    Attributes:
        owner: Its account; None: that of the queue.
    """

    bucket: str
    prefixes: tuple[str, ...]
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Infrastructure:
    """Everything that is to be made; strings in policies may be members of `Known`.

    Attributes:
        queue_policy: None where the senders' own policies suffice.
        agent_policies: More than one where the statements do not fit into one.
        send_policy: For whoever is to leave messages.
        trust: The trust policy of the agent's role; None: the agent is a user.
    """

    queue: str
    dead_letter_queue: str
    region: str
    is_fifo: bool
    queue_policy: dict[str, Any] | None
    agent_policies: tuple[dict[str, Any], ...]
    send_policy: dict[str, Any]
    events: tuple[EventSource, ...]
    trust: dict[str, Any] | None

    @property
    def agent_name(self) -> str:
        """Of the user or role."""
        return _iam_name(f"backhaul-{self.queue}")

    @property
    def send_name(self) -> str:
        return _iam_name(f"backhaul-{self.queue}-send")

    def policy_name(self, number: int) -> str:
        """Of the agent's policy with this number, from 0."""
        return _iam_name(f"backhaul-{self.queue}{'' if number == 0 else f'-{number + 1}'}")


def infrastructure(answers: InitAnswers) -> Infrastructure:
    """What these answers need."""
    partition = partition_of(answers.region)
    queue = QueueAccess(
        name=answers.queue,
        region=answers.region,
        account=_UNKNOWN_ACCOUNT,
        partition=partition,
        dead_letter=answers.dead_letter_queue,
    )
    sources = tuple((source.bucket, source.key) for source in answers.sources)
    route = RouteAccess(
        name=answers.name,
        sources=sources,
        reads_versions=answers.takes_events,
        kms_keys=answers.kms_keys,
        partition=partition,
    )
    known = {queue.arn: Known.QUEUE_ARN, queue.dead_letter_arn: Known.DEAD_LETTER_ARN}
    events = event_sources(sources, answers.source_owner) if answers.takes_events else ()
    return Infrastructure(
        queue=answers.queue,
        dead_letter_queue=answers.dead_letter_queue,
        region=answers.region,
        is_fifo=answers.is_fifo,
        queue_policy=queue_policy(events, answers.principals, partition),
        agent_policies=tuple(
            _with_known(one, known) for one in in_documents(access_policy([queue], [route]))
        ),
        send_policy=_document([_sending({})]),
        events=events,
        trust=None if answers.trusted_by is None else _trust(answers.trusted_by),
    )


def event_sources(sources: Sequence[tuple[str, str]], owner: str | None) -> tuple[EventSource, ...]:
    """One for each bucket. S3 refuses prefixes that overlap, so the shorter one stands for both."""
    by_bucket: dict[str, list[str]] = {}
    for bucket, prefix in sources:
        by_bucket.setdefault(bucket, []).append(prefix)
    return tuple(
        EventSource(bucket=bucket, prefixes=_outermost(prefixes), owner=owner)
        for bucket, prefixes in by_bucket.items()
    )


def event_filter(prefix: str) -> str:
    """As a notification's filter wants it: `day=1/` is `day%3D1/`, a blank is `+`.

    With the key itself S3 accepts the filter, and then no event comes.

    Source: S3 user guide, "Configuring event notifications using object key name filtering".
    """
    return quote_plus(prefix, safe=_PLAIN_IN_FILTERS)


def _outermost(prefixes: list[str]) -> tuple[str, ...]:
    return tuple(
        one
        for one in dict.fromkeys(prefixes)
        if not any(one != other and one.startswith(other) for other in prefixes)
    )


def queue_policy(
    events: Sequence[EventSource], principals: Sequence[str], partition: str
) -> dict[str, Any] | None:
    """Who may send to the queue, beside those whom their own policies in its account allow."""
    statements = []
    for number, one in enumerate(events, 1):
        statements.append(
            {
                "Sid": f"S3MaySend{'' if number == 1 else number}",
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": Known.QUEUE_ARN,
                "Condition": {
                    "ArnLike": {"aws:SourceArn": f"arn:{partition}:s3:::{one.bucket}"},
                    "StringEquals": {"aws:SourceAccount": one.owner or Known.ACCOUNT},
                },
            }
        )
    if principals:
        statements.append(
            {"Sid": "SendersMaySend", **_sending({"Principal": {"AWS": list(principals)}})}
        )
    return _document(statements) if statements else None


def _sending(more: dict[str, Any]) -> dict[str, Any]:
    return {
        **({} if more else {"Sid": "LeaveMessages"}),
        "Effect": "Allow",
        **more,
        "Action": ["sqs:SendMessage", "sqs:GetQueueUrl"],
        "Resource": Known.QUEUE_ARN,
    }


def _trust(trusted_by: str) -> dict[str, Any]:
    if ":trust-anchor/" not in trusted_by:
        return _document(
            [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": trusted_by},
                    "Action": "sts:AssumeRole",
                }
            ]
        )
    return _document(
        [
            {
                "Effect": "Allow",
                "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
                "Condition": {"ArnEquals": {"aws:SourceArn": trusted_by}},
            }
        ]
    )


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _with_known(value: Any, known: dict[Any, Known]) -> Any:
    """Plain data with each text that is a key of `known` replaced."""
    if isinstance(value, dict):
        return {name: _with_known(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_known(each, known) for each in value]
    return known.get(value, value)


def _iam_name(wanted: str) -> str:
    """Cut to what IAM takes; what is cut off makes no two of them equal."""
    if len(wanted) <= _IAM_NAME_MAX:
        return wanted
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return f"{wanted[: _IAM_NAME_MAX - 9]}-{digest}"
