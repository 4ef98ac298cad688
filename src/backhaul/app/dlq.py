"""`backhaul dlq`: reading the dead-letter queue, and sending messages back from it.

SQS can only be read by receiving, which hides the messages. They are shown again when the reading
ends, and by themselves after `HIDDEN_S` if this process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.dead_letter import is_shortened
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.errors import BadMessage, ConfigurationError, VisibilityLost
from backhaul.core.ports import Message, SentAgain
from backhaul.core.requests.signature import TICKET
from backhaul.core.text import redacted

HIDDEN_S = 60
POLL_WAIT_S = 1
PREFIX = "backhaul."
OF_TRANSFER = f"{PREFIX}transfer"


@dataclass(frozen=True, kw_only=True)
class DeadLetterDetails:
    """One dead letter; texts are empty where SQS moved the message by itself."""

    message_id: str
    code: str
    reason: str
    hint: str
    attempts: str
    first_seen: str
    transfer_id: str
    host: str
    body: str


def read_dead_letters(queue: str, region: str, *, most: int) -> list[DeadLetterDetails]:
    """The dead letters of this queue, at most `most`; all stay on it.

    Raises:
        ConfigurationError: E_DLQ_NONE: the queue has no dead-letter queue.
    """
    _, dead = _open(queue, region)
    return [_details(message) for message in _receive_all(dead, most, lambda _message: False)]


def read_dead_letter(queue: str, region: str, message_id: str, *, most: int) -> DeadLetterDetails:
    """The dead letter whose id begins with `message_id`.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND.
    """
    every = read_dead_letters(queue, region, most=most)
    found = [one for one in every if one.message_id.startswith(message_id)]
    if len(found) != 1:
        raise _not_found(message_id, len(found), most)
    return found[0]


def redrive(
    queue: str,
    region: str,
    message_ids: tuple[str, ...],
    *,
    most: int,
    sent: Callable[[SentAgain], None],
) -> int:
    """Send dead letters back to their queue, body unchanged, then delete them; returns how many.

    One that has only the beginning of its body is not sent, and stays. Die between the two steps
    and the dead letter is still there: the next redrive sends it once more, and the second transfer
    finds what the first one published.

    Args:
        message_ids: Beginnings of ids; empty: all.
        sent: Called for each, before its dead letter is deleted.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND; E_DLQ_SHORTENED, after all others were sent.
    """
    missing = set(message_ids)

    def is_wanted(message: Message) -> bool:
        matching = {one for one in message_ids if message.message_id.startswith(one)}
        missing.difference_update(matching)
        return bool(matching) or not message_ids

    count, shortened = _send_all_back(queue, region, is_wanted, most=most, sent=sent)
    if shortened:
        raise BadMessage(
            "E_DLQ_SHORTENED",
            f"{count} sent; {len(shortened)} not, because only the beginning of the body is left:"
            f" {', '.join(one.message_id for one in shortened[:3])}",
            hint="`backhaul dlq show ID` shows why and how the body begins; send a new request",
        )
    if missing:
        raise _not_found(min(missing), 0, most)
    return count


def redrive_transfers(
    queue: str,
    region: str,
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
        queue, region, is_wanted, most=most, sent=sent, is_over=lambda: not missing
    )
    return {one.attributes[OF_TRANSFER] for one in shortened}


def _send_all_back(
    queue: str,
    region: str,
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
    source, dead = _open(queue, region)
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


def _open(queue: str, region: str) -> tuple[SqsQueue, SqsQueue]:
    aws = AwsSession(region, S3aConfiguration.loader(hadoop_conf_dir()))
    source = SqsQueue.open(queue, region, aws, SystemClock())
    url = source.facts.dead_letter_url
    if url is None:
        raise ConfigurationError(
            "E_DLQ_NONE",
            f"queue {source.facts.name} has no dead-letter queue",
            hint="give it a redrive policy; the quick start shows how",
        )
    dead = SqsQueue.for_sending(url, region, aws, SystemClock(), endpoint=source.endpoint)
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


def _details(message: Message) -> DeadLetterDetails:
    def attribute(name: str) -> str:
        return redacted(message.attributes.get(f"{PREFIX}{name}", ""))

    return DeadLetterDetails(
        message_id=message.message_id,
        code=attribute("code"),
        reason=attribute("reason"),
        hint=attribute("hint"),
        attempts=attribute("attempts"),
        first_seen=attribute("first_seen"),
        transfer_id=attribute("transfer"),
        host=attribute("host"),
        body=redacted(message.body),
    )


def _not_found(message_id: str, found: int, most: int) -> BadMessage:
    how_many = "several dead letters begin" if found else f"none of the first {most} begins"
    return BadMessage(
        "E_DLQ_NOT_FOUND",
        f"{how_many} with {message_id!r}",
        hint="`backhaul dlq list` shows their ids; another process may be reading them right now",
    )
