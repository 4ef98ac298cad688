"""`backhaul retry`: which dead transfers can be sent again, and why the others cannot.

Read from the ledger alone; sending them is an act of `actions`. A transfer is worked on again by a
new message: the body of its dead letter, back on its queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from shlex import quote

from backhaul.adapters.ledger import LedgerReader, RetryCandidate, open_reader
from backhaul.adapters.ledger.attempts import ADOPT_QUEUE, COPY_QUEUE
from backhaul.app.ids import by_place
from backhaul.core.errors import BadArgument
from backhaul.core.model import TransferState
from backhaul.core.ports import Settlement
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.requests.queue_names import QueueName, parse_queue
from backhaul.core.text import printable

CANCELLED = "E_CANCELLED"


@dataclass(frozen=True, kw_only=True)
class NotRetried:
    """A transfer that is not sent again.

    Attributes:
        hint: What to do instead; empty where nothing is to be done.
        is_copy: It is no message's, so no message can be sent again.
    """

    id: str
    why: str
    hint: str = ""
    is_copy: bool = False


@dataclass(frozen=True, kw_only=True)
class RetryPlan:
    """What `retry` would do.

    Attributes:
        dead: Those that are sent again, the newest first.
        is_cut: More match than are taken at once.
    """

    dead: tuple[RetryCandidate, ...]
    refused: tuple[NotRetried, ...]
    is_cut: bool = False

    @property
    def objects(self) -> int:
        """As far as they were listed before they died."""
        return sum(one.objects_planned for one in self.dead)

    @property
    def size_bytes(self) -> int:
        """Likewise."""
        return sum(one.bytes_planned for one in self.dead)

    def by_queue(self) -> dict[QueueName, list[RetryCandidate]]:
        """Their queues, with the transfers of each."""
        found: dict[QueueName, list[RetryCandidate]] = defaultdict(list)
        for one in self.dead:
            found[parse_queue(one.queue or "")].append(one)
        return found


def plan_by_ids(path: LedgerPlace, id_prefixes: Sequence[str]) -> RetryPlan:
    """The transfers whose ids begin like this.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
    """
    names = [by_place(path, one) for one in id_prefixes]
    with closing(open_reader(path)) as reader:
        every = {one.id: one for one in map(reader.candidate, names)}
    return _plan(every.values())


def plan_by_filters(
    path: LedgerPlace,
    *,
    code: str | None = None,
    route: str | None = None,
    since: datetime | None = None,
    most: int,
) -> RetryPlan:
    """Dead transfers that are not settled; what was cancelled only by its own code.

    Args:
        since: Only those that died at or after it.
        most: The newest ones, so many.
    """
    with closing(open_reader(path)) as reader:
        found = _matching(reader, code, route, since, most + 1)
    plan = _plan(found[:most])
    return RetryPlan(dead=plan.dead, refused=plan.refused, is_cut=len(found) > most)


def _matching(
    reader: LedgerReader, code: str | None, route: str | None, since: datetime | None, most: int
) -> list[RetryCandidate]:
    found: list[RetryCandidate] = []
    for page in reader.open_deaths(since):
        for one in page:
            is_wanted = one.code == code if code is not None else one.code != CANCELLED
            if is_wanted and route in {None, one.route}:
                found.append(one)
        if len(found) >= most:
            break
    return found[:most]


def _plan(every: Collection[RetryCandidate]) -> RetryPlan:
    refused = {one.id: refusal for one in every if (refusal := _refusal(one)) is not None}
    return RetryPlan(
        dead=tuple(one for one in every if one.id not in refused),
        refused=tuple(refused.values()),
    )


def _refusal(one: RetryCandidate) -> NotRetried | None:
    """Why this transfer cannot be sent again; None: it can."""
    shown = f"backhaul show {one.id}"
    if one.state in {TransferState.DONE, TransferState.SUPERSEDED}:
        return NotRetried(id=one.id, why=f"it is {one.state}: nothing is left to do")
    if one.state is not TransferState.DEAD:
        why = f"it is {one.state}, and is tried again by itself"
        return NotRetried(id=one.id, why=why, hint=shown)
    if one.sent_again_as is not None:
        why = f"it was sent again at {one.sent_again_at:%Y-%m-%d %H:%M:%S} UTC"
        return NotRetried(id=one.id, why=f"{why} as message {one.sent_again_as}", hint=shown)
    if one.settled_transfer is not None:
        why = f"transfer {one.settled_transfer} brought the same: nothing is left to do"
        return NotRetried(id=one.id, why=why, hint=shown)
    if one.queue == ADOPT_QUEUE:
        words = f"backhaul reconcile {_word(one.route or 'ROUTE')} --adopt"
        return NotRetried(id=one.id, why="it was to prove what is there, not to copy", hint=words)
    if one.queue in {None, COPY_QUEUE}:
        words = f"backhaul copy {_word(one.source)} {_word(one.destination)}"
        why = "no message requested it: it was a copy"
        return NotRetried(id=one.id, why=why, hint=words, is_copy=True)
    if not _is_queue(one.queue):
        why = f"its queue {printable(one.queue or '', 200)} cannot be called by that name"
        return NotRetried(id=one.id, why=why, hint="backhaul dlq redrive QUEUE REGION ID")
    if one.settled_how == Settlement.DELETED:
        return NotRetried(id=one.id, why="its dead letter was deleted", hint=_send_again(one))
    if not one.has_letter:
        return NotRetried(
            id=one.id,
            why="it has no dead letter: its message is still on the queue, hidden",
            hint="give the queue a dead-letter queue, if it has none; the letter is sent when"
            " SQS delivers the message again, within 12 hours; then retry",
        )
    return None


def not_on_the_queue(one: RetryCandidate, *, is_shortened: bool) -> NotRetried:
    """Of a transfer whose dead letter was not found, or is of no use."""
    again = _send_again(one)
    if is_shortened:
        return NotRetried(id=one.id, why="only the beginning of its body is left", hint=again)
    return NotRetried(
        id=one.id,
        why="its dead letter is not on the dead-letter queue: it expired, went back by other means,"
        " or another process reads it right now",
        hint=again,
    )


def _send_again(one: RetryCandidate) -> str:
    named = parse_queue(one.queue or "")
    words = f"{named.name} {named.region} {_word(one.source)} {_word(one.destination)}"
    return f"send a new request: backhaul send {words}"


def _is_queue(text: str | None) -> bool:
    try:
        return parse_queue(text or "").region is not None
    except BadArgument:
        return False


def _word(text: str) -> str:
    return quote(printable(text, 2000))
