"""`backhaul ledger`: check, migrate, copy and prune the ledger."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import (
    Files,
    Moment,
    Span,
    WholeSentences,
    counted,
    files_options,
    json_option,
    print_json,
    warn,
)
from backhaul.core.errors import ExitCode
from backhaul.core.ports.ledger_place import PostgresUrl, file_of

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from backhaul.adapters.ledger.upkeep.pruning import Prunable
    from backhaul.app.ledger_check import LedgerFinding, LedgerState

MOST_SHOWN = 600  # characters of a finding


@click.group("ledger", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    r"""Check, migrate, copy and prune the ledger.

    \b
    Example:
      backhaul ledger check
      backhaul ledger backup /backup/ledger.db
      backhaul ledger prune --older 90d --dry-run
    """


# ---------------------------------------------------------------- check


@command.command("check")
@click.option("--full", "is_full", is_flag=True, help="Check every page and index; commits wait.")
@click.option(
    "--since", type=Moment(), help="Objects only of transfers that ended since then (UTC)."
)
@json_option
@files_options
def check(*, is_full: bool, since: datetime | None, as_json: bool, files: Files) -> int:
    r"""Check that the ledger is sound, and show what is in it. Changes nothing.

    \b
    Example:
      backhaul ledger check
      backhaul ledger check --full --since 7d

    It looks at the file's pages, at rows that contradict each other, at the seal chain and each
    object line, and at who may change the file; on PostgreSQL, at whether the tables are as they
    were made instead of pages. Exits with 65 when something is wrong.
    """
    from backhaul.app.ledger_check import check_ledger, ledger_states

    state = check_ledger(
        files.settings().ledger_place,
        is_full=is_full,
        since=since,
        found=(lambda _: None) if as_json else _print_finding,
        progress=lambda what: _progress(f"checking {what} ..."),
    )
    _progress("")
    if as_json:
        click.echo(ledger_states().dump_json(state))
    else:
        _print_state(state, is_limited=since is not None)
    return ExitCode.BAD_INPUT if state.findings else ExitCode.OK


def _progress(what: str) -> None:
    """On a terminal: one line, which the next one replaces."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{what}", nl=False, err=True)


def _print_finding(finding: LedgerFinding) -> None:
    from backhaul.core.text import visible

    _progress("")
    subject = f"{visible(finding.transfer_id, MOST_SHOWN)}: " if finding.transfer_id else ""
    click.echo(f"{finding.kind:9} {subject}{visible(finding.what, MOST_SHOWN)}")


def _print_state(state: LedgerState, *, is_limited: bool) -> None:
    from backhaul.core.units import human_bytes

    _line("ledger", state.access or state.path)
    if state.server:
        _line("server", state.server)
    _line("schema", f"{state.schema}, which this version writes")
    size = human_bytes(state.size_bytes)
    if not state.server:
        size += (
            f", of which {human_bytes(state.free_bytes)} are free for later rows; "
            f"{human_bytes(state.disk_free_bytes)} are free on its disk"
        )
    _line("size", size)
    for table in state.tables:
        rows = f"  {counted(state.rows[table.name], 'row')}" if table.name in state.rows else ""
        about = "about " if table.is_estimate else ""
        _line(f"  {table.name}", f"{about}{human_bytes(table.size_bytes)}{rows}")
    if state.pages:
        _line("pages", f"checked ({state.pages})")
    elif state.server:
        _line("pages", "not checked: pg_amcheck does it")
    else:
        _line("pages", "not checked: commits would wait too long; --full does it, or check a copy:")
        _line("", "backhaul ledger backup FILE && backhaul ledger check --ledger FILE --full")
    limited = ", as many as --since has" if is_limited else ""
    _line(
        "evidence",
        f"{counted(state.sealed, 'transfer')} with {counted(state.objects, 'object')} computed "
        f"again{limited}",
    )
    if state.pruned:
        _line("", f"{counted(state.pruned, 'transfer')} without object lines, which were dropped")
    click.echo(counted(len(state.findings), "finding") if state.findings else "nothing is wrong")


def _line(name: str, text: str) -> None:
    click.echo(f"{name:<22} {text}")


# ---------------------------------------------------------------- migrate


@command.command("migrate")
@json_option
@files_options
def migrate(*, as_json: bool, files: Files) -> int:
    r"""Bring the ledger to the schema of this version.

    \b
    Example:
      backhaul ledger migrate
      backhaul ledger migrate --ledger postgresql://edge@db.example.com/ledger

    A database changes only by this; a file also when the agent of the new version starts. Steps
    that only add are taken while agents of the version before work on a database; it refuses all
    others while an agent or a command of another version works. There is no way back but a backup.
    """
    from backhaul.adapters.ledger import migrate_ledger

    place = files.settings().ledger_place
    changed = migrate_ledger(place)
    if as_json:
        print_json({"ledger": str(place), **asdict(changed)})
    elif changed.before == changed.after:
        click.echo(f"{place}: it has schema {changed.after} already")
    else:
        click.echo(f"{place}: migrated from schema {changed.before} to {changed.after}")
    return ExitCode.OK


# ---------------------------------------------------------------- backup


@command.command("backup")
@click.argument("file", type=click.Path(readable=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Put the copy in the place of an earlier FILE.")
@json_option
@files_options
def backup(*, file: Path, overwrite: bool, as_json: bool, files: Files) -> int:
    r"""Copy the ledger to FILE as it is at one moment, and check the copy.

    \b
    Example:
      backhaul ledger backup /backup/ledger.db
      backhaul ledger backup /backup/ledger.db --overwrite

    The agent may work meanwhile: its commits wait while the file is read. FILE is there only when
    it is complete, checked and on the disk; only this user may read it.
    """
    from backhaul.app.actions import person
    from backhaul.app.ledger_backup import back_up
    from backhaul.core.units import human_bytes

    place = files.settings().ledger_place
    dump = shlex.join(["pg_dump", "--format=custom", f"--file={file}"])
    # The user in an address is hidden where errors are printed, so it would be no command to copy.
    instead = f"{dump} ADDRESS, with the setting `ledger` as ADDRESS"
    path = file_of(place, "ledger backup", instead)
    copy = back_up(path, person(), file, replaces=overwrite, warn=warn)
    if as_json:
        print_json({**asdict(copy), "path": str(copy.path)})
        return ExitCode.OK
    click.echo(
        f"{copy.path}: {human_bytes(copy.size_bytes)}, {counted(copy.transfers, 'transfer')}, "
        f"{counted(copy.objects, 'object')}; checked"
    )
    return ExitCode.OK


# ---------------------------------------------------------------- copy


@command.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(*, source: str, target: str) -> int:
    r"""Copy all records of the file FROM into the empty PostgreSQL database TO.

    \b
    Example:
      backhaul ledger copy ledger.db postgresql://edge@db.example.com/ledger

    Stop the agent first. All arrives or nothing: after an interruption run it again. Each table is
    counted and compared before it is kept. FROM stays as it is; then set `ledger` to TO, and start
    no agent on FROM again.
    """
    from backhaul.app.ledger_copy import copy_into

    file = file_of(
        PostgresUrl.parse(source) or Path(source), "ledger copy FROM", "pg_dump copies a database"
    )
    url = PostgresUrl.parse(target)
    if url is None:
        raise click.UsageError("TO is an address, such as postgresql://USER@HOST/DATABASE")
    moved = copy_into(file, url, lambda table: _progress(f"copying {table} ..."))
    _progress("")
    rows = sum(one.rows for one in moved.tables.values())
    was = "had already been copied" if moved.was_there else "copied"
    click.echo(f"{url}: {counted(rows, 'row')} of {file} {was}; counts and digests are equal")
    return ExitCode.OK


# ---------------------------------------------------------------- prune


@command.command("prune")
@click.option(
    "--older",
    type=Span(),
    metavar="SPAN",
    help="Only transfers that ended so long ago, such as 90d. Default: retention.objects.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be dropped.")
@click.option("--yes", is_flag=True, help="Without confirmation.")
@json_option
@files_options
def prune(*, older: timedelta | None, dry_run: bool, yes: bool, as_json: bool, files: Files) -> int:
    r"""Drop the lines of single objects of transfers that ended long ago.

    \b
    Example:
      backhaul ledger prune --older 90d --dry-run
      backhaul ledger prune --older 90d --yes

    The transfers themselves stay, with the sealed digest of those lines, and so does what was
    published last at each path; what was published over a day ago is packed, which loses nothing.
    Nothing is dropped that is needed. The file does not become smaller: later rows use the room.
    You may interrupt it; the next one goes on. No new receipt of what was pruned can be made.
    """
    from datetime import UTC, datetime

    from backhaul.adapters.ledger.upkeep.pruning import PruneRule
    from backhaul.app.actions import person
    from backhaul.app.ledger_prune import SETTING, count_prunable
    from backhaul.app.ledger_prune import prune as run_prune

    settings = files.settings(needs=() if older is not None else ("retention",))
    kept = older if older is not None else settings.retention.objects_kept
    if kept is None:
        raise click.UsageError(f"give --older, such as --older 90d: {SETTING} is not set")
    path, now = settings.ledger_place, datetime.now(UTC)
    done, paths = found = count_prunable(path, now - kept, now)
    if not done.objects and not paths:
        words = f"nothing to prune: no transfer that may go ended before {now - kept:%Y-%m-%d}"
    elif dry_run:
        words = f"would drop {_lines(*found, 'pack')}"
    else:
        _confirm(*found, is_confirmed=yes)
        by = person()
        typed = f"--older {older.days}d" if older is not None and not older.seconds else SETTING
        rule = PruneRule(before=now - kept, name=f"backhaul ledger prune {typed}, by {by.name}")
        done, paths = run_prune(path, by, rule, now, warn=warn, progress=_pruned)
        _progress("")
        words = f"dropped {_lines(done, paths, 'packed')}"
    if as_json:
        counts = {"objects": done.objects, "transfers": done.transfers, "paths": paths}
        print_json({**counts, "is_dropped": not dry_run})
    else:
        click.echo(words)
    return ExitCode.OK


def _lines(found: Prunable, paths: int, packs: str) -> str:
    """Behind *dropped* or *would drop*."""
    lines = f"{counted(found.objects, 'object line')} of {counted(found.transfers, 'transfer')}"
    return f"{lines}, and {packs} {counted(paths, 'path')}" if paths else lines


def _pruned(done: Prunable, paths: int) -> None:
    _progress(f"dropped {_lines(done, paths, 'packed')}")


def _confirm(found: Prunable, paths: int, *, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("--yes is needed where standard input is no terminal")
    click.confirm(f"Drop {_lines(found, paths, 'pack')}?", abort=True, err=True)
