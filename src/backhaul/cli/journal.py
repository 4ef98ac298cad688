"""`backhaul journal`: what operators did, newest first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import (
    Files,
    Moment,
    OnceOnly,
    files_options,
    json_lines_option,
    report_no_ledger,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backhaul.app.records import OperatorAction

ACTIONS = ("cancel", "redrive", "retry", "pause", "resume", "limit", "reconcile", "backup")
MOST_SHOWN = 400  # characters of one field


@click.command("journal", cls=OnceOnly)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Show at most this many.",
)
@click.option("--since", type=Moment(), help="Only since then: a date (UTC), or a span such as 2h.")
@click.option("--until", type=Moment(), help="Only before then.")
@click.option("--action", type=click.Choice(ACTIONS), help="Only these acts.")
@click.option("--operator", metavar="NAME", help="Only of this person: user@host, or user.")
@json_lines_option
@files_options
def command(
    *,
    limit: int,
    since: datetime | None,
    until: datetime | None,
    action: str | None,
    operator: str | None,
    as_json: bool,
    files: Files,
) -> int:
    r"""List what operators did, newest first: who, when, what, and how it ended.

    \b
    Example:
      backhaul journal --since 2d --action pause

    It reads the ledger alone, also while the agent runs.
    """
    from backhaul.app.records import read_journal, row_as_json

    path = files.settings().ledger_path
    found = read_journal(
        path, limit=limit, since=since, until=until, action=action, operator=operator
    )
    if found is None:
        report_no_ledger(path)
        return 0
    for one in found if as_json else ():
        click.echo(json.dumps(row_as_json(one), ensure_ascii=False))
    if as_json:
        return 0
    if not found:
        click.echo("no operator has done such a thing yet")
    else:
        _table(found)
    if len(found) == limit:
        click.echo(f"the newest {limit:,} are shown; --limit shows more", err=True)
    return 0


def _table(actions: Sequence[OperatorAction]) -> None:
    from rich.console import Console
    from rich.table import Table

    from backhaul.core.text import visible
    from backhaul.core.units import human_bytes

    table = Table(box=None, pad_edge=False)
    for name in ("when (UTC)", "operator", "from", "action"):
        table.add_column(name, no_wrap=True)
    table.add_column("subject", overflow="fold")
    table.add_column("transfers", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    for one in actions:
        table.add_row(
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            visible(one.operator, MOST_SHOWN),
            visible(one.origin, MOST_SHOWN),
            visible(one.action, MOST_SHOWN),
            visible(one.subject, MOST_SHOWN),
            f"{one.transfers:,}" if one.transfers else "",
            human_bytes(one.size_bytes) if one.size_bytes else "",
            visible(one.outcome, MOST_SHOWN),
        )
    console = Console()
    Console(width=None if console.is_terminal else 240, markup=False).print(table)
