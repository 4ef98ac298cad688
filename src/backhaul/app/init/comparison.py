"""What is different in a live account from what `backhaul init` would make. Pure.

Only what is worse than the generated one counts: a longer retention is no difference, and neither
is a visibility timeout, as Backhaul sets its own. What was not read is not compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from shlex import quote
from typing import Any
from urllib.parse import unquote_plus

from backhaul.app.init.infrastructure import (
    DEAD_LETTER_ATTRIBUTES,
    MAX_RECEIVE_COUNT,
    OBJECT_EVENTS,
    QUEUE_ATTRIBUTES,
    EventSource,
    event_filter,
)
from backhaul.core.units import human_span

RETENTION = "MessageRetentionPeriod"
_S3 = "s3.amazonaws.com"
_ENCODED = re.compile(r"[A-Za-z0-9/!\-_.*'()%+]*")
_NO_KEY = "\0"  # in no key that a route takes
_SENDING = frozenset({"sqs:sendmessage", "sqs:*", "*"})


@dataclass(frozen=True, kw_only=True)
class LiveQueue:
    """A queue as `GetQueueAttributes` shows it.

    Attributes:
        attributes: All; empty: they could not be read.
        dead_letter: Those of its dead-letter queue; empty: none, or they could not be read.
    """

    url: str
    attributes: Mapping[str, str]
    dead_letter_url: str = ""
    dead_letter: Mapping[str, str] | None = None

    @property
    def arn(self) -> str:
        return self.attributes.get("QueueArn", "")

    @property
    def name(self) -> str:
        return self.arn.rsplit(":", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not as generated.

    Attributes:
        what: `queue`, `dead_letter`, `policy` or `notification`.
        text: One sentence, without its full stop.
        fix: Lines to copy.
    """

    what: str
    subject: str
    text: str
    fix: tuple[str, ...]


def queue_differences(live: LiveQueue) -> Iterator[Difference]:
    """Attributes of the queue and of its dead-letter queue."""
    retention = _number(live.attributes.get(RETENTION))
    wanted = QUEUE_ATTRIBUTES[RETENTION]
    if retention is not None and retention < wanted:
        yield Difference(
            what="queue",
            subject=live.name,
            text=f"the queue keeps messages for {_span(retention)}, and the generated one for"
            f" {_span(wanted)}",
            fix=(_set(live.url, {RETENTION: str(wanted)}),),
        )
    receives = _receives(live.attributes)
    if receives is not None and receives < MAX_RECEIVE_COUNT:
        redrive = {**_redrive(live.attributes), "maxReceiveCount": MAX_RECEIVE_COUNT}
        yield Difference(
            what="queue",
            subject=live.name,
            text=f"maxReceiveCount is {receives}, and that of the generated queue is"
            f" {MAX_RECEIVE_COUNT}",
            fix=(_set(live.url, {"RedrivePolicy": json.dumps(redrive)}),),
        )
    yield from _encryption("queue", live.name, live.url, live.attributes)
    dead = live.dead_letter or {}
    name = dead.get("QueueArn", "").rsplit(":", 1)[-1]
    retention = _number(dead.get(RETENTION))
    wanted = DEAD_LETTER_ATTRIBUTES[RETENTION]
    if retention is not None and retention < wanted:
        yield Difference(
            what="dead_letter",
            subject=name,
            text=f"the dead-letter queue keeps messages for {_span(retention)}, and the generated"
            f" one for {_span(wanted)}",
            fix=(_set(live.dead_letter_url, {RETENTION: str(wanted)}),),
        )
    yield from _encryption("dead_letter", name, live.dead_letter_url, dead)


def _encryption(
    what: str, name: str, url: str, attributes: Mapping[str, str]
) -> Iterator[Difference]:
    is_off = attributes.get("SqsManagedSseEnabled") == "false"
    if is_off and not attributes.get("KmsMasterKeyId"):
        yield Difference(
            what=what,
            subject=name,
            text="messages are not encrypted at rest, and in the generated queue they are",
            fix=(_set(url, {"SqsManagedSseEnabled": "true"}),),
        )


def policy_differences(
    live: LiveQueue, events: Sequence[EventSource], partition: str
) -> Iterator[Difference]:
    """Whether the queue's policy lets these buckets send, and no others.

    Where no statement lets S3 send at all, nothing is compared: events may come by another way.
    """
    statements = [one for one in _statements(live.attributes.get("Policy")) if _lets_s3_send(one)]
    if not statements:
        return
    fix = (
        "write the policy as `backhaul init - --terraform FILE --bucket-events` does; now it is:",
        f"aws sqs get-queue-attributes --queue-url {quote(live.url)} --attribute-names Policy",
    )
    sources = [_values(one, "aws:sourcearn") for one in statements]
    if any(not named for named in sources):
        yield Difference(
            what="policy",
            subject=live.name,
            text="its policy lets S3 send events of any bucket of any account, and the generated"
            " one names the bucket",
            fix=fix,
        )
    for one in events:
        arn = f"arn:{partition}:s3:::{one.bucket}"
        if all(named and not _matches(arn, named) for named in sources):
            yield Difference(
                what="policy",
                subject=live.name,
                text=f"its policy lets S3 send, and not events of bucket {one.bucket}",
                fix=fix,
            )
    if any(not _values(one, "aws:sourceaccount") for one in statements):
        yield Difference(
            what="policy",
            subject=live.name,
            text="its policy names no account from which events may come, and the generated one"
            " does: a bucket that is deleted may be made again by anybody",
            fix=fix,
        )


def notification_differences(
    queue_arn: str, source: EventSource, live: Mapping[str, Any], *, marker: str | None = None
) -> Iterator[Difference]:
    """Whether a bucket reports every new object below its prefixes to the queue.

    Args:
        live: As `GetBucketNotificationConfiguration` answers. Where the bucket reports to
            EventBridge or to a topic, nothing is compared: events may come by those.
        marker: The route waits for objects of this name alone; a filter may leave out others.
    """
    if "EventBridgeConfiguration" in live or live.get("TopicConfigurations"):
        return
    own = [one for one in live.get("QueueConfigurations", []) if one.get("QueueArn") == queue_arn]
    for prefix in source.prefixes:
        where = f"s3://{source.bucket}/{prefix}"
        fault = _fault_of(own, prefix, marker or "")
        if fault:
            yield Difference(
                what="notification",
                subject=where,
                text=fault,
                fix=_fix_of_notification(queue_arn, source.bucket, prefix),
            )


def _fault_of(own: Sequence[Mapping[str, Any]], prefix: str, marker: str) -> str:
    """Why objects below the prefix bring no event; empty: they do."""
    if not own:
        return "the bucket reports nothing to this queue, and the route waits for its events"
    about = [(one, *_filters(one)) for one in own]
    covering = [(one, suffix) for one, begin, suffix in about if prefix.startswith(begin)]
    if not covering:
        raw = [_filter_values(one).get("prefix", "") for one in own]
        if prefix in raw and event_filter(prefix) != prefix:
            return (
                f"its filter is the plain text {prefix}, which S3 does not match: it has to be"
                f" {event_filter(prefix)}"
            )
        return f"the bucket reports only objects that begin with {', '.join(sorted(raw))}"
    matching = [one for one, suffix in covering if not suffix or marker.endswith(suffix)]
    if any(OBJECT_EVENTS in one.get("Events", []) for one in matching):
        return ""
    events = sorted({event for one, _ in covering for event in one.get("Events", [])})
    if OBJECT_EVENTS not in events:
        return f"the bucket reports {', '.join(events)}, and not all of {OBJECT_EVENTS}"
    return "the bucket reports only objects that end with " + ", ".join(
        sorted({suffix for _, suffix in covering if suffix})
    )


def _filters(configuration: Mapping[str, Any]) -> tuple[str, str]:
    """Prefix and suffix as S3 compares them with keys; one in plain text matches no key."""
    found = {
        name: unquote_plus(value) if _ENCODED.fullmatch(value) else f"{value}{_NO_KEY}"
        for name, value in _filter_values(configuration).items()
    }
    return found.get("prefix", ""), found.get("suffix", "")


def _filter_values(configuration: Mapping[str, Any]) -> dict[str, str]:
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    return {str(one.get("Name", "")).lower(): str(one.get("Value", "")) for one in rules}


def _fix_of_notification(queue_arn: str, bucket: str, prefix: str) -> tuple[str, ...]:
    rules = [{"Name": "prefix", "Value": event_filter(prefix)}] if prefix else []
    entry: dict[str, Any] = {"QueueArn": queue_arn, "Events": [OBJECT_EVENTS]}
    if rules:
        entry["Filter"] = {"Key": {"FilterRules": rules}}
    command = f"aws s3api {{}}-bucket-notification-configuration --bucket {bucket}"
    return (
        "add this to QueueConfigurations in n.json, between these two commands:",
        json.dumps(entry),
        f"{command.format('get')} > n.json",
        f"{command.format('put')} --notification-configuration file://n.json",
    )


# ---------------------------------------------------------------- policies


def _statements(policy: str | None) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(policy or "{}").get("Statement", [])
    except (ValueError, AttributeError):
        return []
    every = found if isinstance(found, list) else [found]
    return [one for one in every if isinstance(one, dict) and one.get("Effect") == "Allow"]


def _lets_s3_send(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    services = _listed(principal.get("Service")) if isinstance(principal, dict) else []
    actions = {str(one).lower() for one in _listed(statement.get("Action"))}
    return _S3 in services and bool(actions & _SENDING)


def _values(statement: Mapping[str, Any], key: str) -> list[str]:
    """What conditions of any operator want this key to be."""
    condition = statement.get("Condition")
    found: list[str] = []
    for operator in condition.values() if isinstance(condition, dict) else ():
        for name, value in operator.items() if isinstance(operator, dict) else ():
            if str(name).lower() == key:
                found += [str(one) for one in _listed(value)]
    return found


def _matches(arn: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(arn, one.replace("[", "[[]")) for one in patterns)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


# ---------------------------------------------------------------- numbers and commands


def _receives(attributes: Mapping[str, str]) -> int | None:
    return _number(_redrive(attributes).get("maxReceiveCount"))


def _redrive(attributes: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(attributes.get("RedrivePolicy", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() else None


def _span(seconds: int) -> str:
    return human_span(timedelta(seconds=seconds))


def _set(url: str, attributes: Mapping[str, str]) -> str:
    return (
        f"aws sqs set-queue-attributes --queue-url {quote(url)} --attributes"
        f" {quote(json.dumps(attributes))}"
    )
