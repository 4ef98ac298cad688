"""`backhaul status`: how it is, and the transfers that have not ended."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.completion import complete_routes
from backhaul.cli.options import (
    Files,
    OnceOnly,
    files_options,
    json_lines_option,
    print_json,
    report_no_ledger,
)
from backhaul.cli.screen import has_colour, plain, screen, styled
from backhaul.core.errors import OutageError
from backhaul.core.replies.reply import HIVE

if TYPE_CHECKING:
    from backhaul.app.overview import Overview
    from backhaul.settings.model import Settings

WATCH_S = 2.0
# Of a terminal: its lines are written over, so that nothing flickers.
CLEAR, HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"


@click.command("status", cls=OnceOnly)
@click.option(
    "--watch",
    type=click.FloatRange(min=0.5, max=3600),
    is_flag=False,
    flag_value=WATCH_S,
    metavar="[SECONDS]",
    help="Show it anew every so many seconds, 2 where none are given, until Ctrl-C.",
)
@click.option(
    "--route",
    metavar="NAME",
    shell_complete=complete_routes,
    help="Of the transfers only those of this route.",
)
@json_lines_option
@files_options
def command(*, watch: float | None, route: str | None, as_json: bool, files: Files) -> int:
    r"""Show how it is: health, queue, rate, today, trouble, and every transfer that has not ended.

    \b
    Example:
      backhaul status

    It reads the ledger and nothing else, also while no agent runs. What an agent does is as of its
    last report, some seconds ago. For programs and monitoring: --json, and backhaul check.
    """
    if as_json and watch is not None:
        raise click.UsageError("--watch is for people: repeat --json yourself")
    settings = files.settings()
    if as_json:
        return _print_json(settings, route)
    if watch is None:
        _print(settings, route)
        return 0
    _watch(settings, route, watch)
    return 0


def _print_json(settings: Settings, route: str | None) -> int:
    from backhaul.app.cost import read_costs
    from backhaul.app.records import details_as_json, read_open

    path = settings.ledger_place
    costs = read_costs(path, settings.cost.price)
    found = read_open(path, route)
    if found is None:
        report_no_ledger(path)
        return 0
    for one in found:
        fields = details_as_json(one, costs)
        print_json({name: fields[name] for name in ("transfer", "jobs", "proofs")})
    return 0


def _print(settings: Settings, route: str | None) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = _lines(settings, route, width=width)
    if lines is None:
        report_no_ledger(settings.ledger_place)
    else:
        click.echo("\n".join(lines))


def _watch(settings: Settings, route: str | None, every_s: float) -> None:
    """Frame over frame on a terminal, one below the other elsewhere; a locked ledger is shown."""
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        click.echo(CLEAR, nl=False)
    while True:
        size = shutil.get_terminal_size()
        width, rows = (size.columns, size.lines - 2) if is_terminal else (None, None)
        try:
            found = _lines(settings, route, width=width, rows=rows)
        except OutageError as error:
            found = [str(error)]
        lines = [f"{datetime.now(UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"]
        lines += [f"no ledger yet at {settings.ledger_place}"] if found is None else found
        if is_terminal:
            click.echo(HOME + "\n".join(line + TO_LINE_END for line in lines) + TO_SCREEN_END)
        else:
            click.echo("\n".join([*lines, ""]))
        time.sleep(every_s)


def _lines(
    settings: Settings, route: str | None, *, width: int | None, rows: int | None = None
) -> list[str] | None:
    from backhaul.app.limit import limit_words
    from backhaul.app.overview import read_overview

    view = read_overview(settings.ledger_place, datetime.now(UTC).astimezone())
    if view is None:
        return None
    if route is not None:
        view = _of_route(view, route)
    words = styled if has_colour() else plain
    below = [*_unregistered(view), *_month(settings)]
    if rows is not None:
        rows -= len(below)
    found = screen(view, limit=limit_words(settings), width=width, rows=rows)
    return [*(words(line) for line in found), *below]


def _unregistered(view: Overview) -> list[str]:
    """Transfers that are done, and whose partitions the warehouse does not have yet."""
    found = next((one for one in view.replies if one.target == HIVE), None)
    if found is None:
        return []
    counts = f"{found.waiting:,} waiting, {found.dead:,} given up"
    return [f"published, not registered: {counts} (backhaul replies list --target hive)"]


def _month(settings: Settings) -> list[str]:
    """What left S3 this month, and what it cost; nothing where nothing did."""
    from backhaul.app.cost import read_estimate
    from backhaul.core.cost.prices import usd_text
    from backhaul.core.units import human_bytes

    found = read_estimate(settings.ledger_place, settings.cost.price)
    if not found.month_bytes:
        return []
    cost = f"{usd_text(found.month_usd)} by {found.price.source}"
    return [f"{human_bytes(found.month_bytes)} left S3 this month (UTC): {cost}"]


def _of_route(view: Overview, route: str) -> Overview:
    """With the transfers of this route alone; all else is of all of them."""
    return replace(
        view,
        running=tuple(one for one in view.running if one.transfer.route == route),
        waiting=tuple(one for one in view.waiting if one.route == route),
    )
