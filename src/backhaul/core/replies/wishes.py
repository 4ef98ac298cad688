"""Which replies a transfer's targets get; the same for every ledger."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from backhaul.core.replies.reply import Reply, ReplyEvent, ReplyWish, reply_key


def wishes_text(wishes: Sequence[ReplyWish]) -> str | None:
    """As the ledger keeps them; None for none."""
    if not wishes:
        return None
    return json.dumps(
        [[one.target, sorted(one.events), one.held_after_s] for one in wishes],
        separators=(",", ":"),
    )


@lru_cache(256)  # the transfers of a route have the same ones
def wishes_of(text: str | None) -> tuple[ReplyWish, ...]:
    """The reverse of `wishes_text`.

    Raises:
        ValueError: It is something else.
    """
    if text is None:
        return ()
    try:
        return tuple(
            ReplyWish(
                target=target,
                events=frozenset(map(ReplyEvent, events)),
                held_after_s=None if held_after_s is None else float(held_after_s),
            )
            for target, events, held_after_s in json.loads(text)
        )
    except TypeError as error:
        raise ValueError(str(error)) from error


def wishes_again(
    now: Sequence[ReplyWish], during_hold: Sequence[ReplyWish]
) -> tuple[ReplyWish, ...]:
    """What a further attempt wants: as configured now, and who may have been told of its hold.

    Whoever was sent HELD is sent what became of it, also where the route names it no longer.

    Args:
        during_hold: Of the hold that was reported and is not over; none without one.
    """
    named = {one.target for one in now}
    told = (one for one in during_hold if ReplyEvent.HELD in one.events)
    return (*now, *(one for one in told if one.target not in named))


def replies_to(reply: Reply, wishes: Sequence[ReplyWish]) -> list[Reply]:
    """One for each target that wants replies about this event."""
    return [replace(reply, target=one.target) for one in wishes if reply.event in one.events]


def replies_at_end(
    reply: Reply, wishes: Sequence[ReplyWish], *, hold: int, has_held: Collection[str]
) -> list[Reply]:
    """The replies about a transfer's end, one for each target that wants it.

    Who was sent that it is held, and wants no word of this end, is sent that the hold is over.

    Args:
        reply: DONE or DEAD, of any target.
        hold: The number of the hold that was reported last.
        has_held: Targets that were sent HELD of it, and no RESUMED.
    """
    others = [one for one in wishes if reply.event not in one.events]
    over = replies_resumed(reply, others, hold=hold, has_held=has_held)
    return replies_to(reply, wishes) + over


def replies_resumed(
    reply: Reply, wishes: Sequence[ReplyWish], *, hold: int, has_held: Collection[str]
) -> list[Reply]:
    """The end of a hold, for those that were sent its beginning."""
    event = ReplyEvent.RESUMED
    over = replace(
        reply,
        key=reply_key(reply.transfer_id, reply.epoch, event, hold),
        event=event,
        code=None,
        reason=None,
        digest=None,
    )
    return replies_to(over, [one for one in wishes if one.target in has_held])


def wishes_held(
    wishes: Sequence[ReplyWish], held_since: datetime, now: datetime
) -> list[ReplyWish]:
    """Those that are to be sent HELD by now, unless they were."""
    held = now - held_since
    return [
        one
        for one in wishes
        if ReplyEvent.HELD in one.events
        and one.held_after_s is not None
        and held >= timedelta(seconds=one.held_after_s)
    ]


def reply_from(document: dict[str, Any], target: str) -> Reply:
    """The reverse of `Reply.document`.

    Raises:
        ValueError: A field is missing or wrong.
    """
    try:
        return Reply(
            key=str(document["key"]),
            target=target,
            event=ReplyEvent(document["event"]),
            at=datetime.fromisoformat(document["at"]),
            transfer_id=str(document["transfer"]),
            epoch=int(document["epoch"]),
            code=document["code"],
            reason=document["reason"],
            route=str(document["route"]),
            source=str(document["source"]),
            destination=str(document["destination"]),
            objects=document["objects"],
            size_bytes=document["bytes"],
            digest=document["digest"],
            message_id=document["message"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no reply: {error}") from error
