"""What operators do, by command or by the dashboard; each act leaves a line in their journal.

An act that changes the ledger has its line in the same transaction. Of an act elsewhere (on a
queue, in the file of the limit) the line is written after it: where the ledger does not take it,
`warn` is called, and the act stays done. An act that fails leaves a line with its error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from backhaul.adapters.ledger import RetryCandidate, SqlLedger, find_reader, open_ledger
from backhaul.adapters.system.clock import SystemClock, host_name
from backhaul.adapters.system.operator_name import operator_name
from backhaul.app import dlq
from backhaul.app.context import Context
from backhaul.app.letters import DeadLetterDetails
from backhaul.app.limit import write_limit
from backhaul.app.ports import make_cluster
from backhaul.app.queues import ChosenQueue
from backhaul.app.records import read_transfer
from backhaul.app.unknown_route import unknown_route
from backhaul.core.errors import BackhaulError
from backhaul.core.ports import Act, Operator, OperatorEntry, PausedRoute, SentAgain
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.rate_limit import ManualLimit
from backhaul.core.transfer.cluster.engine_choice import no_cluster
from backhaul.core.transfer.cluster.jobs import end_job
from backhaul.settings.model import Settings

NOTE_WAIT_S = 5.0  # for the ledger's lock: the act itself is done
NAMED_MOST = 5  # ids in a line of the journal

Warn = Callable[[BackhaulError], None]
_Letter = TypeVar("_Letter")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PauseChange:
    """What `pause` and `resume` did.

    Attributes:
        before: The pause that was in force; None: the route was not paused.
        now: Likewise, afterwards.
    """

    route: str
    before: PausedRoute | None
    now: PausedRoute | None


def person() -> Operator:
    """Who typed the command."""
    return Operator(name=operator_name())


# ---------------------------------------------------------------- in the ledger


def cancel(context: Context, by: Operator, id_prefix: str, *, warn: Warn) -> str:
    """End a transfer for good, even while an agent runs it; returns its id.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER, E_ENDED.
        LedgerLocked: E_PUBLISHING.
        OutageError: The ledger; or YARN: it is cancelled, and its application may go on.
    """
    path = context.settings.ledger_place
    transfer_id = read_transfer(path, id_prefix).transfer.id
    clock = SystemClock()
    with failures_noted(path, by, Act.CANCEL, transfer_id, warn), _opened(path) as ledger:
        jobs = ledger.cancel(transfer_id, clock.now(), by)
        cluster = make_cluster(context, require=ledger.standing.require)
        for job in jobs:
            if cluster is None:
                raise no_cluster()
            end_job(cluster, ledger, clock, job)
    return transfer_id


def pause(
    settings: Settings,
    by: Operator,
    route: str,
    *,
    lasting: timedelta | None = None,
    reason: str = "",
    warn: Warn,
) -> PauseChange:
    """Let no further transfer of the route begin; agents comply within some seconds.

    Args:
        settings: With `ledger`, and `route` as far as it is readable.
        lasting: None: until it is resumed.

    Raises:
        BadArgument: E_ROUTE_UNKNOWN.
        ConfigurationError, OutageError: The ledger.
    """
    path, now = settings.ledger_place, datetime.now(UTC)
    with failures_noted(path, by, Act.PAUSE, route, warn):
        _require_route(settings, route)
        paused = PausedRoute(
            route=route,
            since=now,
            until=None if lasting is None else now + lasting,
            operator=by.name,
            reason=reason,
        )
        with _opened(path) as ledger:
            return PauseChange(route=route, before=ledger.pause_route(paused, by), now=paused)


def resume(settings: Settings, by: Operator, route: str, *, warn: Warn) -> PauseChange:
    """Let transfers of the route begin again.

    Raises:
        BadArgument: E_ROUTE_UNKNOWN: of no route that is paused, configured or in the ledger.
        ConfigurationError, OutageError: The ledger.
    """
    path, now = settings.ledger_place, datetime.now(UTC)
    with failures_noted(path, by, Act.RESUME, route, warn):
        _require_route(settings, route)
        with _opened(path) as ledger:
            return PauseChange(route=route, before=ledger.resume_route(route, now, by), now=None)


def routes_of(settings: Settings) -> list[str]:
    """Of the configuration, and those that the ledger had within a month, by name.

    Args:
        settings: With `ledger`, and `route` as far as it is readable.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    known = {one.name for one in settings.route}
    reader = find_reader(settings.ledger_place)
    if reader is not None:
        with closing(reader):
            known |= set(reader.known_routes(datetime.now(UTC)))
    return sorted(known)


def paused_of(settings: Settings) -> list[str]:
    """Routes whose pause is in force.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    reader = find_reader(settings.ledger_place)
    if reader is None:
        return []
    with closing(reader):
        return [one.route for one in reader.paused_routes(datetime.now(UTC))]


def _require_route(settings: Settings, route: str) -> None:
    known = routes_of(settings)
    if route not in known:
        raise unknown_route(route, known, where="in the configuration or in the ledger")


# ---------------------------------------------------------------- elsewhere


def set_limit(settings: Settings, by: Operator, manual: ManualLimit | None, *, warn: Warn) -> None:
    """Limit reading from S3 by hand, or return to the configuration: as `write_limit`.

    Raises:
        ConfigurationError, OutageError: As there.
    """
    path, subject = settings.ledger_place, _limit(manual)
    with failures_noted(path, by, Act.LIMIT, subject, warn):
        write_limit(settings, manual)
    now = datetime.now(UTC)
    _note(path, OperatorEntry(at=now, by=by, act=Act.LIMIT, subject=subject), warn)


def _limit(manual: ManualLimit | None) -> str:
    if manual is None:
        return "as configured"
    rate = "off" if manual.bytes_per_s is None else f"{manual.bytes_per_s / 1e6:,.3f} MB/s"
    return rate if manual.until is None else f"{rate} until {manual.until:%Y-%m-%d %H:%M:%S} UTC"


def redrive(
    path: LedgerPlace | None,
    by: Operator,
    queue: ChosenQueue,
    message_ids: Collection[str] | None,
    *,
    most: int,
    sent: Callable[[SentAgain], None],
    warn: Warn,
) -> int:
    """Send dead letters back to their queue; returns how many. See `app.dlq.redrive`.

    Args:
        path: Of the ledger; without one no line is written.
    """
    with _sending_noted(path, by, Act.REDRIVE, queue.label, sent, warn) as note:
        return dlq.redrive(queue, message_ids, most=most, sent=note)


def delete_dead_letters(
    path: LedgerPlace | None,
    by: Operator,
    queue: ChosenQueue,
    message_ids: Collection[str],
    *,
    most: int,
    deleted: Callable[[DeadLetterDetails], None],
    warn: Warn,
) -> int:
    """Delete dead letters for good; returns how many. See `app.dlq.delete`.

    Args:
        path: Of the ledger; without one no line is written, and no transfer is settled.
    """

    def write(entry: OperatorEntry, every: Sequence[DeadLetterDetails]) -> None:
        _note(path, entry, warn, deleted=[one.transfer_id for one in every if one.transfer_id])

    with _letters_noted(by, Act.DELETE, queue.label, deleted, _subject_of, write) as note:
        return dlq.delete(queue, message_ids, most=most, deleted=note)


def _subject_of(letter: DeadLetterDetails) -> str:
    return letter.transfer_id or letter.message_id


def retry(
    path: LedgerPlace,
    by: Operator,
    queue: ChosenQueue,
    dead: Sequence[RetryCandidate],
    *,
    most: int,
    sent: Callable[[SentAgain], None],
    warn: Warn,
) -> set[str]:
    """Send the dead letters of these transfers back to their queue.

    Returns:
        Ids of transfers whose dead letter has only the beginning of its body left, and stays.
        Those without one on the queue are neither among them nor `sent`.

    Raises:
        ConfigurationError: E_DLQ_NONE, E_QUEUE_NOT_FOUND and what else opening a queue raises.
    """
    ids = {one.id for one in dead}
    with _sending_noted(path, by, Act.RETRY, queue.label, sent, warn) as note:
        return dlq.redrive_transfers(queue, ids, most=most, sent=note)


def _sending_noted(
    path: LedgerPlace | None,
    by: Operator,
    act: Act,
    queue: str,
    sent: Callable[[SentAgain], None],
    warn: Warn,
) -> AbstractContextManager[Callable[[SentAgain], None]]:
    def write(entry: OperatorEntry, every: Sequence[SentAgain]) -> None:
        _note(path, entry, warn, every)

    return _letters_noted(
        by, act, queue, sent, lambda one: one.transfer_id or one.dead_letter_id, write
    )


@contextmanager
def _letters_noted(
    by: Operator,
    act: Act,
    queue: str,
    taken: Callable[[_Letter], None],
    subject_of: Callable[[_Letter], str],
    write: Callable[[OperatorEntry, Sequence[_Letter]], None],
) -> Iterator[Callable[[_Letter], None]]:
    """One line for all dead letters that were taken, also where it was broken off."""
    every: list[_Letter] = []

    def note(one: _Letter) -> None:
        every.append(one)  # it has gone, whatever becomes of the line on the screen
        taken(one)

    outcome = "interrupted"
    try:
        yield note
        outcome = "done"
    except BackhaulError as error:
        outcome = f"{error.code}: {error.message}"
        raise
    finally:
        names = list(map(subject_of, every))
        entry = OperatorEntry(
            at=datetime.now(UTC),
            by=by,
            act=act,
            subject=f"{queue}: {_shortened(names)}" if names else queue,
            transfers=len(every),
            outcome=outcome,
        )
        write(entry, every)


@contextmanager
def noted_sends(
    path: LedgerPlace, by: Operator, act: Act, subject: str, warn: Warn
) -> Iterator[Callable[[int], None]]:
    """One line for all messages that are sent in the block, also where it is broken off.

    Yields:
        To be called for each message, with the bytes that it asks for.
    """
    sizes: list[int] = []
    outcome = "interrupted"
    try:
        yield sizes.append
        outcome = "done"
    except BackhaulError as error:
        outcome = f"{error.code}: {error.message}"
        raise
    finally:
        entry = OperatorEntry(
            at=datetime.now(UTC),
            by=by,
            act=act,
            subject=subject,
            transfers=len(sizes),
            size_bytes=sum(sizes),
            outcome=outcome,
        )
        _note(path, entry, warn)


@contextmanager
def noted_act(
    path: LedgerPlace, by: Operator, act: Act, subject: str, warn: Warn
) -> Iterator[Callable[[int, int], None]]:
    """One line for what is done in the block, also where it fails or is broken off.

    Yields:
        To be called with the transfers and bytes that it was about.
    """
    transfers = size_bytes = 0
    outcome = "interrupted"

    def note(of_transfers: int, of_bytes: int) -> None:
        nonlocal transfers, size_bytes
        transfers, size_bytes = of_transfers, of_bytes

    try:
        yield note
        outcome = "done"
    except BackhaulError as error:
        outcome = f"{error.code}: {error.message}"
        raise
    finally:
        now = datetime.now(UTC)
        entry = OperatorEntry(at=now, by=by, act=act, subject=subject, outcome=outcome)
        _note(path, replace(entry, transfers=transfers, size_bytes=size_bytes), warn)


def _shortened(names: Collection[str]) -> str:
    first = " ".join(list(names)[:NAMED_MOST])
    more = len(names) - NAMED_MOST
    return f"{first} and {more} more" if more > 0 else first


# ---------------------------------------------------------------- the journal


@contextmanager
def _opened(path: LedgerPlace) -> Iterator[SqlLedger]:
    with closing(open_ledger(path, create=False, host=host_name())) as ledger:
        yield ledger


@contextmanager
def failures_noted(
    path: LedgerPlace | None, by: Operator, act: Act, subject: str, warn: Warn
) -> Iterator[None]:
    """A line for an act that fails; the error goes on."""
    try:
        yield
    except BackhaulError as error:
        if not error.code.startswith("E_LEDGER_"):  # it would take no line either
            now, outcome = datetime.now(UTC), f"{error.code}: {error.message}"
            entry = OperatorEntry(at=now, by=by, act=act, subject=subject, outcome=outcome)
            _note(path, entry, warn)
        raise


def noted_result(
    path: LedgerPlace | None,
    by: Operator,
    act: Act,
    what: str,
    do: Callable[[], T],
    named: Callable[[T], str],
    warn: Warn,
) -> T:
    """Do it, with one line: `what`, and the name of its result; or why it failed.

    Args:
        path: The ledger; None: there is no journal.
    """
    with failures_noted(path, by, act, what, warn):
        done = do()
    now, subject = datetime.now(UTC), f"{what} {named(done)}"
    _note(path, OperatorEntry(at=now, by=by, act=act, subject=subject), warn)
    return done


def _note(
    path: LedgerPlace | None,
    entry: OperatorEntry,
    warn: Warn,
    sent_again: Sequence[SentAgain] = (),
    *,
    deleted: Sequence[str] = (),
) -> None:
    """Write the line where there is a ledger; an older one is left to its agent to migrate."""
    if path is None:
        return
    try:
        ledger = open_ledger(
            path, create=False, host=host_name(), busy_timeout_s=NOTE_WAIT_S, migrates=False
        )
        with closing(ledger):
            ledger.note_act(entry, sent_again, deleted=deleted)
    except BackhaulError as error:
        if error.code != "E_LEDGER_MISSING":
            warn(
                type(error)(
                    error.code,
                    f"no line in the operators' journal: {error.message}",
                    hint=error.hint,
                )
            )
