"""`reconcile --send`: a message for each object that is missing, once.

Each is recorded before it is sent, so that a second command, at the same time or later, sends it
only when the first message came to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backhaul.adapters.ledger import find_reader, open_ledger
from backhaul.adapters.ledger.reconciling.results import SentObject
from backhaul.adapters.system.clock import host_name
from backhaul.app.actions import Warn, noted_sends
from backhaul.app.context import Context
from backhaul.app.reconcile.run import find_route
from backhaul.app.send import MessageSender
from backhaul.core.errors import BadArgument
from backhaul.core.model import Location, Options, Route
from backhaul.core.ports import Act, Operator
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass, SourceObject
from backhaul.core.requests.queue_names import QueueName, parse_queue
from backhaul.core.text import printable

BATCH = 50  # messages between two records of what was sent


@dataclass(frozen=True, kw_only=True)
class MissingObject:
    """An object that is to be sent, and where it belongs."""

    source: SourceObject
    target: Location


@dataclass(kw_only=True)
class Missing:
    """What is missing, as far as it is to be sent.

    Attributes:
        most: So many are kept; the rest is counted.
    """

    most: int
    objects: list[MissingObject] = field(default_factory=list)
    left_out: int = 0

    @property
    def size_bytes(self) -> int:
        return sum(one.source.size_bytes for one in self.objects)

    def add(self, one: ComparedPath, root: Location) -> None:
        """Keep it, if it is missing."""
        source = one.row.source
        if one.found is not ObjectClass.MISSING or source is None:
            return
        if len(self.objects) < self.most:
            self.objects.append(
                MissingObject(source=source, target=replace(root, path=one.row.path))
            )
        else:
            self.left_out += 1


@dataclass(frozen=True, kw_only=True)
class SendTarget:
    """Whose messages go to which queue; its region is known."""

    route: Route
    queue: QueueName


@dataclass(frozen=True, kw_only=True)
class SentMissing:
    """What became of them.

    Attributes:
        on_its_way: So many were sent by another command meanwhile.
    """

    sent: int
    on_its_way: int


def send_target(context: Context, route_name: str, chosen: str | None, region: str) -> SendTarget:
    """The queue that messages of a route go to: as chosen, the route's own, or its agents'.

    Raises:
        BadArgument: E_ROUTE_UNKNOWN, E_QUEUE_NAME, E_RECONCILE_QUEUE.
    """
    route = find_route(context, route_name)
    own = sorted(route.queues or ())
    if chosen is not None or len(own) == 1:
        queue = _in_region(parse_queue(chosen or own[0]), region)
        return SendTarget(route=route, queue=queue)
    known = _queues_of_agents(context) if not own else set()
    if len(known) == 1:
        ((name, its_region),) = known
        return SendTarget(route=route, queue=_in_region(parse_queue(name), its_region))
    raise BadArgument(
        "E_RECONCILE_QUEUE",
        f"which queue the messages of route {printable(route.name, 80)} go to is not known:"
        f" {'it serves several' if own else 'no agent, or several, worked on this ledger'}",
        hint="name it: --queue QUEUE --region REGION",
    )


def _queues_of_agents(context: Context) -> set[tuple[str, str]]:
    reader = find_reader(context.settings.ledger_path)
    if reader is None:
        return set()
    with closing(reader):
        agents = [one.record.identity for one in reader.agents()]
    return {(one.queue, one.region) for one in agents}


def _in_region(named: QueueName, region: str) -> QueueName:
    return named if named.region is not None else replace(named, region=region)


def send_missing(
    context: Context,
    by: Operator,
    to: SendTarget,
    missing: Sequence[MissingObject],
    *,
    looked_at: datetime,
    warn: Warn,
) -> SentMissing:
    """Leave a message for each, unless one is on its way.

    Args:
        looked_at: When the comparison began that found them missing.

    Raises:
        BackhaulError: SQS or the ledger; what was sent until then is recorded.
    """
    path, route, queue = context.settings.ledger_path, to.route, to.queue
    by_uri = {one.target.uri: one for one in missing}
    key = route.signature.keys[0] if route.signature is not None else None
    with noted_sends(path, by, Act.RECONCILE, f"{route.name}: {queue.text}", warn) as note:
        sender = MessageSender(queue.text, queue.region or "", key, needs_arn=True)
        with closing(open_ledger(path, create=False, host=host_name())) as ledger:
            now = datetime.now(UTC)
            wanted = [_sent(one, route.name, sender.arn, now) for one in by_uri.values()]
            free = ledger.reserve_sends(wanted, now, looked_at=looked_at)
            sent = 0
            for one in _each_sent(free, by_uri, sender, ledger.note_sent):
                sent += 1
                note(one.source.size_bytes)
    return SentMissing(sent=sent, on_its_way=len(missing) - len(free))


def _sent(one: MissingObject, route: str, queue: str, now: datetime) -> SentObject:
    return SentObject(
        uri=one.target.uri,
        route=route,
        bucket=one.source.bucket,
        key=one.source.key,
        etag=one.source.etag,
        queue=queue,
        sent_at=now,
    )


def _each_sent(
    free: Sequence[SentObject],
    by_uri: Mapping[str, MissingObject],
    sender: MessageSender,
    note: Callable[[dict[str, str | None]], None],
) -> Iterator[MissingObject]:
    """Send them; what was certainly not sent is free again, whatever happens."""
    done: dict[str, str | None] = {}
    rest = {one.uri: one for one in free}
    try:
        for one in free:
            del rest[one.uri]
            its = by_uri[one.uri]
            done[one.uri] = sender.send(its.source.uri, its.target.parent.uri, Options())
            yield its
            if len(done) >= BATCH:
                note(done)
                done = {}
    finally:
        # Of the one whose send failed nothing is known: it stays as it is, and is free in a while.
        note({**done, **dict.fromkeys(rest)})
