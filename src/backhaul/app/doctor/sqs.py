"""Probes of SQS: the queue, its dead-letter queue, and what the agent may do with them.

No message is received or sent: see `adapters.aws.probing.sqs`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from shlex import quote
from typing import Any
from urllib.parse import urlsplit

from backhaul.adapters.aws.probing.sqs import QueueAction, QueueProbes, regions_with
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State, from_error
from backhaul.app.doctor.fixes import (
    CLOCK,
    allow,
    allow_decrypting,
    for_network,
    set_attributes,
)
from backhaul.core.access_policy import partition_of
from backhaul.core.agent.observing.queue_warnings import warnings
from backhaul.core.errors import BackhaulError
from backhaul.core.model import Route
from backhaul.core.ports import FIFO, QueueFacts
from backhaul.core.requests.queue_names import are_same, parse_queue
from backhaul.core.units import human_span

_DAY_S = 86_400
_FEW_DAYS_S = 4 * _DAY_S  # SQS's own default; less leaves little time for a weekend
_SERVICES = frozenset({"s3.amazonaws.com", "events.amazonaws.com", "sns.amazonaws.com"})
_USUAL = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1")
_AGENT = (QueueAction.RECEIVE, QueueAction.HIDE, QueueAction.DELETE)
_CHECKS = {
    QueueAction.RECEIVE: "sqs.receive",
    QueueAction.HIDE: "sqs.change_visibility",
    QueueAction.DELETE: "sqs.delete",
    QueueAction.SEND: "sqs.dead_letter_send",
}


def queue(context: DoctorContext) -> Iterator[Finding]:
    """All of each queue."""
    for one in context.of_each_queue:
        yield from _one_queue(one)


def _one_queue(context: DoctorContext) -> Iterator[Finding]:
    """All of one; ends early where it cannot be found."""
    name, region = context.queue, context.region
    if name is None or region is None:
        yield Finding(
            "sqs.queue",
            "",
            State.SKIPPED,
            "no queue was named, and no agent runs here: backhaul doctor QUEUE REGION",
        )
        return
    subject = f"queue {name} in {region}"
    try:
        opened = SqsQueue.for_sending(name, region, context.aws, SystemClock())
    except BackhaulError as error:
        yield _not_found(context, name, region, error)
        return
    url = opened.facts.url
    probes = QueueProbes(context.aws, opened.endpoint)
    try:
        attributes = probes.attributes(url, subject)
    except BackhaulError as error:
        missing = _missing(context, "sqs.attributes", name, error, "sqs:GetQueueAttributes", url)
        if error.code == "E_QUEUE_NOT_FOUND":  # a URL is not looked up before
            yield _not_found(context, name, region, error)
            return
        yield missing
        if error.code != "E_AWS_DENIED":
            return
        attributes = {}
    else:
        yield Finding("sqs.queue", name, State.OK, f"it is in {region}, and its attributes show")
    for action in _AGENT:
        yield _probed(context, probes, action, url, name)
    if attributes:
        yield from _settings(context, name, url, attributes)
        yield from _dead_letter_queue(context, opened, probes, subject, attributes)


def _not_found(context: DoctorContext, name: str, region: str, error: BackhaulError) -> Finding:
    if error.code != "E_QUEUE_NOT_FOUND":
        return _missing(context, "sqs.queue", name, error, "sqs:GetQueueUrl", name)
    named = parse_queue(name)
    others = [one for one in dict.fromkeys((*_configured_regions(), *_USUAL)) if one != region]
    found = regions_with(named.name, others, context.aws) if named.account is None else []
    if found:
        return from_error(
            "sqs.queue",
            name,
            type(error)(error.code, f"{error.message}; there is one in {', '.join(found)}"),
            fix=(f"backhaul doctor {name} {found[0]}", f"backhaul run {name} {found[0]}"),
        )
    return from_error(
        "sqs.queue",
        name,
        error,
        fix=(
            "correct its name, region or account:",
            f"aws sqs list-queues --region {region}",
            "or create it with its dead-letter queue and permissions, by a template: backhaul init",
            "or alone:",
            f"aws sqs create-queue --region {region} --queue-name {named.name}",
        ),
    )


def _configured_regions() -> list[str]:
    return [one for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if (one := os.environ.get(name))]


def _missing(
    context: DoctorContext, check: str, name: str, error: BackhaulError, action: str, url: str
) -> Finding:
    """An error of any call of SQS, with the fix of its kind."""
    return from_error(check, name, error, fix=_fix(context, error, action, url))


def _fix(context: DoctorContext, error: BackhaulError, action: str, url: str) -> tuple[str, ...]:
    match error.code:
        case "E_SQS_KMS":
            also = ["kms:GenerateDataKey"] if action == QueueAction.SEND else []
            return allow_decrypting(error.message, also)
        case "E_AWS_DENIED" if "InvalidClientTokenId" not in error.message:
            return allow([action], [_arn(context, url)])
        case "E_SQS_UNREACHABLE":
            return for_network(error, context.proxy)
        case "E_AWS_CLOCK":
            return CLOCK
        case _:
            return ()


def _arn(context: DoctorContext, url: str) -> str:
    if url.startswith("arn:"):
        return url
    region = context.region or ""
    parts = urlsplit(url).path.strip("/").split("/")
    account = parts[-2] if len(parts) > 1 else "*"
    return f"arn:{partition_of(region)}:sqs:{region}:{account}:{parts[-1]}"


def _probed(
    context: DoctorContext, probes: QueueProbes, action: QueueAction, url: str, name: str
) -> Finding:
    check = _CHECKS[action]
    error = probes.refusal(action, url, f"queue {name}: {action.partition(':')[2]}")
    if error is not None:
        return _missing(context, check, name, error, action, url)
    return Finding(check, name, State.OK, f"{action} is not refused")


# ---------------------------------------------------------------- settings of the queue


def _settings(
    context: DoctorContext, name: str, url: str, attributes: dict[str, str]
) -> Iterator[Finding]:
    retention = _number(attributes, "MessageRetentionPeriod")
    if retention is not None:
        yield _retention("sqs.retention", name, url, retention)
    routes = [one for one in context.routes if _serves(one, attributes.get("QueueArn", name))]
    buckets = {bucket for one in routes if one.event_destination for bucket, _ in one.sources or ()}
    yield from _policy(name, url, attributes, sorted(buckets))
    yield from _encryption(name, url, attributes, has_events=bool(buckets))


def _serves(route: Route, arn: str) -> bool:
    return route.queues is None or any(are_same(one, arn) for one in route.queues)


def _retention(check: str, name: str, url: str, seconds: int) -> Finding:
    kept = human_span(timedelta(seconds=seconds))
    if seconds >= _FEW_DAYS_S:
        return Finding(check, name, State.OK, f"messages are kept for {kept}")
    return Finding(
        check,
        name,
        State.WARNING,
        f"SQS deletes messages after {kept}: an outage that lasts longer loses them",
        fix=(set_attributes(url, {"MessageRetentionPeriod": "604800"}),),
    )


def _policy(
    name: str, url: str, attributes: dict[str, str], buckets: list[str]
) -> Iterator[Finding]:
    """Who may send: not everyone, and S3 where a route expects events of its buckets."""
    statements = _statements(attributes.get("Policy"))
    arn = attributes.get("QueueArn", "*")
    if any(_is_open(one) for one in statements):
        yield Finding(
            "sqs.policy",
            name,
            State.WARNING,
            "its policy lets everyone send: any AWS account may start copies",
            fix=(
                'name the senders in place of "Principal": "*", or add a Condition:',
                f"aws sqs get-queue-attributes --queue-url {url} --attribute-names Policy",
            ),
        )
    if buckets and not any(_lets_events_in(one) for one in statements):
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnLike": {"aws:SourceArn": [f"arn:aws:s3:::{one}" for one in buckets]}},
        }
        yield Finding(
            "sqs.events",
            name,
            State.WARNING,
            f"a route expects events of {', '.join(buckets)}, and no statement of the queue's "
            "policy lets S3 send",
            fix=("add this statement to the policy of the queue:", json.dumps(statement)),
        )
    elif buckets:
        yield Finding("sqs.events", name, State.OK, "its policy lets events in")


def _statements(policy: str | None) -> list[dict[str, Any]]:
    try:
        found = json.loads(policy or "{}").get("Statement", [])
    except (ValueError, AttributeError):
        return []
    every = found if isinstance(found, list) else [found]
    return [one for one in every if isinstance(one, dict) and one.get("Effect") == "Allow"]


def _principals(statement: dict[str, Any], kind: str) -> list[Any]:
    principal = statement.get("Principal")
    if not isinstance(principal, dict):
        return [principal]
    found = principal.get(kind, [])
    return found if isinstance(found, list) else [found]


def _is_open(statement: dict[str, Any]) -> bool:
    return "*" in _principals(statement, "AWS") and not statement.get("Condition")


def _lets_events_in(statement: dict[str, Any]) -> bool:
    named = _principals(statement, "Service")
    return bool(_SERVICES.intersection(one for one in named if isinstance(one, str))) or (
        "*" in _principals(statement, "AWS")
    )


def _encryption(
    name: str, url: str, attributes: dict[str, str], *, has_events: bool
) -> Iterator[Finding]:
    key = attributes.get("KmsMasterKeyId")
    if not key:
        return
    if key.endswith("alias/aws/sqs") and has_events:
        yield Finding(
            "sqs.encryption",
            name,
            State.WARNING,
            "it is encrypted with AWS's own key of SQS, with which S3 cannot send events",
            fix=(
                "use SQS's own encryption, or a key of yours whose policy lets s3.amazonaws.com:",
                set_attributes(url, {"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"}),
            ),
        )
        return
    yield Finding(
        "sqs.encryption",
        name,
        State.SKIPPED,
        f"it is encrypted with KMS key {key}; SQS uses it only when a message is received, so "
        "kms:Decrypt is not probed",
        fix=allow(["kms:Decrypt"], [key if key.startswith("arn:") else "*"]),
    )


# ---------------------------------------------------------------- the dead-letter queue


def _dead_letter_queue(
    context: DoctorContext,
    opened: SqsQueue,
    probes: QueueProbes,
    subject: str,
    attributes: dict[str, str],
) -> Iterator[Finding]:
    try:
        opened.read_facts(subject)
    except BackhaulError as error:
        yield from_error(
            "sqs.dead_letter",
            subject,
            error,
            fix=_fix_of_dead_letter_queue(context, opened.facts, attributes)
            if error.code == "E_QUEUE_DLQ_GONE"
            else _fix(context, error, "sqs:GetQueueUrl", attributes.get("QueueArn", "")),
        )
        return
    facts = opened.facts
    for one in warnings(facts):
        yield Finding(
            _WARNED[one.code],
            facts.name,
            State.WARNING,
            one.reason,
            code=one.code,
            fix=_fix_of_warning(context, one.code, facts, attributes),
        )
    if facts.dead_letter_url is None or facts.dead_letter_name is None:
        return
    yield Finding(
        "sqs.dead_letter",
        facts.dead_letter_name,
        State.OK,
        f"it is there; SQS itself moves a message after {facts.max_receive_count or 'unknown'}"
        " receives",
    )
    yield from _rights_on_dead_letters(context, probes, facts.dead_letter_url, facts)


_WARNED = {
    "W_NO_DLQ": "sqs.dead_letter",
    "W_FEW_RECEIVES": "sqs.receives",
    "W_DLQ_RETENTION": "sqs.dead_letter_retention",
}


def _rights_on_dead_letters(
    context: DoctorContext, probes: QueueProbes, url: str, facts: QueueFacts
) -> Iterator[Finding]:
    name = facts.dead_letter_name or ""
    yield _probed(context, probes, QueueAction.SEND, url, name)
    try:
        probes.attributes(url, f"dead-letter queue {name}")
    except BackhaulError as error:
        if error.code != "E_AWS_DENIED":
            yield _missing(
                context, "sqs.dead_letter_attributes", name, error, "sqs:GetQueueAttributes", url
            )
            return
        yield Finding(
            "sqs.dead_letter_attributes",
            name,
            State.WARNING,
            "its attributes are refused: the agent works, and cannot count dead letters",
            code=error.code,
            fix=allow(["sqs:GetQueueAttributes"], [_arn(context, url)]),
        )


def _fix_of_warning(
    context: DoctorContext, code: str, facts: QueueFacts, attributes: dict[str, str]
) -> tuple[str, ...]:
    match code:
        case "W_NO_DLQ":
            return _fix_of_dead_letter_queue(context, facts, attributes)
        case "W_FEW_RECEIVES":
            target = _redrive(attributes).get("deadLetterTargetArn", "")
            policy = {"deadLetterTargetArn": target, "maxReceiveCount": "20"}
            return (set_attributes(facts.url, {"RedrivePolicy": policy}),)
        case _:
            fix = set_attributes(facts.dead_letter_url or "", {"MessageRetentionPeriod": "1209600"})
            return (fix,)


def _fix_of_dead_letter_queue(
    context: DoctorContext, facts: QueueFacts, attributes: dict[str, str]
) -> tuple[str, ...]:
    """Create the one that the redrive policy names, or one with the ending `-dead`."""
    arn = attributes.get("QueueArn", "")
    queue_name = arn.rsplit(":", 1)[-1]
    stem, ending = queue_name.removesuffix(FIFO), FIFO if queue_name.endswith(FIFO) else ""
    target = _redrive(attributes).get("deadLetterTargetArn")
    name = str(target).rsplit(":", 1)[-1] if target else f"{stem}-dead{ending}"
    made = {"MessageRetentionPeriod": "1209600"} | ({"FifoQueue": "true"} if ending else {})
    policy = {
        "deadLetterTargetArn": f"{arn.rpartition(':')[0]}:{name}",
        "maxReceiveCount": str(_redrive(attributes).get("maxReceiveCount", 20)),
    }
    options = f"--region {context.region} --queue-name {name}"
    return (
        f"aws sqs create-queue {options} --attributes {quote(json.dumps(made))}",
        set_attributes(facts.url, {"RedrivePolicy": policy}),
    )


def _redrive(attributes: dict[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(attributes.get("RedrivePolicy", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(attributes: dict[str, str], name: str) -> int | None:
    text = attributes.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None


PROBES = (queue,)
