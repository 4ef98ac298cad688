"""`backhaul journal`: what operators did, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backhaul.cli.filters import (
    limit_option,
    list_options,
    route_option,
    since_option,
    until_option,
)
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import Files, OnceOnly, report_no_ledger
from backhaul.core.ports.ledger_records import Act
from backhaul.core.text import visible

if TYPE_CHECKING:
    from datetime import datetime

    from backhaul.app.records import Actions, OperatorAction

MOST_SHOWN = 400  # characters of one field


@click.command("journal", cls=OnceOnly)
@click.option(
    "--action",
    "actions",
    type=click.Choice([one.value for one in Act]),
    multiple=True,
    help="Only these acts. Repeatable.",
)
@click.option("--operator", metavar="NAME", help="Only of this person: user@host, or user.")
@route_option
@since_option("Only since then")
@until_option
@list_options(limit_option(50))
def command(  # noqa: PLR0913 - one for each option
    *,
    actions: tuple[str, ...],
    operator: str | None,
    route: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    reverse: bool,
    output: Output,
    quiet: bool,
    files: Files,
) -> int:
    r"""List what operators did, newest first: who, when, what, and how it ended.

    \b
    Example:
      backhaul journal --since 2d --action pause

    It reads the ledger alone, also while the agent runs. With --route: what was done to the route
    itself, and to transfers of it.
    """
    from backhaul.app.records import read_journal, row_as_json

    path = files.settings().ledger_place
    found = read_journal(
        path,
        limit=limit,
        route=route,
        since=since,
        until=until,
        actions=actions,
        operator=operator,
    )
    if found is None:
        report_no_ledger(path)
        return 0
    if output is Output.TABLE and not found.rows:
        click.echo(_nothing(found))
    print_rows(found.rows[::-1] if reverse else found.rows, _columns(), output, row_as_json)
    if len(found.rows) < found.matching and not quiet:
        shown = f"{len(found.rows):,} of {found.matching:,} shown"
        click.echo(f"{shown}; --limit {found.matching} for all", err=True)
    return 0


def _nothing(found: Actions) -> str:
    if not found.total:
        return "no operator has done such a thing yet"
    return f"No line matches these filters ({found.total:,} in the journal)."


def _columns() -> list[Column[OperatorAction]]:
    from backhaul.core.units import human_bytes

    def cell(text: str) -> str:
        return visible(text, MOST_SHOWN)

    return [
        Column(
            name="when (UTC)",
            text=lambda one: f"{one.at:%Y-%m-%d %H:%M:%S}",
            is_in_csv=False,
        ),
        Column(name="at", text=lambda one: one.at.isoformat(), is_csv_only=True),
        Column(name="operator", text=lambda one: cell(one.operator)),
        Column(name="from", text=lambda one: cell(one.origin)),
        Column(name="action", text=lambda one: cell(one.action)),
        Column(name="subject", text=lambda one: cell(one.subject), may_wrap=True),
        Column(
            name="transfers",
            text=lambda one: f"{one.transfers:,}" if one.transfers else "",
            value=lambda one: one.transfers,
            is_right=True,
        ),
        Column(
            name="size",
            text=lambda one: human_bytes(one.size_bytes) if one.size_bytes else "",
            is_right=True,
            is_in_csv=False,
        ),
        Column(
            name="size_bytes",
            text=lambda _one: "",
            value=lambda one: one.size_bytes,
            is_csv_only=True,
        ),
        Column(
            name="outcome",
            text=lambda one: cell(one.outcome),
            style=lambda one: "" if one.outcome == "done" else "red",
            may_wrap=True,
        ),
    ]
