"""Overlapping routes, refused at the start.

Two routes overlap when one request could belong to both: a queue, a source prefix and a
destination in common. The first one would decide, so a part of the second would have no effect.
Routes that share only sources, or only destinations, do not overlap.

An event names no destination, so for events a common queue and source prefix are enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.core.errors import ConfigurationError
from backhaul.core.model import Location, Route
from backhaul.core.requests.queue_names import are_same


def refuse_overlaps(routes: Sequence[Route]) -> None:
    """Compare every pair.

    Raises:
        ConfigurationError: E_CFG_OVERLAP, naming both.
    """
    for number, second in enumerate(routes):
        for first in routes[:number]:
            if not _share_queue(first, second):
                continue
            source = _common_source(first, second)
            destination = _common_destination(first, second)
            are_for_events = first.event_destination and second.event_destination
            if source is not None and (destination is not None or are_for_events):
                below = f" below {destination.uri}" if destination is not None else " for events"
                raise ConfigurationError(
                    "E_CFG_OVERLAP",
                    f"routes {first.name} and {second.name} both have {source}{below}",
                    hint="one request must belong to one route: narrow one of them, join them,"
                    " or bind them to different queues",
                )
            _refuse_same_step(first, second)


def _share_queue(first: Route, second: Route) -> bool:
    if first.queues is None or second.queues is None:
        return True
    return any(are_same(one, other) for one in first.queues for other in second.queues)


def _common_source(first: Route, second: Route) -> str | None:
    for bucket, prefix in first.sources or ():
        for other_bucket, other in second.sources or ():
            if bucket == other_bucket and (prefix.startswith(other) or other.startswith(prefix)):
                return f"s3://{bucket}/{max(prefix, other, key=len)}"
    return None


def _common_destination(first: Route, second: Route) -> Location | None:
    for place in first.destinations or ():
        for other in second.destinations or ():
            if place.is_within(other):
                return place
            if other.is_within(place):
                return other
    return None


def _refuse_same_step(first: Route, second: Route) -> None:
    for rule in first.steps:
        for other in second.steps:
            is_same_cluster = None in {rule.cluster, other.cluster} or rule.cluster == other.cluster
            if rule.step == other.step and is_same_cluster:
                raise ConfigurationError(
                    "E_CFG_OVERLAP",
                    f"routes {first.name} and {second.name} both map the EMR step {rule.step}",
                    hint="name the cluster in both, or map the step once",
                )
