"""`backhaul dlq`: list, show, redrive and delete dead letters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.filters import (
    code_option,
    dest_option,
    limit_option,
    list_options,
    message_option,
    route_option,
    since_option,
    source_option,
    together,
    until_option,
)
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import (
    Files,
    WholeSentences,
    counted,
    files_options,
    json_lines_option,
    json_option,
    print_json,
    warn,
)
from backhaul.cli.queue_arguments import queue_arguments
from backhaul.core.errors import ConfigurationError
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.text import printable, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from backhaul.app.dlq import ReadLetters
    from backhaul.app.letters import DeadLetterDetails, LetterFilter
    from backhaul.core.ports import SentAgain

MOST = 1000
MOST_SHOWN = 4096  # characters of a line
PREVIEW_MOST = 20
_limit = limit_option(MOST, "Read at most this many dead letters.")


def _filters(command: Callable[..., Any]) -> Any:
    """The command takes them as `wanted`."""
    from functools import wraps

    names = ("codes", "route", "source", "destination", "message", "since", "until")

    @wraps(command)
    def call(**given: Any) -> Any:
        from backhaul.app.letters import LetterFilter

        wanted = LetterFilter(**{name: given.pop(name) for name in names})
        return command(wanted=wanted, **given)

    since = since_option("Only what came to the dead-letter queue since then")
    options = (source_option, dest_option, message_option, since, until_option)
    return together(code_option, route_option, *options)(call)


# What `redrive` and `delete` take: which dead letters, and how sure it is.
_choosing = together(
    queue_arguments,
    click.argument("message_ids", metavar="[ID]...", nargs=-1),
    click.option("--all", "is_all", is_flag=True, help="Every dead letter."),
    _filters,
    click.option("--dry-run", is_flag=True, help="Only show which they are."),
    click.option("--yes", is_flag=True, help="Without confirmation."),
    _limit,
    json_lines_option,
    files_options,
)


@click.group("dlq", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    r"""List, show, redrive and delete the dead letters of QUEUE in REGION.

    \b
    Example:
      backhaul dlq list my-queue us-west-2
      backhaul dlq redrive my-queue us-west-2 --code E_DST_DENIED
    """


@command.command("list")
@queue_arguments
@_filters
@list_options(_limit)
def list_dead_letters(
    *,
    queue: str,
    region: str,
    wanted: LetterFilter,
    limit: int,
    reverse: bool,
    output: Output,
    quiet: bool,
    files: Files,
) -> int:
    r"""List the dead letters, oldest first: id, code, attempts and reason. Changes nothing.

    \b
    Example:
      backhaul dlq list my-queue us-west-2 --code E_DST_DENIED --since 2d

    Route, source and destination are known where this node has the agent's ledger.
    """
    found = _read(queue, region, wanted, limit, files)
    letters = found.matching[::-1] if reverse else found.matching
    print_rows(letters, _columns(), output, letter_as_json, has_pipe_header=False)
    if not quiet:
        _note(found, wanted)
    return 0


@command.command("show")
@queue_arguments
@click.argument("message_id", metavar="ID")
@_limit
@json_option
@files_options
def show_dead_letter(
    *, queue: str, region: str, message_id: str, limit: int, as_json: bool, files: Files
) -> int:
    r"""Show one dead letter: reason, hint, attempts, host, body. The start of an id is enough.

    \b
    Example:
      backhaul dlq show my-queue us-west-2 3f1c

    ID is the dead letter's own or that of its transfer.
    """
    from backhaul.app.dlq import read_dead_letter
    from backhaul.app.queues import queue_of_command

    chosen = queue_of_command(queue, region, files.config)
    letter = read_dead_letter(chosen, message_id, most=limit, ledger=_ledger_path(files))
    if as_json:
        print_json(letter_as_json(letter))
        return 0
    for name, text in (
        ("message", letter.message_id),
        ("code", letter.code or "none: SQS moved it after maxReceiveCount receives"),
        ("reason", letter.reason),
        ("hint", letter.hint),
        ("attempts", letter.attempts),
        ("first seen", letter.first_seen),
        ("transfer", letter.transfer_id),
        ("route", letter.route),
        ("host", letter.host),
    ):
        if text:
            click.echo(f"{name:11}{visible(str(text), MOST_SHOWN)}")
    # Escaped: its sender may have put control characters for a terminal into it.
    click.echo("\n" + "\n".join(visible(line, MOST_SHOWN) for line in letter.body.splitlines()))
    return 0


@command.command("redrive")
@_choosing
def redrive_dead_letters(  # noqa: PLR0913 - one for each option
    *,
    queue: str,
    region: str,
    message_ids: tuple[str, ...],
    is_all: bool,
    wanted: LetterFilter,
    dry_run: bool,
    yes: bool,
    limit: int,
    as_json: bool,
    files: Files,
) -> int:
    r"""Send dead letters back to QUEUE, body unchanged, then delete them. Prints the new ids.

    \b
    Example:
      backhaul dlq redrive my-queue us-west-2 --code E_DST_DENIED --route orders --dry-run
      backhaul dlq redrive my-queue us-west-2 --all

    By transfers instead of dead letters: `backhaul retry`.
    """
    from backhaul.app.actions import person, redrive
    from backhaul.app.queues import queue_of_command

    _require_one_way(message_ids, is_all=is_all, wanted=wanted)
    ids: list[str] | None = None
    if not is_all or dry_run:
        letters = _choose(queue, region, message_ids, wanted, limit, files)
        ids = [one.message_id for one in letters]
        _preview(letters, "to send back", is_asked=not message_ids or dry_run)
        if not ids or dry_run:
            return 0
        if not (yes or message_ids) and sys.stdin.isatty():
            what = counted(len(ids), "dead letter")
            click.confirm(f"Send {what} back to {queue}?", abort=True, err=True)
    sent = redrive(
        _ledger_path(files),
        person(),
        queue_of_command(queue, region, files.config),
        ids,
        most=limit,
        sent=sent_printer(as_json=as_json),
        warn=warn,
    )
    click.echo(f"{sent} sent back", err=True)
    return 0


@command.command("delete")
@_choosing
def delete_dead_letters(  # noqa: PLR0913 - one for each option
    *,
    queue: str,
    region: str,
    message_ids: tuple[str, ...],
    is_all: bool,
    wanted: LetterFilter,
    dry_run: bool,
    yes: bool,
    limit: int,
    as_json: bool,
    files: Files,
) -> int:
    r"""Delete dead letters for good: what they asked for is not done. Prints their ids.

    \b
    Example:
      backhaul dlq delete my-queue us-west-2 3f1c
      backhaul dlq delete my-queue us-west-2 --code E_MSG_SHAPE --since 7d

    Their transfers are settled: they are no longer counted as dead.
    """
    from backhaul.app.actions import delete_dead_letters, person
    from backhaul.app.queues import queue_of_command

    _require_one_way(message_ids, is_all=is_all, wanted=wanted)
    letters = _choose(queue, region, message_ids, wanted, limit, files)
    _preview(letters, "to delete", is_asked=True)
    if not letters or dry_run:
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--yes is needed where standard input is no terminal")
        what = counted(len(letters), "dead letter")
        click.confirm(f"Delete {what} for good?", abort=True, err=True)
    deleted = delete_dead_letters(
        _ledger_path(files),
        person(),
        queue_of_command(queue, region, files.config),
        [one.message_id for one in letters],
        most=limit,
        deleted=_print_deleted_json if as_json else lambda one: click.echo(one.message_id),
        warn=warn,
    )
    click.echo(f"{deleted} deleted", err=True)
    return 0


def sent_printer(*, as_json: bool) -> Callable[[SentAgain], None]:
    """What prints a dead letter that was sent again."""
    if not as_json:
        return lambda one: click.echo(one.message_id)
    return lambda one: print_json(
        {
            "dead_letter_id": one.dead_letter_id,
            "transfer_id": one.transfer_id or None,
            "message_id": one.message_id,
        }
    )


def _print_deleted_json(one: DeadLetterDetails) -> None:
    print_json({"dead_letter_id": one.message_id, "transfer_id": one.transfer_id or None})


# ---------------------------------------------------------------- which ones


def _require_one_way(message_ids: Sequence[str], *, is_all: bool, wanted: LetterFilter) -> None:
    if [bool(message_ids), is_all, not wanted.is_empty].count(True) != 1:
        raise click.UsageError("name ids, or give filters such as --code, or --all")


def _choose(
    queue: str,
    region: str,
    beginnings: Sequence[str],
    wanted: LetterFilter,
    limit: int,
    files: Files,
) -> list[DeadLetterDetails]:
    """Each once; the beginnings of ids name one each."""
    from backhaul.app.letters import chosen

    found = _read(queue, region, wanted, limit, files)
    if beginnings:
        each = [chosen(found.matching, one, limit) for one in beginnings]
        return list({one.message_id: one for one in each}.values())
    _note(found, wanted)
    return found.matching


def _read(queue: str, region: str, wanted: LetterFilter, limit: int, files: Files) -> ReadLetters:
    from backhaul.app.dlq import find_dead_letters
    from backhaul.app.queues import queue_of_command

    path = _ledger_path(files)
    chosen = queue_of_command(queue, region, files.config)
    return find_dead_letters(chosen, most=limit, wanted=wanted, ledger=path)


def _note(found: ReadLetters, wanted: LetterFilter) -> None:
    """What the list does not show."""
    if not found.read:
        click.echo("The dead-letter queue is empty.", err=True)
    elif not found.matching:
        click.echo(f"No dead letter matches these filters ({found.read:,} on the queue).", err=True)
    elif not wanted.is_empty:
        click.echo(f"{len(found.matching):,} of {found.read:,} dead letters match", err=True)
    if found.is_cut:
        click.echo(f"{found.read:,} were read, there may be more; raise --limit", err=True)


def _preview(letters: Sequence[DeadLetterDetails], what: str, *, is_asked: bool) -> None:
    """Those to be confirmed; of ids that were typed only how many are gone is news."""
    if not is_asked or not letters:
        return
    for one in letters[:PREVIEW_MOST]:
        about = f"{one.source} \u2192 {one.destination}" if one.source else one.reason
        code = printable(one.code or "moved by SQS", 80)
        click.echo(f"{one.message_id}  {code}  {visible(about, 300)}", err=True)
    if len(letters) > PREVIEW_MOST:
        click.echo(f"and {len(letters) - PREVIEW_MOST:,} more", err=True)
    click.echo(f"{counted(len(letters), 'dead letter')} {what}", err=True)


def _ledger_path(files: Files) -> LedgerPlace | None:
    """For routes and for the operators' journal; a configuration that is broken stops nothing."""
    try:
        return files.settings().ledger_place
    except ConfigurationError as fault:
        warn(fault)
        return None


# ---------------------------------------------------------------- how they look


def letter_as_json(letter: DeadLetterDetails) -> dict[str, Any]:
    """Under the names of its attributes."""
    from backhaul.app.records import row_as_json

    return row_as_json(letter)


def _columns() -> list[Column[DeadLetterDetails]]:
    def attempts(one: DeadLetterDetails) -> str:
        many = "" if one.attempts == 1 else "s"
        return f"{'?' if one.attempts is None else one.attempts} attempt{many}"

    def when(one: DeadLetterDetails) -> str:
        return "" if one.sent_at is None else f"{one.sent_at:%Y-%m-%d %H:%M:%SZ}"

    def moment(one: DeadLetterDetails) -> datetime | None:
        return one.sent_at

    return [
        Column(name="id", text=lambda one: one.message_id),
        Column(
            name="code",
            text=lambda one: printable(one.code or "moved by SQS"),
            value=lambda one: one.code,
            style=lambda one: "" if one.code == "E_CANCELLED" else "red",
        ),
        Column(name="attempts", text=attempts, value=lambda one: one.attempts),
        Column(
            name="sent_at",
            text=when,
            value=lambda one: (at := moment(one)) and at.isoformat(),
            is_wide=True,
        ),
        Column(name="route", text=lambda one: visible(one.route or ""), is_wide=True),
        Column(name="transfer", text=lambda one: visible(one.transfer_id), is_wide=True),
        Column(name="source", text=lambda one: visible(one.source or "", 2000), is_wide=True),
        Column(
            name="destination", text=lambda one: visible(one.destination or "", 2000), is_wide=True
        ),
        Column(name="reason", text=lambda one: visible(one.reason, MOST_SHOWN), may_wrap=True),
    ]
