"""Slots that are kept for routes: `min_slots` of a route, over all queues of one agent.

A message whose route keeps none may have a slot only while more are free than routes have kept and
do not use. So the messages of such a route begin at once, whatever else the queues are full of.
One slot is always left to all others. Slots of a paused route are not kept meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from backhaul.core.agent.context import AgentContext
from backhaul.core.errors import BackhaulError
from backhaul.core.model import Request
from backhaul.core.ports import Message
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.records import records_of


class KeptSlots:
    """Of one agent; safe to share only under its owner's lock.

    Args:
        slots: Of the agent.
        kept: How many of them are kept now, by route.
    """

    def __init__(self, slots: int, kept: Callable[[], Mapping[str, int]] = dict) -> None:
        self._slots = slots
        self._kept = kept
        self._busy: Counter[str] = Counter()

    def take(self, route: str) -> None:
        """A message of this route has a slot; empty: of none."""
        self._busy[route] += 1

    def leave(self, route: str) -> None:
        """Its slot is free again."""
        self._busy[route] -= 1

    def admits(self) -> Callable[[str], bool]:
        """Which routes may have a slot that is free, by name; as of now."""
        kept, free = self._kept(), self._slots - self._busy.total()
        unused = {name: max(0, least - self._busy[name]) for name, least in kept.items()}
        total = sum(unused.values())

        def may_take(route: str) -> bool:
            others = total - unused.get(route, 0)
            return others == 0 or free > min(others, self._slots - 1)

        return may_take


def kept_now(context: AgentContext) -> Mapping[str, int]:
    """By the policy as it is: how many slots each route keeps."""
    routes = context.policy().keeping_slots
    if not routes:
        return {}
    paused = {one.route for one in context.pauses.in_force()}
    return {name: least for name, least in routes.items() if name not in paused}


def route_of(context: AgentContext, message: Message) -> str:
    """The route of the first of its records; empty where it has none, or no route keeps slots."""
    policy = context.policy()
    if not policy.keeping_slots:
        return ""
    default_fs, queue = context.settings.default_fs, message.queue

    def find() -> str:
        body = records_of(message, default_fs=default_fs)[0].body
        request = request_of(policy, body, queue=queue, default_fs=default_fs)
        if not isinstance(request, Request):
            return ""
        return policy.route_for(request, queue=queue) or ""

    found = context.result_or_error(find)
    return "" if isinstance(found, BackhaulError) else found
