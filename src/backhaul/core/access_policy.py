"""The least-privilege IAM policy: what the agent calls for queues, routes, replies; nothing else.

`CALLS` has every call that `adapters.aws` makes, and `access_policy` allows exactly their actions,
each on the one queue or prefix where it is made. `backhaul doctor --policy` prints the result and
`backhaul init` writes it. Which engine carries the bytes makes no difference: S3A on the cluster's
nodes needs the same actions, for the credentials that it has there.

Two limits of IAM are met here. `*`, `?` and `$` of a key are no wildcards: they become `${*}`,
`${?}` and `${$}`. IAM takes no character above U+00FF, so the text of a document has to be ASCII:
`policy_text`.

Source: service authorization reference, "Actions, resources, and condition keys for Amazon SQS" and
"for Amazon S3"; IAM user guide, "Policy variables" and "IAM and AWS STS quotas"; Amazon S3 API
reference, HeadBucket, GetObjectAttributes; KMS developer guide, "kms:ViaService".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MANAGED_MAX = 6144  # characters of a managed policy, without white space
USER_MAX = 2048  # of all inline policies of a user
ROLE_MAX = 10_240  # of all inline policies of a role

_NOT_IN_SID = re.compile(r"[^A-Za-z0-9]+")
_SPECIAL = re.compile(r"[*?$]")


class CalledOn(StrEnum):
    """What a call is made on."""

    QUEUE = "queue"
    DEAD_LETTER_QUEUE = "dead-letter queue"
    BUCKET = "bucket"
    OBJECTS = "objects"
    INVENTORY = "files of an inventory"
    REPLY_QUEUE = "queue of replies"
    TOPIC = "topic of replies"
    ROLE = "role of replies or of a queue"
    ACCOUNT = "account"


class NeededBy(StrEnum):
    """Whose policy has the action."""

    AGENT = "agent"
    EVENTS = "agent, where a route takes S3 events"  # they name a version
    INSTALLER = "installer, backhaul doctor"  # left out of the policies: it works without
    OPERATOR = "operator"  # backhaul dlq, retry, send, reconcile --send
    INVENTORY = "operator, backhaul reconcile --inventory"  # on a bucket that no setting names


@dataclass(frozen=True, kw_only=True)
class NeededCall:
    """One call of `adapters.aws`, and what it needs.

    Attributes:
        operation: As AWS's API reference has it.
        actions: IAM's; empty: the call needs none, or is never sent.
        why: A part of a sentence.
    """

    operation: str
    actions: tuple[str, ...]
    on: CalledOn
    by: NeededBy
    why: str


def _call(
    operation: str, *actions: str, on: CalledOn, why: str, by: NeededBy = NeededBy.AGENT
) -> NeededCall:
    return NeededCall(operation=operation, actions=actions, on=on, by=by, why=why)


_QUEUE, _DEAD = CalledOn.QUEUE, CalledOn.DEAD_LETTER_QUEUE
_BUCKET, _OBJECTS = CalledOn.BUCKET, CalledOn.OBJECTS
_OPERATOR, _EVENTS, _DOCTOR = NeededBy.OPERATOR, NeededBy.EVENTS, NeededBy.INSTALLER
_REPLIES, _TOPIC = CalledOn.REPLY_QUEUE, CalledOn.TOPIC
_EXTEND = "ChangeMessageVisibility"

CALLS: tuple[NeededCall, ...] = (
    _call("GetQueueUrl", "sqs:GetQueueUrl", on=_QUEUE, why="from its name to its URL"),
    _call(
        "GetQueueAttributes",
        "sqs:GetQueueAttributes",
        on=_QUEUE,
        why="ARN, redrive policy and retention; the counts of messages",
    ),
    _call("ReceiveMessage", "sqs:ReceiveMessage", on=_QUEUE, why="messages"),
    _call(_EXTEND, f"sqs:{_EXTEND}", on=_QUEUE, why="a message is hidden while its transfer runs"),
    _call("DeleteMessage", "sqs:DeleteMessage", on=_QUEUE, why="a message whose transfer is done"),
    # SQS authorises a batch by the action for one message; a batch has none of its own.
    _call(f"{_EXTEND}Batch", f"sqs:{_EXTEND}", on=_QUEUE, why="several such messages at once"),
    _call("DeleteMessageBatch", "sqs:DeleteMessage", on=_QUEUE, why="several such at once"),
    _call("GetQueueUrl", "sqs:GetQueueUrl", on=_DEAD, why="the redrive policy has its ARN alone"),
    _call(
        "GetQueueAttributes",
        "sqs:GetQueueAttributes",
        on=_DEAD,
        why="retention; the count of dead letters",
    ),
    _call("SendMessage", "sqs:SendMessage", on=_DEAD, why="dead letters, with their reason"),
    _call("GetQueueUrl", "sqs:GetQueueUrl", on=_REPLIES, why="from its ARN to its URL"),
    _call("SendMessage", "sqs:SendMessage", on=_REPLIES, why="replies"),
    _call("SendMessageBatch", "sqs:SendMessage", on=_REPLIES, why="up to ten replies at once"),
    _call("Publish", "sns:Publish", on=_TOPIC, why="replies"),
    _call("AssumeRole", "sts:AssumeRole", on=CalledOn.ROLE, why="a role for replies or a queue"),
    _call("ListObjectsV2", "s3:ListBucket", on=_BUCKET, why="the plan of a transfer"),
    # A condition on the prefix refuses it, and S3 names the bucket's region in the refusal, too.
    _call("HeadBucket", on=_BUCKET, why="the bucket's region"),
    _call("GetBucketVersioning", on=_BUCKET, why="never sent: it checks the settings"),
    _call("GetObject", "s3:GetObject", on=_OBJECTS, why="the bytes"),
    _call("HeadObject", "s3:GetObject", on=_OBJECTS, why="checksums, the object of an event"),
    _call(
        "GetObjectAttributes",
        "s3:GetObjectAttributes",
        on=_OBJECTS,
        why="the parts of multipart uploads, with their checksums",
    ),
    _call(
        "GetObject", "s3:GetObjectVersion", on=_OBJECTS, by=_EVENTS, why="the version of an event"
    ),
    _call(
        "HeadObject", "s3:GetObjectVersion", on=_OBJECTS, by=_EVENTS, why="the version of an event"
    ),
    _call(
        "GetObjectAttributes",
        "s3:GetObjectVersionAttributes",
        on=_OBJECTS,
        by=_EVENTS,
        why="the parts of a version",
    ),
    _call("GetQueueUrl", "sqs:GetQueueUrl", on=_DEAD, by=_OPERATOR, why="as the agent"),
    _call(
        "GetQueueAttributes", "sqs:GetQueueAttributes", on=_DEAD, by=_OPERATOR, why="as the agent"
    ),
    _call("ReceiveMessage", "sqs:ReceiveMessage", on=_DEAD, by=_OPERATOR, why="dlq list and show"),
    _call(
        "ChangeMessageVisibility",
        "sqs:ChangeMessageVisibility",
        on=_DEAD,
        by=_OPERATOR,
        why="dlq list and show: the next reader sees the letters, too",
    ),
    _call(
        "DeleteMessage",
        "sqs:DeleteMessage",
        on=_DEAD,
        by=_OPERATOR,
        why="dlq redrive and retry: the letter that was sent back",
    ),
    _call(
        "GetQueueUrl", "sqs:GetQueueUrl", on=_QUEUE, by=_OPERATOR, why="from its name to its URL"
    ),
    _call(
        "GetQueueAttributes",
        "sqs:GetQueueAttributes",
        on=_QUEUE,
        by=_OPERATOR,
        why="the redrive policy names the dead-letter queue",
    ),
    _call(
        "SendMessage",
        "sqs:SendMessage",
        on=_QUEUE,
        by=_OPERATOR,
        why="dlq redrive, retry, send, reconcile --send",
    ),
    # STS answers every key that is valid.
    _call("GetCallerIdentity", on=CalledOn.ACCOUNT, by=_DOCTOR, why="whose keys these are"),
    _call("GetTopicAttributes", "sns:GetTopicAttributes", on=_TOPIC, by=_DOCTOR, why="it exists"),
    _call(
        "GetBucketNotificationConfiguration",
        "s3:GetBucketNotification",
        on=_BUCKET,
        by=_DOCTOR,
        why="whether the bucket sends its events to the queue",
    ),
    _call(
        "GetObject",
        "s3:GetObject",
        on=CalledOn.INVENTORY,
        by=NeededBy.INVENTORY,
        why="manifest and data files",
    ),
)


@dataclass(frozen=True, kw_only=True)
class QueueAccess:
    """A queue, and its dead-letter queue, which SQS has in the same account and region.

    Attributes:
        partition: `aws`, `aws-cn`, `aws-us-gov`: the first part of ARNs after `arn`.
        dead_letter: Name of the dead-letter queue; None: there is none.
        kms_key: ARN of the key that encrypts the queue; None: no key of KMS.
        dead_letter_kms_key: That of the dead-letter queue.
        role: ARN of a role with these rights.
    """

    name: str
    region: str
    account: str
    partition: str = "aws"
    dead_letter: str | None = None
    kms_key: str | None = None
    dead_letter_kms_key: str | None = None
    role: str | None = None

    @property
    def arn(self) -> str:
        return self._arn(self.name)

    @property
    def dead_letter_arn(self) -> str | None:
        return None if self.dead_letter is None else self._arn(self.dead_letter)

    def _arn(self, name: str) -> str:
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{name}"


@dataclass(frozen=True, kw_only=True)
class RouteAccess:
    """What a route reads.

    Attributes:
        sources: (bucket, key prefix) pairs as `core.model.Route` has them; None: any source.
        reads_versions: True where it takes S3 events of single objects.
        kms_keys: ARNs of the keys that encrypt the objects.
    """

    name: str
    sources: tuple[tuple[str, str], ...] | None
    reads_versions: bool = False
    kms_keys: tuple[str, ...] = ()
    partition: str = "aws"


@dataclass(frozen=True, kw_only=True)
class ReplyAccess:
    """Where replies of one name go.

    Attributes:
        arn: Of a queue or a topic.
        role: ARN of a role that is assumed first, and whose own policy then counts; None: none.
    """

    name: str
    arn: str
    is_topic: bool = False
    role: str | None = None


def access_policy(
    queues: Sequence[QueueAccess],
    routes: Sequence[RouteAccess],
    replies: Sequence[ReplyAccess] = (),
    *,
    for_operator: bool = False,
) -> dict[str, Any]:
    """The policy document, as plain data; each `Sid` names its queue, route or reply.

    Args:
        for_operator: Also what `backhaul dlq`, `retry`, `send` and `reconcile --send` call.
    """
    statements = [one for queue in queues for one in _of_agent(queue)]
    statements += [one for route in routes for one in _of_route(route)]
    statements += [_of_reply(reply) for reply in replies]
    if for_operator:
        statements += [one for queue in queues for one in _of_operator(queue)]
    return _document(statements)


def operator_policy(queues: Sequence[QueueAccess]) -> dict[str, Any]:
    """What `backhaul dlq`, `retry`, `send` and `reconcile --send` call, and nothing else."""
    return _document([one for queue in queues for one in _of_operator(queue)])


def policy_text(policy: dict[str, Any]) -> str:
    """JSON, in ASCII: IAM takes no character above U+00FF, but any in an escape."""
    return json.dumps(policy, indent=2)


def policy_size(policy: dict[str, Any]) -> int:
    """Characters as IAM counts them: without white space outside strings."""
    return len(json.dumps(policy, separators=(",", ":")))


def in_documents(policy: dict[str, Any], most: int = MANAGED_MAX) -> list[dict[str, Any]]:
    """The same statements in as few documents as fit, in their order.

    A statement that is too large by itself gets a document of its own, which IAM then refuses.
    """
    documents: list[dict[str, Any]] = []
    for statement in policy["Statement"]:
        if documents:
            longer = {**policy, "Statement": [*documents[-1]["Statement"], statement]}
            if policy_size(longer) <= most:
                documents[-1] = longer
                continue
        documents.append({**policy, "Statement": [statement]})
    return documents


def literal(text: str) -> str:
    """Text of a key for a `Resource` or a `StringLike`: nothing in it is a wildcard."""
    return _SPECIAL.sub(lambda match: f"${{{match[0]}}}", text)


def partition_of(region: str) -> str:
    """The part of ARNs after `arn`."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def actions_of(by: NeededBy, on: CalledOn) -> list[str]:
    """The actions of these calls, each once, in the order of `CALLS`."""
    found = [action for one in CALLS if one.by is by and one.on is on for action in one.actions]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- statements


def _of_agent(queue: QueueAccess) -> Iterator[dict[str, Any]]:
    if queue.role is not None:
        yield _allow(f"Work {queue.name}", ["sts:AssumeRole"], queue.role)
        return
    yield _allow(f"Work {queue.name}", actions_of(NeededBy.AGENT, _QUEUE), queue.arn)
    if queue.dead_letter_arn is not None:
        actions = actions_of(NeededBy.AGENT, _DEAD)
        yield _allow(f"Send dead letters of {queue.name}", actions, queue.dead_letter_arn)
    yield from _keys(
        f"Decrypt messages of {queue.name}", ["kms:Decrypt"], "sqs", _given(queue.kms_key)
    )
    yield from _keys(
        f"Encrypt dead letters of {queue.name}",
        ["kms:Decrypt", "kms:GenerateDataKey"],
        "sqs",
        _given(queue.dead_letter_kms_key),
    )


def _of_operator(queue: QueueAccess) -> Iterator[dict[str, Any]]:
    if queue.dead_letter_arn is not None:
        actions = actions_of(_OPERATOR, _DEAD)
        yield _allow(f"Operate dead letters of {queue.name}", actions, queue.dead_letter_arn)
    yield _allow(f"Operate {queue.name}", actions_of(_OPERATOR, _QUEUE), queue.arn)
    yield from _keys(
        f"Operate keys of {queue.name}",
        ["kms:Decrypt", "kms:GenerateDataKey"],
        "sqs",
        _given(queue.kms_key, queue.dead_letter_kms_key),
    )


def _of_route(route: RouteAccess) -> Iterator[dict[str, Any]]:
    sources = ((None, ""),) if route.sources is None else route.sources
    by_bucket: dict[str | None, list[str]] = {}
    for bucket, prefix in sources:
        by_bucket.setdefault(bucket, []).append(prefix)
    for bucket, prefixes in by_bucket.items():
        arn = f"arn:{route.partition}:s3:::{bucket or '*'}"
        listing = _allow(f"List {route.name}", actions_of(NeededBy.AGENT, _BUCKET), arn)
        if "" not in prefixes:
            below = [text for prefix in prefixes for text in _listed(prefix)]
            listing["Condition"] = {"StringLike": {"s3:prefix": list(dict.fromkeys(below))}}
        yield listing
    actions = actions_of(NeededBy.AGENT, _OBJECTS)
    if route.reads_versions:
        actions += actions_of(_EVENTS, _OBJECTS)
    objects = [
        f"arn:{route.partition}:s3:::{bucket or '*'}/{literal(prefix)}*"
        for bucket, prefix in sources
    ]
    yield _allow(f"Read {route.name}", actions, objects)
    yield from _keys(f"Decrypt {route.name}", ["kms:Decrypt"], "s3", route.kms_keys)


def _of_reply(reply: ReplyAccess) -> dict[str, Any]:
    if reply.role is not None:
        actions = actions_of(NeededBy.AGENT, CalledOn.ROLE)
        return _allow(f"Reply {reply.name}", actions, reply.role)
    on = _TOPIC if reply.is_topic else _REPLIES
    return _allow(f"Reply {reply.name}", actions_of(NeededBy.AGENT, on), reply.arn)


def _listed(prefix: str) -> tuple[str, str]:
    """What is listed for a message that names the prefix or something below it.

    The second is for one that names it without its slash: then S3 is queried whether an object
    has this key.
    """
    return f"{literal(prefix)}*", literal(prefix.removesuffix("/"))


def _given(*keys: str | None) -> tuple[str, ...]:
    return tuple(key for key in keys if key is not None)


def _keys(
    sid: str, actions: list[str], service: str, keys: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """One statement for the keys of each region: a key is of the region of what it encrypts."""
    by_service: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        region = key.split(":")[3]
        suffix = ".cn" if key.startswith("arn:aws-cn:") else ""
        by_service.setdefault(f"{service}.{region}.amazonaws.com{suffix}", []).append(key)
    for via, each in by_service.items():
        statement = _allow(sid, actions, each)
        statement["Condition"] = {"StringEquals": {"kms:ViaService": via}}
        yield statement


def _allow(sid: str, actions: Sequence[str], resources: str | Sequence[str]) -> dict[str, Any]:
    resource = [resources] if isinstance(resources, str) else list(resources)
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": resource[0] if len(resource) == 1 else resource,
    }


def _document(statements: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """With each `Sid` of letters and digits alone, and once."""
    taken: set[str] = set()
    named = []
    for statement in statements:
        words = _NOT_IN_SID.split(statement["Sid"])
        base = sid = "".join(word[:1].upper() + word[1:] for word in words)
        number = 1
        while sid in taken:
            number += 1
            sid = f"{base}{number}"
        taken.add(sid)
        named.append({**statement, "Sid": sid})
    return {"Version": "2012-10-17", "Statement": named}
