"""Dead letters as people choose among them: by id, by filters, by what the ledger knows of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from backhaul.adapters.ledger import RetryCandidate, find_reader
from backhaul.app.prefixes import one_of
from backhaul.core.errors import BackhaulError, BadMessage, ConfigurationError
from backhaul.core.ports import Message
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.text import redacted

PREFIX = "backhaul."
OF_TRANSFER = f"{PREFIX}transfer"


@dataclass(frozen=True, kw_only=True)
class DeadLetterDetails:
    """One dead letter; texts are empty where SQS moved the message by itself.

    Attributes:
        attempts: None: unknown, as SQS moved it.
        sent_at: When it came to the dead-letter queue; of one that SQS moved, when it was sent to
            its first queue.
        route: Of its transfer, as the ledger has it; None: unknown. Likewise the two below.
    """

    message_id: str
    code: str
    reason: str
    hint: str
    attempts: int | None
    first_seen: str
    transfer_id: str
    host: str
    body: str
    sent_at: datetime | None = None
    route: str | None = None
    source: str | None = None
    destination: str | None = None


@dataclass(frozen=True, kw_only=True)
class LetterFilter:
    """What a dead letter must be; each condition that is given has to hold.

    Attributes:
        codes: One of these errors.
        since: Aware; it came to the dead-letter queue then or later. `until` is not included.
        source: Beginning of the transfer's source.
        destination: Its destination is this directory or below it. This, `source` and `route` are
            known from the ledger alone.
        message: Beginning of its id.
    """

    codes: tuple[str, ...] = ()
    route: str | None = None
    source: str | None = None
    destination: str | None = None
    message: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Every dead letter matches."""
        return self == LetterFilter()

    @property
    def needs_ledger(self) -> bool:
        """The dead letter itself does not say it."""
        return not (self.route is None and self.source is None and self.destination is None)

    def matches(self, one: DeadLetterDetails) -> bool:
        """Whether all conditions hold; what is unknown does not hold."""
        return (
            (not self.codes or one.code in self.codes)
            and self.route in {None, one.route}
            and _begins(one.source, self.source)
            and _is_within(one.destination, self.destination)
            and _begins(one.message_id, self.message)
            and (self.since is None or (one.sent_at is not None and one.sent_at >= self.since))
            and (self.until is None or (one.sent_at is not None and one.sent_at < self.until))
        )


def _begins(text: str | None, beginning: str | None) -> bool:
    return beginning is None or (text or "").startswith(beginning)


def _is_within(text: str | None, directory: str | None) -> bool:
    """This directory, or below it; a path is one on any file system, as for `history --dest`."""
    if directory is None:
        return True
    found = text or ""
    if directory.startswith("/") and (match := re.match(r"[a-z0-9]+://[^/]*", found)):
        found = found[match.end() :]
    wanted = directory.rstrip("/")
    return found.rstrip("/") == wanted or found.startswith(f"{wanted}/")


def details_of(message: Message) -> DeadLetterDetails:
    """From the attributes that the agent gave it, without secrets."""

    def attribute(name: str) -> str:
        return redacted(message.attributes.get(f"{PREFIX}{name}", ""))

    attempts = attribute("attempts")
    return DeadLetterDetails(
        message_id=message.message_id,
        code=attribute("code"),
        reason=attribute("reason"),
        hint=attribute("hint"),
        attempts=int(attempts) if attempts.isdecimal() else None,
        first_seen=attribute("first_seen"),
        transfer_id=attribute("transfer"),
        host=attribute("host"),
        body=redacted(message.body),
        sent_at=message.sent_at,
    )


def with_transfers(
    letters: Sequence[DeadLetterDetails], path: LedgerPlace | None, *, is_needed: bool
) -> list[DeadLetterDetails]:
    """With route, source and destination, as far as the ledger has their transfers.

    Args:
        path: Of the ledger; None: there is none.
        is_needed: A ledger that is missing or cannot be read is an error.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, and what else opening a ledger raises.
    """
    try:
        known = _transfers(path, {one.transfer_id for one in letters})
    except BackhaulError:
        if is_needed:
            raise
        known = {}
    if known is None:
        if is_needed:
            raise ConfigurationError(
                "E_LEDGER_MISSING",
                f"{path or 'the ledger'} does not exist: route, source and destination of a dead"
                " letter are in the ledger of its agent",
                hint="name it with --ledger FILE, or choose by --code, --since or ids",
            )
        known = {}
    return [_with_transfer(one, known.get(one.transfer_id)) for one in letters]


def _transfers(path: LedgerPlace | None, ids: Collection[str]) -> dict[str, RetryCandidate] | None:
    reader = None if path is None else find_reader(path)
    if reader is None:
        return None
    with closing(reader):
        return reader.candidates([one for one in ids if one])


def _with_transfer(one: DeadLetterDetails, known: RetryCandidate | None) -> DeadLetterDetails:
    if known is None:
        return one
    return replace(one, route=known.route, source=known.source, destination=known.destination)


def chosen(letters: Iterable[DeadLetterDetails], beginning: str, most: int) -> DeadLetterDetails:
    """The one whose id, or whose transfer's id, begins like this.

    Args:
        most: So many were read.

    Raises:
        BadMessage: E_DLQ_NOT_FOUND: there is none, or more than one.
    """
    names = {one.message_id: one for one in letters}
    by_transfer = {one.transfer_id: one for one in names.values() if one.transfer_id}
    found = one_of(beginning, {**by_transfer, **names})
    if len(found) == 1:
        return found[0]
    if not found:
        what, hint = f"none of the first {most} begins", "`backhaul dlq list` shows their ids"
        hint += "; another process may be reading them right now"
    else:
        what = f"{len(found)} dead letters begin"
        some = ", ".join(one.message_id for one in found[:5])
        hint = f"write more of the id: {some}" + (", ..." if len(found) > 5 else "")  # noqa: PLR2004
    raise BadMessage("E_DLQ_NOT_FOUND", f"{what} with {beginning!r}", hint=hint)
