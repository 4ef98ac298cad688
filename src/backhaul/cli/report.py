"""`backhaul report`: what left S3, and what that cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.filters import quiet_option, route_option, since_option, until_option
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import Files, OnceOnly, files_options, report_no_ledger
from backhaul.core.text import visible

if TYPE_CHECKING:
    from backhaul.app.report import Report, ReportLine

DEFAULT_SPAN = timedelta(days=30)


@click.command("report", cls=OnceOnly)
@click.option(
    "--by",
    type=click.Choice(["route", "sender", "day"]),
    default="route",
    show_default=True,
    help="What a line is of.",
)
@since_option("Only days since then, 30d where it is not given")
@until_option
@route_option
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
@quiet_option
@files_options
def command(
    *,
    by: str,
    since: datetime | None,
    until: datetime | None,
    route: str | None,
    as_csv: bool,
    as_json: bool,
    quiet: bool,
    files: Files,
) -> int:
    r"""Sum up transfers, objects, bytes that left S3 by purpose, and dollars, with a total.

    \b
    Example:
      backhaul report --since 30d --by route
      backhaul report --since 2026-11-01 --by day --route clickstream --csv

    Days are whole days in UTC. It reads the ledger alone, also while the agent runs; prices are
    those of [cost].
    """
    from backhaul.adapters.ledger.reading.egress import GroupBy
    from backhaul.app.report import read_report

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    settings = files.settings()
    found = read_report(
        settings.ledger_place,
        settings.cost.price,
        by=GroupBy(by),
        since=since or datetime.now(UTC) - DEFAULT_SPAN,
        until=until,
        route=route,
    )
    if found is None:
        report_no_ledger(settings.ledger_place)
        return 0
    output = Output.CSV if as_csv else Output.JSON if as_json else Output.TABLE
    _print(found, output)
    if output is Output.TABLE and not quiet:
        click.echo(f"{found.since} to {found.until}, UTC; by {found.price.source}", err=True)
    return 0


def _print(found: Report, output: Output) -> None:
    lines = (*found.lines, found.total)
    if output is Output.TABLE and not found.lines:
        click.echo("nothing ended and nothing left S3 in these days")
        return

    def as_json(line: ReportLine) -> dict[str, Any]:
        days = {"since": found.since.isoformat(), "until": found.until.isoformat()}
        price = {"price": found.price.source}
        return {"kind": _kind(found, line), "by": found.by.value, **days, **line.as_json, **price}

    print_rows(lines, _columns(found), output, as_json)


def _kind(found: Report, line: ReportLine) -> str:
    """A route may be called `total`."""
    return "total" if line is found.total else "group"


def _columns(found: Report) -> list[Column[ReportLine]]:
    from backhaul.core.cost.prices import usd, usd_text
    from backhaul.core.units import human_bytes

    def size(name: str) -> Column[ReportLine]:
        def of(line: ReportLine) -> int:
            value: int = line.as_json[name]
            return value

        return Column(
            name=name.removesuffix("_bytes"),
            text=lambda line: human_bytes(of(line)),
            is_right=True,
            is_in_csv=False,
        )

    def figure(name: str, *, is_csv_only: bool = False) -> Column[ReportLine]:
        return Column(
            name=name,
            text=lambda line: f"{line.as_json[name]:,}",
            value=lambda line: line.as_json[name],
            is_right=True,
            is_csv_only=is_csv_only,
        )

    names = ("copy_bytes", "retry_bytes", "verify_bytes")
    return [
        Column(
            name=found.by.value,
            text=lambda line: visible(line.key) or "-",
            value=lambda line: line.key,
            style=lambda line: "bold" if line is found.total else "",
        ),
        figure("transfers"),
        figure("dead"),
        figure("objects"),
        *(size(name) for name in names),
        *(figure(name, is_csv_only=True) for name in (*names, "bytes")),
        Column(name="cost", text=lambda line: usd_text(line.cost), is_right=True, is_in_csv=False),
        Column(
            name="cost_usd",
            text=lambda line: f"{usd(line.cost)}",
            value=lambda line: usd(line.cost),
            is_csv_only=True,
        ),
        # Last, so that the places of the others stay what they were.
        Column(name="kind", text=lambda line: _kind(found, line), is_csv_only=True),
    ]
