"""Compares what is live with what `backhaul init` would make for this configuration; warnings only.

What may not be read is skipped: the agent works without these rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from backhaul.adapters.aws.probing.notifications import bucket_notifications
from backhaul.adapters.aws.probing.sqs import QueueProbes
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.fixes import allow
from backhaul.app.init.comparison import (
    Difference,
    LiveQueue,
    notification_differences,
    policy_differences,
    queue_differences,
)
from backhaul.app.init.infrastructure import EventSource, event_sources
from backhaul.core.access_policy import partition_of
from backhaul.core.errors import BackhaulError
from backhaul.core.model import Route
from backhaul.core.requests.queue_names import are_same


def queue_and_buckets(context: DoctorContext) -> Iterator[Finding]:
    """All of each queue, and of the buckets whose routes it serves.

    Nothing of a queue that cannot be read: its own probes have the reason.
    """
    for one in context.of_each_queue:
        yield from _one_queue(one)


def _one_queue(context: DoctorContext) -> Iterator[Finding]:
    if context.queue is None or context.region is None:
        return
    live = _live(context, context.queue, context.region)
    if live is None:
        return
    yield from _compared("init.queue", live.name, queue_differences(live))
    routes = [
        one
        for one in context.routes
        if one.event_destination is not None and _serves(one, live.arn)
    ]
    if not routes:
        return
    partition = partition_of(context.region)
    events = [source for route in routes for source in _events(route)]
    yield from _compared("init.policy", live.name, policy_differences(live, events, partition))
    for route in routes:
        for source in _events(route):
            yield from _notifications(context, live, route, source)


def _live(context: DoctorContext, name: str, region: str) -> LiveQueue | None:
    try:
        opened = SqsQueue.for_sending(name, region, context.aws, SystemClock())
        probes = QueueProbes(context.aws, opened.endpoint)
        attributes = probes.attributes(opened.facts.url, f"queue {name}")
        opened.read_facts(f"queue {name}")
    except BackhaulError:
        return None
    dead_url = opened.facts.dead_letter_url or ""
    try:
        dead = probes.attributes(dead_url, "dead-letter queue") if dead_url else {}
    except BackhaulError:
        dead = {}
    return LiveQueue(
        url=opened.facts.url, attributes=attributes, dead_letter_url=dead_url, dead_letter=dead
    )


def _serves(route: Route, arn: str) -> bool:
    return route.queues is None or any(are_same(one, arn) for one in route.queues)


def _events(route: Route) -> tuple[EventSource, ...]:
    return event_sources(route.sources or (), route.source_owner)


def _notifications(
    context: DoctorContext, live: LiveQueue, route: Route, source: EventSource
) -> Iterator[Finding]:
    subject = f"s3://{source.bucket}"
    # The role is for the queue alone: buckets are reached with the agent's own credentials.
    own = replace(context, role_arn=None, external_id=None) if context.role_arn else context
    try:
        found = bucket_notifications(own.aws, source.bucket, source.owner)
    except BackhaulError as error:
        arn = f"arn:{partition_of(context.region or '')}:s3:::{source.bucket}"
        yield Finding(
            "init.notification",
            subject,
            State.SKIPPED,
            "its notifications may not be read, so they are not compared",
            code=error.code,
            fix=allow(["s3:GetBucketNotification"], [arn]) if error.code == "E_SRC_DENIED" else (),
            route=route.name,
        )
        return
    differences = notification_differences(live.arn, source, found, marker=route.marker)
    yield from _compared("init.notification", subject, differences, route.name)


def _compared(
    check: str, subject: str, differences: Iterable[Difference], route: str = ""
) -> Iterator[Finding]:
    found = list(differences)
    for one in found:
        yield Finding(
            f"init.{one.what}", one.subject, State.WARNING, one.text, fix=one.fix, route=route
        )
    if not found:
        yield Finding(
            check, subject, State.OK, "nothing is worse than `backhaul init` makes it", route=route
        )


PROBES = (queue_and_buckets,)
