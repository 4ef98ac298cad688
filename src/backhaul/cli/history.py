"""`backhaul history`: transfers, newest first."""

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
    from datetime import datetime

    from backhaul.app.records import TransferRow

STATES = ("received", "staging", "publishing", "waiting", "held", "done", "superseded", "dead")


@click.command("history", cls=OnceOnly)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Show at most this many.",
)
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="Only transfers in this state. Repeatable: in any of these states.",
)
@click.option("--since", type=Moment(), help="Only transfers that changed since then (UTC).")
@json_lines_option
@files_options
def command(
    *,
    limit: int,
    states: tuple[str, ...],
    since: datetime | None,
    as_json: bool,
    files: Files,
) -> int:
    r"""List transfers from the ledger, newest first; also while the agent runs.

    \b
    Example:
      backhaul history --state dead --since 2026-11-01
    """
    from backhaul.app.records import COUNT_MOST, read_history, row_as_json

    def counted(number: int) -> str:
        return f"more than {COUNT_MOST:,}" if number > COUNT_MOST else f"{number:,}"

    path = files.settings().ledger_path
    found = read_history(path, limit=limit, states=states, since=since, sums_objects=as_json)
    if found.total is None:
        report_no_ledger(path)
    elif as_json:
        for row in found.rows:
            click.echo(json.dumps(row_as_json(row), ensure_ascii=False))
    elif not found.total:
        click.echo("no transfers yet")
    elif not found.rows:
        click.echo(f"No transfer matches these filters ({counted(found.total)} in the ledger).")
    else:
        _table(found.rows)
    if len(found.rows) < found.matching:
        more = f"--limit {found.matching} for all"
        if found.matching > COUNT_MOST:
            more = "--limit N for more"
        click.echo(f"{len(found.rows):,} of {counted(found.matching)} shown; {more}", err=True)
    return 0


def _table(rows: list[TransferRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    from backhaul.core.units import human_bytes

    table = Table(box=None, pad_edge=False)
    for name in ("id", "when (UTC)", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("objects", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("source → destination", overflow="fold")
    for row in rows:
        state = f"{row.state}" + (f" {row.code}" if row.code and row.state != "done" else "")
        table.add_row(
            row.id,
            f"{row.updated_at:%Y-%m-%d %H:%M:%S}",
            state,
            f"{row.objects_planned:,}",
            human_bytes(row.bytes_planned),
            f"{row.source} → {row.destination}",
        )
    console = Console()
    Console(width=None if console.is_terminal else 240, markup=False).print(table)
