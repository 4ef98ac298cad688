"""`backhaul agents`: who works on the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.filters import limit_option, list_options
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import Files, OnceOnly, report_no_ledger
from backhaul.core.text import visible

if TYPE_CHECKING:
    from backhaul.app.agents import AgentRow

SHOWN_MOST = 60  # characters of one field
TRANSFERS_SHOWN = 4


@click.command("agents", cls=OnceOnly)
@list_options(limit_option(50))
def command(*, limit: int, reverse: bool, output: Output, quiet: bool, files: Files) -> int:
    r"""List the agents on the ledger, newest start first: where each runs, and what it does.

    \b
    Example:
      backhaul agents

    It reads the ledger alone, from any host. Agents that ended or died are listed for a day. One
    of several leads: it does what is done once for all.
    """
    from backhaul.app.agents import read_agents
    from backhaul.app.records import row_as_json

    path = files.settings().ledger_place
    found = read_agents(path, datetime.now(UTC))
    if found is None:
        report_no_ledger(path)
        return 0
    if output is Output.TABLE and not found:
        click.echo("no agent has run within a day")
    rows = found[:limit]
    print_rows(rows[::-1] if reverse else rows, _columns(), output, row_as_json)
    if len(rows) < len(found) and not quiet:
        click.echo(f"{len(rows)} of {len(found)} shown; --limit {len(found)} for all", err=True)
    return 0


def _columns() -> list[Column[AgentRow]]:
    def cell(text: str) -> str:
        return visible(text, SHOWN_MOST)

    return [
        Column(name="id", text=lambda one: one.id[:8], value=lambda one: one.id),
        Column(name="host", text=lambda one: cell(one.host)),
        Column(name="version", text=lambda one: cell(one.version)),
        Column(name="queue", text=lambda one: cell(one.queue)),
        Column(name="last beat (UTC)", text=_beat, is_in_csv=False),
        Column(name="beat_at", text=lambda one: one.beat_at.isoformat(), is_csv_only=True),
        Column(name="busy", text=lambda one: f"{one.busy}/{one.slots}", is_right=True),
        Column(name="state", text=_state),
        Column(name="works on", text=_work, value=lambda one: " ".join(one.transfers)),
    ]


def _beat(one: AgentRow) -> str:
    return f"{one.beat_at:%Y-%m-%d %H:%M:%S}"


def _state(one: AgentRow) -> str:
    if not one.is_alive:
        return "ended" if one.ended_at is not None else "died"
    return "leads" if one.is_leader else "runs"


def _work(one: AgentRow) -> str:
    if not one.is_alive:
        return ""
    more = len(one.transfers) - TRANSFERS_SHOWN
    shown = " ".join(cell[:12] for cell in one.transfers[:TRANSFERS_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
