"""`backhaul doctor --policy`: the least-privilege IAM policy of this queue and these routes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from backhaul.adapters.aws.probing.sqs import QueueProbes
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.replies import ACCOUNT, queue_arn, replies_of_routes
from backhaul.core.access_policy import (
    MANAGED_MAX,
    QueueAccess,
    ReplyAccess,
    RouteAccess,
    access_policy,
    partition_of,
    policy_size,
)
from backhaul.core.errors import BackhaulError
from backhaul.core.requests.queue_names import parse_queue
from backhaul.settings.reply import queue_region

_KEY_ID = re.compile(r"(?:mrk-)?[0-9a-f-]{32,40}")


@dataclass(frozen=True, kw_only=True)
class PolicyOfConfiguration:
    """The policy, and what has to be completed by hand."""

    policy: dict[str, Any]
    notes: tuple[str, ...]


def policy_of(context: DoctorContext) -> PolicyOfConfiguration:
    """What the agent calls and nothing else; SQS is read for what it knows, unless offline.

    Raises:
        BackhaulError: The fault of the configuration: its routes are not known.
    """
    if context.fault is not None:
        raise context.fault
    notes = []
    queues = []
    if context.queue is not None and context.region is not None:
        for one in context.of_each_queue:
            queue, more = _queue(one, one.queue or "", one.region or "")
            queues.append(replace(queue, role=one.role_arn))
            notes += more
            if one.role_arn is not None:
                notes.append(
                    f"{one.role_arn} needs what this prints for {queue.name} without its role_arn,"
                    " and this agent in its trust policy"
                )
    else:
        notes.append("no queue was named: backhaul doctor QUEUE REGION --policy")
    partition = partition_of(context.region or "")
    routes = [
        RouteAccess(
            name=one.name,
            sources=one.sources,
            reads_versions=one.event_destination is not None,
            partition=partition,
        )
        for one in context.routes
    ]
    replies, more = _replies(context)
    notes += more
    policy = access_policy(queues, routes, replies)
    if routes:
        notes.append("where objects are encrypted with a key of KMS, add kms:Decrypt on that key")
    if (size := policy_size(policy)) > MANAGED_MAX:
        notes.append(
            f"it has {size:,} characters, and a managed policy takes {MANAGED_MAX:,}: "
            "spread its statements over several"
        )
    return PolicyOfConfiguration(policy=policy, notes=tuple(notes))


def _replies(context: DoctorContext) -> tuple[list[ReplyAccess], list[str]]:
    """Those that the routes name, and those that their messages may."""
    used = replies_of_routes(context)
    found, notes = [], []
    for one in context.settings.reply:
        if one.name not in used:
            continue
        if one.sns is not None:
            found.append(ReplyAccess(name=one.name, arn=one.sns, is_topic=True, role=one.role_arn))
        if one.sqs is not None:
            region = queue_region(one.sqs) or one.region or context.region or "*"
            arn = queue_arn(one.sqs, region)
            found.append(ReplyAccess(name=one.name, arn=arn, role=one.role_arn))
            if ACCOUNT in arn and one.role_arn is None:
                notes.append(f"reply {one.name}: correct the account of its queue")
    routes = {one.name for one in context.routes}
    for route in (one for one in context.settings.route if one.name in routes):
        found += [_of_messages(route.name, address) for address in route.reply_to]
    if found:
        notes.append(
            "where a queue or topic of replies is encrypted with a key of KMS,"
            " add kms:GenerateDataKey and kms:Decrypt on that key"
        )
    return found, notes


def _of_messages(route: str, address: str) -> ReplyAccess:
    """For what messages may name in `reply_to`: an address, or its beginning with `*` behind."""
    name = f"to messages of {route}"
    if address.startswith("arn:"):
        return ReplyAccess(name=name, arn=address, is_topic=True)
    whole = f"{address[:-1]}x" if address.endswith("*") else address
    arn = queue_arn(whole, queue_region(whole) or "*")
    return ReplyAccess(name=name, arn=f"{arn[:-1]}*" if whole != address else arn)


def _queue(context: DoctorContext, name: str, region: str) -> tuple[QueueAccess, list[str]]:
    named = parse_queue(name)
    named.check_region(region)
    partition = partition_of(region)
    if not context.is_offline:
        try:
            return _as_it_is(context, name, region, partition)
        except BackhaulError as error:
            why = f"SQS was not read ({error})"
    else:
        why = "SQS was not read (--offline)"
    supposed = QueueAccess(
        name=named.name,
        region=region,
        account=named.account or ACCOUNT,
        partition=partition,
        dead_letter=f"{named.name.removesuffix('.fifo')}-dead"
        + (".fifo" if named.name.endswith(".fifo") else ""),
    )
    return supposed, [f"{why}: correct the account and the name of the dead-letter queue"]


def _as_it_is(
    context: DoctorContext, name: str, region: str, partition: str
) -> tuple[QueueAccess, list[str]]:
    opened = SqsQueue.open(name, region, context.aws, SystemClock())
    probes = QueueProbes(context.aws, opened.endpoint)
    facts = opened.facts
    account = facts.arn.split(":")[4]
    scope = f"arn:{partition}:kms:{region}:{account}:key/"
    notes = []
    keys: list[str | None] = []
    for url in (facts.url, facts.dead_letter_url):
        key = None
        if url is not None:
            given = probes.attributes(url, f"queue {name}").get("KmsMasterKeyId", "")
            key = given if given.startswith("arn:") else None
            if _KEY_ID.fullmatch(given):
                key = f"{scope}{given}"
            elif given and key is None and not given.endswith("alias/aws/sqs"):
                notes.append(f"{url} is encrypted with {given}: add kms:Decrypt on its key")
        keys.append(key)
    found = QueueAccess(
        name=facts.name,
        region=region,
        account=account,
        partition=partition,
        dead_letter=facts.dead_letter_name,
        kms_key=keys[0],
        dead_letter_kms_key=keys[1],
    )
    return found, notes
