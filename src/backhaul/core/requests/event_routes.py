"""What an event leads to: a route turns it into a request, ignores it, or refuses it.

A route takes S3 events when it has an `event_destination`, and the EMR steps that it lists. The
first such route that has the event's object decides. The request made here is then checked by
`policy` like any other: an event cannot bypass that.

Order of the checks, first one wins: E_POLICY_SOURCE or E_POLICY_EVENT (no route takes it),
E_SRC_OWNER, E_MSG_EVENT_TYPE, E_SRC_KEY_TRAILING_SLASH, then what `paths` raises for the
destination.
"""

from __future__ import annotations

import re

from backhaul.core.errors import BadMessage, ConfigurationError, NotAllowed, PermanentError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import (
    EventFacts,
    EventOther,
    Location,
    Request,
    Route,
    Source,
    StepRule,
)
from backhaul.core.requests.content import CallEvent, Ignored, ObjectEvent, RecordBody, StepEvent
from backhaul.core.requests.paths import is_placeholder, map_name, parse_destination
from backhaul.core.requests.policy import Policy, covering_prefix, serves_queue
from backhaul.core.text import printable

VARIABLES = ("bucket", "key_dir", "rel_dir")
COMPLETED = "COMPLETED"
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_DIRECTORY_VARIABLES = frozenset({"{key_dir}", "{rel_dir}"})


def request_of(
    policy: Policy, record: RecordBody, *, queue: str | None, default_fs: DefaultFs
) -> Request | Ignored:
    """The request that a record leads to; requests and ignored events are returned unchanged.

    Args:
        queue: ARN of the queue that brought it; None for `explain`, which has no queue.

    Raises:
        PermanentError: an unreadable record's own error, or one of those above.
    """
    match record:
        case PermanentError():
            raise record
        case ObjectEvent():
            return _object_request(policy, record, queue, default_fs)
        case StepEvent():
            return _step_request(policy, record, queue)
        case CallEvent():
            return _call(policy, record, queue)
        case _:
            return record


# ---------------------------------------------------------------- objects


def _object_request(
    policy: Policy, event: ObjectEvent, queue: str | None, default_fs: DefaultFs
) -> Request | Ignored:
    route, prefix = _route_of(policy, event.source, queue)
    if event.account is not None and route.source_owner not in {None, event.account}:
        raise NotAllowed(
            "E_SRC_OWNER",
            f"bucket {event.source.bucket} belongs to account {event.account},"
            f" and route {route.name} names {route.source_owner}",
            hint="correct source_owner on the route, or find out whose bucket this is",
        )
    what = f"{printable(event.name, 60)} of {printable(event.source.uri)}"
    if not event.is_created:
        return _other(route, what)
    # Size unknown: perhaps not a placeholder, so it counts as an object.
    if is_placeholder(event.source.key, 1 if event.size_bytes is None else event.size_bytes):
        return Ignored(
            reason="EVENT_DIRECTORY",
            what=what,
            placeholder=event.source,
            owner=route.source_owner,
        )
    name = event.source.key.rsplit("/", 1)[-1]
    if route.marker is not None and name != route.marker:
        return Ignored(reason="EVENT_NOT_MARKER", what=what)
    directory = event.source.key[: -len(name)]
    source, version_id, size_bytes = event.source, event.version_id, event.size_bytes
    if route.marker is not None:
        source, version_id, size_bytes = Source(bucket=source.bucket, key=directory), None, None
    return Request(
        source=source,
        destination=destination_of(route, event.source, prefix, default_fs),
        form="s3",
        event=EventFacts(
            key=event.source.key,
            version_id=version_id,
            sequencer=event.sequencer,
            size_bytes=size_bytes,
        ),
    )


def _route_of(policy: Policy, source: Source, queue: str | None) -> tuple[Route, str]:
    covering = [
        (route, prefix)
        for route in policy.routes
        if serves_queue(route, queue) and (prefix := covering_prefix(route, source)) is not None
    ]
    for route, prefix in covering:
        if route.event_destination is not None:
            return route, prefix
    if covering:
        raise NotAllowed(
            "E_POLICY_EVENT",
            f"route {printable(covering[0][0].name, 80)} has {printable(source.uri)},"
            " and takes no events",
            hint='set event_destination on the route, such as "/landing/{rel_dir}/"',
        )
    raise NotAllowed(
        "E_POLICY_SOURCE",
        f"no route of this queue has the source {printable(source.uri)}",
        hint="write a route with event_destination for it, or narrow the bucket's notification",
    )


def _other(route: Route, what: str) -> Ignored:
    """An event without a new object."""
    if route.event_other is EventOther.IGNORE:
        return Ignored(reason="EVENT_TYPE", what=what)
    raise BadMessage(
        "E_MSG_EVENT_TYPE",
        f"{what} brings no data, and route {printable(route.name, 80)} does not ignore such events",
        hint='narrow the notification, or set event_other = "ignore" on the route',
    )


def _call(policy: Policy, call: CallEvent, queue: str | None) -> Ignored:
    """A report of CloudTrail: ignored where the route ignores events without an object."""
    about = f" of {printable(call.source.uri)}" if call.source is not None else ""
    what = f"{printable(call.name, 60)}{about}, an API call that CloudTrail reports"
    for route in policy.routes:
        is_covering = call.source is None or covering_prefix(route, call.source) is not None
        is_for_it = serves_queue(route, queue) and is_covering and route.event_destination
        if is_for_it and route.event_other is EventOther.IGNORE:
            return Ignored(reason="EVENT_TYPE", what=what)
    raise BadMessage(
        "E_MSG_EVENT_TYPE",
        f"event is {what}, not an event of S3 itself",
        hint='turn on EventBridge for the bucket and let the rule match detail-type "Object'
        ' Created"; or set event_other = "ignore" on the route',
    )


# ---------------------------------------------------------------- steps


def _step_request(policy: Policy, event: StepEvent, queue: str | None) -> Request | Ignored:
    what = f"step {printable(event.name, 80)} of cluster {printable(event.cluster, 40)}"
    for route in policy.routes:
        for rule in route.steps if serves_queue(route, queue) else ():
            if rule.step == event.name and rule.cluster in {None, event.cluster}:
                if event.state != COMPLETED:
                    return _other(route, f"{what}, now {printable(event.state, 20)},")
                return _rule_request(rule)
    raise NotAllowed(
        "E_POLICY_EVENT",
        f"no route of this queue maps {what}",
        hint="write emr = [{ step = …, source = …, destination = … }] on a route",
    )


def _rule_request(rule: StepRule) -> Request:
    return Request(source=rule.source, destination=rule.destination, form="emr")


# ---------------------------------------------------------------- the destination's template


def destination_of(
    route: Route, event_source: Source, prefix: str, default_fs: DefaultFs
) -> Location:
    """The directory that the route's template gives for this object.

    Args:
        prefix: The route's prefix that covers the object; `rel_dir` counts from there.

    Raises:
        PermanentError: what `parse_destination` raises for the directory that comes out.
    """
    key_dir = event_source.key.rpartition("/")[0]
    rel_dir = event_source.key[len(prefix) :].rpartition("/")[0]
    text = expand(
        route.event_destination or "",
        bucket=event_source.bucket,
        key_dir=map_name(key_dir, route.name_map),
        rel_dir=map_name(rel_dir, route.name_map),
    )
    return parse_destination(text, default_fs=default_fs)


def expand(template: str, *, bucket: str, key_dir: str, rel_dir: str) -> str:
    """Fill in a template; a directory variable that is empty takes its segment with it."""
    directories = {"{key_dir}": key_dir, "{rel_dir}": rel_dir}
    segments = []
    for segment in template.split("/"):
        if segment not in directories:
            segments.append(segment.replace("{bucket}", bucket))
        elif directories[segment]:
            segments.append(directories[segment])
    return "/".join(segments)


def check_template(
    template: str, destinations: tuple[Location, ...], *, default_fs: DefaultFs
) -> None:
    """Refuse a template that can leave the route's destinations, whatever the event holds.

    The text before the first variable must be in one of them: dot segments are refused in every
    destination, so no later segment leads out again.

    Raises:
        ConfigurationError: E_CFG_ROUTE: no template.
        PermanentError: E_POLICY_DEST, or what `parse_destination` raises.
    """
    segments = template.split("/")
    for segment in segments:
        names = _VARIABLE.findall(segment)
        unknown = [name for name in names if name not in VARIABLES]
        has_rest = set("{}") & set(_VARIABLE.sub("", segment))
        is_mixed = segment not in _DIRECTORY_VARIABLES and {"key_dir", "rel_dir"} & set(names)
        if unknown or has_rest or is_mixed:
            raise ConfigurationError(
                "E_CFG_ROUTE",
                f"event_destination has the segment {printable(segment, 80)}",
                hint="variables are {bucket}, and as whole segments {key_dir} and {rel_dir}",
            )
    sample = expand(template, bucket="bucket", key_dir="a/b", rel_dir="a/b")
    parse_destination(sample, default_fs=default_fs)
    fixed = []
    for segment in segments:
        if _VARIABLE.search(segment):
            break
        fixed.append(segment)
    root = parse_destination("/".join(fixed), default_fs=default_fs)
    if not any(root.is_within(place) for place in destinations):
        raise NotAllowed(
            "E_POLICY_DEST",
            f"event_destination {printable(template, 120)} does not begin inside the route's"
            " destination",
            hint="begin it with one of the route's own destinations",
        )
