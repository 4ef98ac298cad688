"""`backhaul dlq`, put together: what stands on the dead-letter queue, and sending it back.

SQS can only be read by receiving, so looking hides the letters for a moment; they are shown again
at once, and by themselves after `LOOK_S` if this process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.dead_letter import is_shortened
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.hadoop.configuration.properties import hadoop_conf_dir
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.errors import BadMessage, ConfigurationError, VisibilityLost
from backhaul.core.ports import Message
from backhaul.core.requests.signature import TICKET
from backhaul.core.text import redacted

LOOK_S = 60
LOOK_WAIT_S = 1
PREFIX = "backhaul."


@dataclass(frozen=True, kw_only=True)
class Letter:
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


def read_letters(queue: str, region: str, *, most: int) -> list[Letter]:
    """The dead letters of this queue, as many as `most`; all stay where they are.

    Raises:
        ConfigurationError: E_DLQ_NONE: the queue has no dead-letter queue.
    """
    _, dead = _open(queue, region)
    return [_letter(message) for message in _look(dead, most, lambda _message: False)]


def read_letter(queue: str, region: str, message_id: str, *, most: int) -> Letter:
    """The letter whose id begins so.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND.
    """
    found = [one for one in read_letters(queue, region, most=most) if _is(one, message_id)]
    if len(found) != 1:
        raise _not_found(message_id, len(found), most)
    return found[0]


def redrive(
    queue: str, region: str, message_ids: tuple[str, ...], *, most: int, told: Callable[[str], None]
) -> int:
    """Send letters back to their queue, each body unchanged, then delete them; how many.

    What stands for a body that SQS did not take again stays: it is none to be sent. Die in between
    and the letter is still there: the next redrive sends it once more, and the
    second transfer finds what the first one published.

    Args:
        message_ids: Beginnings of ids; empty: all.
        told: Called with the new message's id for each.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND; E_DLQ_SHORTENED, after all others were sent.
    """
    source, dead = _open(queue, region)
    missing = set(message_ids)
    shortened: list[str] = []
    sent = 0

    def take(message: Message) -> bool:
        nonlocal sent
        matching = {one for one in message_ids if message.message_id.startswith(one)}
        if message_ids and not matching:
            return False
        missing.difference_update(matching)
        if is_shortened(message.body):
            shortened.append(message.message_id)
            return False
        own = {
            name: value
            for name, value in message.attributes.items()
            if name == TICKET or not name.startswith(PREFIX)
        }
        # In its own group again. On a FIFO queue SQS drops what is sent twice within five minutes.
        told(
            source.send(
                message.body,
                own,
                group=message.group,
                deduplication=f"redriven-{message.message_id}",
            )
        )
        dead.delete(message)
        sent += 1
        return True

    for _ in _look(dead, most, take):
        pass
    if shortened:
        raise BadMessage(
            "E_DLQ_SHORTENED",
            f"{sent} sent; {len(shortened)} not, of whose bodies only the beginning is left:"
            f" {', '.join(shortened[:3])}",
            hint="`backhaul dlq show ID` shows why and how the body begins; send a new request",
        )
    if missing:
        raise _not_found(min(missing), 0, most)
    return sent


def _open(queue: str, region: str) -> tuple[SqsQueue, SqsQueue]:
    aws = AwsSession(region, hadoop_conf_dir())
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


def _look(dead: SqsQueue, most: int, take: Callable[[Message], bool]) -> Iterator[Message]:
    """Every letter once; those that `take` did not take are shown again at the end."""
    kept: dict[str, Message] = {}
    seen = 0
    try:
        while seen < most:
            found = dead.receive(
                max_messages=min(10, most - seen), wait_s=LOOK_WAIT_S, visibility_timeout_s=LOOK_S
            )
            fresh = [one for one in found if one.message_id not in kept]
            kept.update((one.message_id, one) for one in found)
            if not fresh:
                return
            seen += len(fresh)
            for message in fresh:
                if take(message):
                    del kept[message.message_id]
                yield message
    finally:
        for message in kept.values():
            try:
                dead.extend(message, 0)
            except VisibilityLost:
                continue  # it is visible already, which is all that was wanted


def _letter(message: Message) -> Letter:
    def told(name: str) -> str:
        return redacted(message.attributes.get(f"{PREFIX}{name}", ""))

    return Letter(
        message_id=message.message_id,
        code=told("code"),
        reason=told("reason"),
        hint=told("hint"),
        attempts=told("attempts"),
        first_seen=told("first_seen"),
        transfer_id=told("transfer"),
        host=told("host"),
        body=redacted(message.body),
    )


def _is(letter: Letter, message_id: str) -> bool:
    return letter.message_id.startswith(message_id)


def _not_found(message_id: str, found: int, most: int) -> BadMessage:
    how_many = "several dead letters begin" if found else f"none of the first {most} begins"
    return BadMessage(
        "E_DLQ_NOT_FOUND",
        f"{how_many} with {message_id!r}",
        hint="`backhaul dlq list` shows their ids; somebody else may be reading them right now",
    )
