"""`reconcile --send`: a message for each object that is missing, once.

Each is looked at once more, then recorded, then sent: a second command, at the same time or later,
sends it only when the first message came to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from backhaul.adapters.ledger import SqlLedger, find_reader, open_ledger
from backhaul.adapters.ledger.reconciling.results import SentObject
from backhaul.adapters.system.clock import host_name
from backhaul.app.actions import Warn, noted_sends
from backhaul.app.context import Context
from backhaul.app.queues import ChosenQueue, configured_queue, configured_queues
from backhaul.app.reconcile.run import find_route
from backhaul.app.send import MessageSender, body_of
from backhaul.core.errors import BadArgument, PermanentError
from backhaul.core.model import Location, Options, Route
from backhaul.core.ports import Act, Operator
from backhaul.core.reconciliation.checks import DOUBTFUL_MOST
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass, SourceObject
from backhaul.core.requests.queue_names import parse_queue
from backhaul.core.text import printable

BATCH = 50  # messages between two records of what was sent


@dataclass(frozen=True, kw_only=True)
class MissingObject:
    """An object that is to be sent, and where it belongs.

    Attributes:
        compared: As it was found.
    """

    source: SourceObject
    target: Location
    compared: ComparedPath


LookAtMissing = Callable[[Sequence[MissingObject]], Sequence[ComparedPath | None]]
"""What they are now; see `last_look`."""


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
            target = replace(root, path=one.row.path)
            self.objects.append(MissingObject(source=source, target=target, compared=one))
        else:
            self.left_out += 1


@dataclass(frozen=True, kw_only=True)
class SendTarget:
    """Whose messages go to which queue."""

    route: Route
    queue: ChosenQueue


@dataclass(frozen=True, kw_only=True)
class NotSent:
    """An object of which no message can ask, or SQS takes none, and why."""

    source: SourceObject
    error: PermanentError


@dataclass(kw_only=True)
class SentMissing:
    """What became of them.

    Attributes:
        on_its_way: So many are on their way meanwhile.
        changed: So many are no longer missing for another reason: they arrived, or were removed.
    """

    sent: int = 0
    on_its_way: int = 0
    changed: int = 0
    not_sent: list[NotSent] = field(default_factory=list)


class LeavesMessages(Protocol):
    """Leaves messages on one queue; see `MessageSender`."""

    @property
    def arn(self) -> str: ...

    def send(self, source: str, destination: str, options: Options) -> str: ...


def send_target(context: Context, route_name: str, chosen: str | None, region: str) -> SendTarget:
    """The queue that messages of a route go to: as chosen, the route's own, or its agents'.

    Args:
        region: Of a queue that is no `[[queue]]` and whose text names none.

    Raises:
        BadArgument: E_ROUTE_UNKNOWN, E_QUEUE_NAME, E_QUEUE_WHICH, E_RECONCILE_QUEUE.
    """
    route = find_route(context, route_name)
    settings = context.settings.queue
    if chosen is not None:
        found = configured_queue(settings, chosen, None)
        return SendTarget(route=route, queue=found or _plain(chosen, region))
    if settings:
        of_route = [one for one in configured_queues(settings) if _serves(route, one)]
        known = "it serves several [[queue]]"
        fix = (
            f"--queue NAME, with one of {', '.join(printable(one.label) for one in of_route[:10])}"
        )
    else:
        own = sorted(route.queues or ())
        places = {(one, region) for one in own} or _queues_of_agents(context)
        of_route = [_plain(*place) for place in places] if len(places) == 1 else []
        known = "it serves several" if own else "no agent, or several, worked on this ledger"
        fix = "--queue QUEUE --region REGION"
    if len(of_route) == 1:
        return SendTarget(route=route, queue=of_route[0])
    raise BadArgument(
        "E_RECONCILE_QUEUE",
        f"which queue the messages of route {printable(route.name, 80)} go to is not known:"
        f" {known}",
        hint=f"name it: {fix}",
    )


def _plain(text: str, region: str) -> ChosenQueue:
    return ChosenQueue(text=text, region=parse_queue(text).region or region, label=text)


def _serves(route: Route, one: ChosenQueue) -> bool:
    bound = route.queues
    return bound is None or any(parse_queue(text).is_same(one.parsed) for text in bound)


def _queues_of_agents(context: Context) -> set[tuple[str, str]]:
    reader = find_reader(context.settings.ledger_place)
    if reader is None:
        return set()
    with closing(reader):
        agents = [each.identity for one in reader.agents() for each in one.record.by_queue]
    return {(one.queue, one.region) for one in agents}


def send_missing(
    context: Context,
    by: Operator,
    to: SendTarget,
    missing: Sequence[MissingObject],
    *,
    look_again: LookAtMissing,
    warn: Warn,
) -> SentMissing:
    """Leave a message for each that is still missing, unless one is on its way.

    Raises:
        BackhaulError: S3, the target, SQS or the ledger; what was sent until then is recorded.
    """
    path, route, queue = context.settings.ledger_place, to.route, to.queue
    key = route.signature.keys[0] if route.signature is not None else None
    with noted_sends(path, by, Act.RECONCILE, f"{route.name}: {queue.text}", warn) as note:
        sender = MessageSender(queue, key, needs_arn=True)
        with closing(open_ledger(path, create=False, host=host_name())) as ledger:
            run = SendRun(
                route=route.name,
                ledger=ledger,
                sender=sender,
                look_again=look_again,
                note=note,
                now=lambda: datetime.now(UTC),
            )
            for start in range(0, len(missing), DOUBTFUL_MOST):
                run.send(missing[start : start + DOUBTFUL_MOST])
    return run.found


@dataclass(frozen=True, kw_only=True)
class SendRun:
    """Sends what is missing, some at a time.

    Attributes:
        note: Called for each message, with the bytes that it asks for.
        found: Grows.
    """

    route: str
    ledger: SqlLedger
    sender: LeavesMessages
    look_again: LookAtMissing
    note: Callable[[int], None]
    now: Callable[[], datetime]
    found: SentMissing = field(default_factory=SentMissing)

    def send(self, missing: Sequence[MissingObject]) -> None:
        """Look at them, and leave a message for each that is still missing."""
        looked_at = self.now()
        wanted = {one.target.uri: one for one in self._sendable(missing)}
        now = self.now()
        records = [self._record(one, now) for one in wanted.values()]
        free = self.ledger.reserve_sends(records, now, looked_at=looked_at)
        self.found.on_its_way += len(records) - len(free)
        self._send({one.uri: wanted[one.uri] for one in free})

    def _sendable(self, missing: Sequence[MissingObject]) -> Iterator[MissingObject]:
        """What is missing still, as it is now, and can be named in a message."""
        for one, again in zip(missing, self.look_again(missing), strict=True):
            source = None if again is None else again.row.source
            if again is not None and again.found is ObjectClass.IN_FLIGHT:
                self.found.on_its_way += 1
            elif again is None or source is None or again.found is not ObjectClass.MISSING:
                self.found.changed += 1
            else:
                try:
                    body_of(source.uri, one.target.parent.uri, Options())
                except PermanentError as error:
                    self.found.not_sent.append(NotSent(source=source, error=error))
                else:
                    yield replace(one, source=source, compared=again)

    def _record(self, one: MissingObject, now: datetime) -> SentObject:
        return SentObject(
            uri=one.target.uri,
            route=self.route,
            bucket=one.source.bucket,
            key=one.source.key,
            etag=one.source.etag,
            queue=self.sender.arn,
            sent_at=now,
        )

    def _send(self, free: Mapping[str, MissingObject]) -> None:
        """What was certainly not sent is free again, whatever happens."""
        done: dict[str, str | None] = {}
        rest = dict.fromkeys(free)
        try:
            for uri, one in free.items():
                del rest[uri]
                try:
                    done[uri] = self.sender.send(one.source.uri, one.target.parent.uri, Options())
                except PermanentError as error:
                    done[uri] = None
                    self.found.not_sent.append(NotSent(source=one.source, error=error))
                else:
                    self.found.sent += 1
                    self.note(one.source.size_bytes)
                if len(done) >= BATCH:
                    self.ledger.note_sent(done)
                    done = {}
        finally:
            # Of one whose answer was lost nothing is known: it stays as it is, and is free in a
            # while.
            self.ledger.note_sent({**done, **rest})
