"""`backhaul dlq`: list, show and redrive dead letters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from backhaul.cli.options import (
    Files,
    WholeSentences,
    files_options,
    json_lines_option,
    json_option,
    warn,
)
from backhaul.cli.queue_arguments import queue_arguments
from backhaul.core.errors import ConfigurationError
from backhaul.core.text import printable, visible

MOST = 1000
MOST_SHOWN = 4096  # characters of a line
limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=MOST,
    show_default=True,
    help="Read at most this many dead letters.",
)


@click.group("dlq", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    r"""List, show and redrive the dead letters of QUEUE in REGION.

    \b
    Example:
      backhaul dlq list my-queue us-west-2
      backhaul dlq redrive my-queue us-west-2 --all
    """


@command.command("list")
@queue_arguments
@limit_option
@json_lines_option
def list_dead_letters(*, queue: str, region: str, limit: int, as_json: bool) -> int:
    r"""List the dead letters: id, code, attempts and reason. Changes nothing.

    \b
    Example:
      backhaul dlq list my-queue us-west-2
    """
    from backhaul.app.dlq import read_dead_letters

    for letter in read_dead_letters(queue, region, most=limit):
        if as_json:
            click.echo(json.dumps(asdict(letter), ensure_ascii=False))
        else:
            code = letter.code or "moved by SQS"
            attempts = f"{letter.attempts or '?'} attempt{'' if letter.attempts == '1' else 's'}"
            reason = visible(letter.reason, MOST_SHOWN)
            click.echo(f"{letter.message_id}  {printable(code)}  {attempts}  {reason}")
    return 0


@command.command("show")
@queue_arguments
@click.argument("message_id", metavar="ID")
@limit_option
@json_option
def show_dead_letter(*, queue: str, region: str, message_id: str, limit: int, as_json: bool) -> int:
    r"""Show one dead letter: reason, hint, attempts, host, body. The start of an id is enough.

    \b
    Example:
      backhaul dlq show my-queue us-west-2 3f1c
    """
    from backhaul.app.dlq import read_dead_letter

    letter = read_dead_letter(queue, region, message_id, most=limit)
    if as_json:
        click.echo(json.dumps(asdict(letter), ensure_ascii=False))
        return 0
    for name, text in (
        ("message", letter.message_id),
        ("code", letter.code or "none: SQS moved it after maxReceiveCount receives"),
        ("reason", letter.reason),
        ("hint", letter.hint),
        ("attempts", letter.attempts),
        ("first seen", letter.first_seen),
        ("transfer", letter.transfer_id),
        ("host", letter.host),
    ):
        if text:
            click.echo(f"{name:11}{visible(str(text), MOST_SHOWN)}")
    # Escaped: its sender may have put control characters for a terminal into it.
    click.echo("\n" + "\n".join(visible(line, MOST_SHOWN) for line in letter.body.splitlines()))
    return 0


@command.command("redrive")
@queue_arguments
@click.argument("message_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every dead letter.")
@limit_option
@files_options
def redrive_dead_letters(
    *,
    queue: str,
    region: str,
    message_ids: tuple[str, ...],
    is_all: bool,
    limit: int,
    files: Files,
) -> int:
    r"""Send dead letters back to QUEUE, body unchanged, then delete them. Prints the new ids.

    \b
    Example:
      backhaul dlq redrive my-queue us-west-2 --all

    By transfers instead of dead letters: `backhaul retry`.
    """
    from backhaul.app.actions import person, redrive

    if bool(message_ids) is is_all:
        raise click.UsageError("name the ids of dead letters, or give --all")
    sent = redrive(
        _ledger_path(files),
        person(),
        queue,
        region,
        message_ids,
        most=limit,
        sent=lambda one: click.echo(one.message_id),
        warn=warn,
    )
    click.echo(f"{sent} sent back", err=True)
    return 0


def _ledger_path(files: Files) -> Path | None:
    """For the operators' journal; a configuration that is broken stops no redrive."""
    try:
        return files.settings().ledger_path
    except ConfigurationError as fault:
        warn(fault)
        return None
