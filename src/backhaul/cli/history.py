"""`backhaul history`: transfers, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backhaul.cli.filters import (
    SETTLED,
    STATES,
    code_option,
    dest_option,
    limit_option,
    list_options,
    message_option,
    route_option,
    since_option,
    source_option,
    until_option,
)
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import Files, OnceOnly, report_no_ledger
from backhaul.core.text import printable, visible

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from backhaul.app.cost import Costs
    from backhaul.app.records import History, TransferRow

MOST_SHOWN = 2000  # characters of a cell
_COLOURS = {"dead": "red", "held": "yellow", "done": "green"}


@click.command("history", cls=OnceOnly)
@click.option(
    "--state",
    "states",
    type=click.Choice([*STATES, SETTLED]),
    multiple=True,
    help="Only in this state. Repeatable: in any of these. dead: those that are open; settled: "
    "dead ones about which nothing is left to do.",
)
@code_option
@route_option
@source_option
@dest_option
@message_option
@since_option("Only what changed since then")
@until_option
@list_options(limit_option(20))
def command(  # noqa: PLR0913 - one for each option
    *,
    states: tuple[str, ...],
    codes: tuple[str, ...],
    route: str | None,
    source: str | None,
    destination: str | None,
    message: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    reverse: bool,
    output: Output,
    quiet: bool,
    files: Files,
) -> int:
    r"""List transfers from the ledger, newest first; also while the agent runs.

    \b
    Example:
      backhaul history --state dead --since 2d
      backhaul history --dest /landing/click --route clickstream --output csv

    With --reverse the newest comes last.
    """
    from backhaul.app.cost import read_costs
    from backhaul.app.records import read_history, transfer_as_json, wanted_transfers

    settings = files.settings()
    path = settings.ledger_place
    costs = read_costs(path, settings.cost.price)
    wanted = wanted_transfers(
        states=states,
        codes=codes,
        route=route,
        source=source,
        destination=destination,
        message=message,
        since=since,
        until=until,
    )
    found = read_history(path, limit=limit, wanted=wanted, sums_objects=output is Output.JSON)
    if found.total is None:
        report_no_ledger(path)
        return 0
    if output is Output.TABLE and not found.rows:
        click.echo(_nothing(found))
    rows = found.rows[::-1] if reverse else found.rows
    print_rows(
        rows,
        _columns(costs, found.not_registered),
        output,
        lambda row: transfer_as_json(row, costs),
    )
    if not quiet:
        _note(found)
    return 0


def _counted(number: int) -> str:
    from backhaul.app.records import COUNT_MOST

    return f"more than {COUNT_MOST:,}" if number > COUNT_MOST else f"{number:,}"


def _nothing(found: History) -> str:
    if not found.total:
        return "no transfers yet"
    text = f"No transfer matches these filters ({_counted(found.total)} in the ledger)."
    if found.meant_route is not None:
        text += f" Did you mean --route {printable(found.meant_route)}?"
    return text


def _note(found: History) -> None:
    """What the list does not show."""
    from backhaul.app.records import COUNT_MOST

    if len(found.rows) < found.matching:
        more = f"--limit {found.matching} for all"
        if found.matching > COUNT_MOST:
            more = "--limit N for more"
        shown = f"{len(found.rows):,} of {_counted(found.matching)} shown"
        click.echo(f"{shown}; {more}", err=True)
    if found.settled:
        more = f"{_counted(found.settled)} more dead are settled"
        click.echo(f"{more}: --state settled shows them", err=True)


def state_style(state: str, code: str | None, *, is_settled: bool) -> str:
    """Red is an error that is open; what an operator cancelled is none."""
    if state == "dead" and (is_settled or code == "E_CANCELLED"):
        return "dim"
    return _COLOURS.get(state, "")


def _columns(costs: Costs, not_registered: Collection[str] = ()) -> list[Column[TransferRow]]:
    from backhaul.core.cost.prices import usd, usd_text
    from backhaul.core.units import human_bytes

    def state(row: TransferRow) -> str:
        text = f"{row.state}" + (f" {row.code}" if row.code and row.state != "done" else "")
        if row.id in not_registered:
            text += ", not registered"
        return f"{text} (settled)" if row.settled_at else text

    def style(row: TransferRow) -> str:
        return state_style(row.state, row.code, is_settled=row.settled_at is not None)

    def size(row: TransferRow) -> str:
        return human_bytes(row.bytes_planned)

    return [
        Column(name="id", text=lambda row: row.id),
        Column(
            name="when (UTC)",
            text=lambda row: f"{row.updated_at:%Y-%m-%d %H:%M:%S}",
            is_in_csv=False,
        ),
        Column(name="state", text=state, value=lambda row: row.state.value, style=style),
        Column(name="code", text=lambda row: row.code or "", is_csv_only=True),
        Column(name="settled_at", text=lambda row: _iso(row.settled_at), is_csv_only=True),
        Column(
            name="attempt",
            text=lambda row: f"{row.attempt}",
            value=lambda row: row.attempt,
            is_wide=True,
            is_right=True,
        ),
        Column(name="route", text=lambda row: visible(row.route or ""), is_wide=True),
        Column(
            name="message_id", text=lambda row: visible(row.message_id or "", 300), is_wide=True
        ),
        Column(
            name="objects",
            text=lambda row: f"{row.objects_planned:,}",
            value=lambda row: row.objects_planned,
            is_right=True,
        ),
        Column(name="size", text=size, is_right=True, is_in_csv=False),
        Column(
            name="bytes_planned", text=size, value=lambda row: row.bytes_planned, is_csv_only=True
        ),
        *(
            Column(
                name=name,
                text=lambda _row: "",
                value=lambda row, name=name: getattr(row, name),  # type: ignore[misc]
                is_csv_only=True,
            )
            for name in ("egress_copy", "egress_retry", "egress_verify")
        ),
        Column(
            name="cost_usd",
            text=lambda row: usd_text(costs.of_transfer(row)),
            value=lambda row: usd(costs.of_transfer(row)),
            is_wide=True,
            is_right=True,
        ),
        Column(name="first_seen_at", text=lambda row: _iso(row.first_seen_at), is_csv_only=True),
        Column(name="updated_at", text=lambda row: _iso(row.updated_at), is_csv_only=True),
        Column(name="source → destination", text=_way, may_wrap=True, is_in_csv=False),
        Column(name="source", text=lambda row: row.source, is_csv_only=True),
        Column(name="destination", text=lambda row: row.destination, is_csv_only=True),
        Column(
            name="reason",
            text=lambda row: visible(row.reason or "", MOST_SHOWN),
            value=lambda row: row.reason,
            is_wide=True,
        ),
    ]


def _way(row: TransferRow) -> str:
    return f"{visible(row.source, MOST_SHOWN)} → {visible(row.destination, MOST_SHOWN)}"


def _iso(at: datetime | None) -> str:
    return "" if at is None else at.isoformat()
