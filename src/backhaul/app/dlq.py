"""`backhaul dlq`: reading the dead-letter queue, and sending messages back from it.

SQS can only be read by receiving, which hides the messages. They are shown again when the reading
ends, and by themselves after `HIDDEN_S` if this process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass

from backhaul.adapters.aws.dead_letter import is_shortened
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.letters import (
    OF_TRANSFER,
    PREFIX,
    DeadLetterDetails,
    LetterFilter,
    chosen,
    details_of,
    with_transfers,
)
from backhaul.app.queues import ChosenQueue
from backhaul.core.errors import BadMessage, ConfigurationError, VisibilityLost
from backhaul.core.ports import Message, SentAgain
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.requests.signature import TICKET

HIDDEN_S = 60
POLL_WAIT_S = 1


@dataclass(frozen=True, kw_only=True)
class ReadLetters:
    """What was read from a dead-letter queue, and what of it matches.

    Attributes:
        read: How many dead letters were read.
        is_cut: So many were to be read at most: there may be more.
    """

    matching: list[DeadLetterDetails]
    read: int
    is_cut: bool


def read_dead_letters(queue: ChosenQueue, *, most: int) -> list[DeadLetterDetails]:
    """The dead letters of this queue, at most `most`; all stay on it.

    Raises:
        ConfigurationError: E_DLQ_NONE: the queue has no dead-letter queue.
    """
    _, dead = _open(queue)
    return [details_of(message) for message in _receive_all(dead, most, lambda _message: False)]


def find_dead_letters(
    queue: ChosenQueue,
    *,
    most: int,
    wanted: LetterFilter = LetterFilter(),  # noqa: B008 - a value that does not change
    ledger: LedgerPlace | None = None,
) -> ReadLetters:
    """The dead letters of this queue that match, oldest first; all stay on it.

    Args:
        most: So many are read.
        ledger: From which route, source and destination of their transfers are known.

    Raises:
        ConfigurationError: E_DLQ_NONE; E_LEDGER_MISSING and what else opening a ledger raises,
            where the filter needs it.
    """
    every = read_dead_letters(queue, most=most)
    known = with_transfers(every, ledger, is_needed=wanted.needs_ledger)
    return ReadLetters(
        matching=sorted(filter(wanted.matches, known), key=_by_time),
        read=len(every),
        is_cut=len(every) >= most,
    )


def _by_time(one: DeadLetterDetails) -> tuple[float, str]:
    return (one.sent_at.timestamp() if one.sent_at is not None else 0.0, one.message_id)


def read_dead_letter(
    queue: ChosenQueue, beginning: str, *, most: int, ledger: LedgerPlace | None = None
) -> DeadLetterDetails:
    """The dead letter whose id, or whose transfer's id, begins like this.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND.
    """
    every = find_dead_letters(queue, most=most, ledger=ledger)
    return chosen(every.matching, beginning, most)


def redrive(
    queue: ChosenQueue,
    message_ids: Collection[str] | None,
    *,
    most: int,
    sent: Callable[[SentAgain], None],
) -> int:
    """Send dead letters back to their queue, body unchanged, then delete them; returns how many.

    One that has only the beginning of its body is not sent, and stays. Die between the two steps
    and the dead letter is still there: the next redrive sends it once more, and the second transfer
    finds what the first one published.

    Args:
        message_ids: Whole ids; None: all.
        sent: Called for each, before its dead letter is deleted.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND; E_DLQ_SHORTENED, after all others were sent.
    """
    missing = set(message_ids or ())

    def is_wanted(message: Message) -> bool:
        is_one = message_ids is None or message.message_id in missing
        missing.discard(message.message_id)
        return is_one

    count, shortened = _send_all_back(queue, is_wanted, most=most, sent=sent)
    if shortened:
        raise BadMessage(
            "E_DLQ_SHORTENED",
            f"{count} sent; {len(shortened)} not, because only the beginning of the body is left:"
            f" {', '.join(one.message_id for one in shortened[:3])}",
            hint="`backhaul dlq show ID` shows why and how the body begins; send a new request",
        )
    if missing:
        raise _gone(missing)
    return count


def delete(
    queue: ChosenQueue,
    message_ids: Collection[str],
    *,
    most: int,
    deleted: Callable[[DeadLetterDetails], None],
) -> int:
    """Delete these dead letters for good, and no others; returns how many.

    Args:
        message_ids: Whole ids.
        deleted: Called for each, after it is deleted.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND, after all others were deleted.
    """
    _, dead = _open(queue)
    missing = set(message_ids)

    def take(message: Message) -> bool:
        if message.message_id not in missing:
            return False
        dead.delete(message)
        missing.discard(message.message_id)
        deleted(details_of(message))
        return True

    with closing(_receive_all(dead, most, take)) as letters:
        for _ in letters:
            if not missing:
                break
    if missing:
        raise _gone(missing)
    return len(set(message_ids))


def redrive_transfers(
    queue: ChosenQueue,
    transfer_ids: Collection[str],
    *,
    most: int,
    sent: Callable[[SentAgain], None],
) -> set[str]:
    """The same for the dead letters of these transfers; returns those of which too little is left.

    A transfer without a dead letter on the queue is passed over.

    Raises:
        ConfigurationError: E_DLQ_NONE.
    """
    missing = set(transfer_ids)

    def is_wanted(message: Message) -> bool:
        transfer_id = message.attributes.get(OF_TRANSFER, "")
        is_one = transfer_id in missing
        missing.discard(transfer_id)
        return is_one

    _, shortened = _send_all_back(
        queue, is_wanted, most=most, sent=sent, is_over=lambda: not missing
    )
    return {one.attributes[OF_TRANSFER] for one in shortened}


def _send_all_back(
    queue: ChosenQueue,
    is_wanted: Callable[[Message], bool],
    *,
    most: int,
    sent: Callable[[SentAgain], None],
    is_over: Callable[[], bool] = lambda: False,
) -> tuple[int, list[Message]]:
    """How many were sent, and those of which only the beginning is left.

    Args:
        is_over: No further dead letter needs to be read.
    """
    source, dead = _open(queue)
    shortened: list[Message] = []
    count = 0

    def take(message: Message) -> bool:
        nonlocal count
        if not is_wanted(message):
            return False
        if is_shortened(message.body):
            shortened.append(message)
            return False
        sent(
            SentAgain(
                dead_letter_id=message.message_id,
                transfer_id=message.attributes.get(OF_TRANSFER, ""),
                message_id=_send_back(source, message),
            )
        )
        dead.delete(message)
        count += 1
        return True

    with closing(_receive_all(dead, most, take)) as letters:
        for _ in letters:
            if is_over():
                break
    return count, shortened


def _send_back(source: SqsQueue, message: Message) -> str:
    own = {
        name: value
        for name, value in message.attributes.items()
        if name == TICKET or not name.startswith(PREFIX)
    }
    # Into its own group. On a FIFO queue SQS drops what is sent twice within five minutes.
    return source.send(
        message.body, own, group=message.group, deduplication=f"redriven-{message.message_id}"
    )


def _open(queue: ChosenQueue) -> tuple[SqsQueue, SqsQueue]:
    aws = queue.session(hadoop_conf_dir())
    source = SqsQueue.open(queue.text, queue.region, aws, SystemClock(), owner=queue.owner)
    url = source.facts.dead_letter_url
    if url is None:
        raise ConfigurationError(
            "E_DLQ_NONE",
            f"queue {source.facts.name} has no dead-letter queue",
            hint="give it a redrive policy; the quick start shows how",
        )
    dead = SqsQueue.for_sending(url, queue.region, aws, SystemClock(), endpoint=source.endpoint)
    return source, dead


def _receive_all(
    dead: SqsQueue, most: int, take: Callable[[Message], bool]
) -> Generator[Message, None, None]:
    """Every dead letter once; at the end those that `take` refused are shown again."""
    hidden: dict[str, Message] = {}
    seen = 0
    try:
        while seen < most:
            found = dead.receive(
                max_messages=min(10, most - seen), wait_s=POLL_WAIT_S, visibility_timeout_s=HIDDEN_S
            )
            fresh = [one for one in found if one.message_id not in hidden]
            hidden.update((one.message_id, one) for one in found)
            if not fresh:
                return
            seen += len(fresh)
            for message in fresh:
                if take(message):
                    del hidden[message.message_id]
                yield message
    finally:
        for message in hidden.values():
            try:
                dead.extend(message, 0)
            except VisibilityLost:
                continue  # it is visible already


def _gone(missing: Collection[str]) -> BadMessage:
    return BadMessage(
        "E_DLQ_NOT_FOUND",
        f"{len(missing)} not found on the dead-letter queue any more: {min(missing)}",
        hint="another process may have taken it, or read it right now: list them again",
    )
