"""`backhaul budget`: what is spent of each budget, and more for this period."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.completion import complete_routes
from backhaul.cli.options import (
    Files,
    OnceOnly,
    WholeSentences,
    counted,
    files_options,
    json_lines_option,
    json_option,
    print_json,
    warn,
)

if TYPE_CHECKING:
    from backhaul.app.budget import BudgetView

REASON_MOST = 200
NEEDS = ("budget", "route", "cost")


@click.group("budget", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    r"""Show what is spent of each budget, and allow more in the present period.

    \b
    Example:
      backhaul budget show
      backhaul budget raise landing 500GiB --reason "backfill of March"
    """


@command.command("show", cls=OnceOnly)
@json_lines_option
@files_options
def show(*, as_json: bool, files: Files) -> int:
    r"""Show each budget: what is spent and left, what waits for it, and when its period ends.

    \b
    Example:
      backhaul budget show

    Periods are days and months of UTC.
    """
    from backhaul.app.budget import read_budgets

    found = read_budgets(files.settings(needs=NEEDS), datetime.now(UTC))
    if not found:
        click.echo("no budget is configured", err=True)
    for view in found:
        if as_json:
            print_json(view.as_json)
        else:
            click.echo("\n".join(_lines(view)))
    return 0


@command.command("raise", cls=OnceOnly)
@click.argument("names", nargs=-1, metavar="[ROUTE] AMOUNT", shell_complete=complete_routes)
@click.option("--all", "is_all", is_flag=True, help="The budget over all routes.")
@click.option("--reason", default="", metavar="TEXT", help="Why; the journal shows it.")
@json_option
@files_options
def raise_it(
    *, names: tuple[str, ...], is_all: bool, reason: str, as_json: bool, files: Files
) -> int:
    r"""Add AMOUNT to the budget of ROUTE, for its present period alone.

    \b
    Example:
      backhaul budget raise landing 500GiB --reason "backfill of March"
      backhaul budget raise --all 250

    AMOUNT is what is added: a size for a budget in bytes, dollars for one in dollars. What waits
    for the budget goes on within some seconds. The next period has the configured budget again.
    """
    from backhaul.app.actions import person
    from backhaul.app.budget import raise_budget

    if len(names) != (1 if is_all else 2):
        raise click.UsageError("write ROUTE AMOUNT, or --all AMOUNT")
    if len(reason) > REASON_MOST:
        raise click.UsageError(f"--reason has {len(reason)} characters; {REASON_MOST} at most")
    route = "" if is_all else names[0]
    settings = files.settings(needs=NEEDS, refuses_writable_config=True)
    view = raise_budget(settings, person(), route, names[-1], reason=reason, warn=warn)
    if as_json:
        print_json(view.as_json)
    else:
        click.echo("\n".join(_lines(view)))
    return 0


def _lines(view: BudgetView) -> list[str]:
    state, budget = view.state, view.state.budget
    forecast = budget.words(state.forecast(view.at))
    raised = f", {budget.words(state.raised)} of it added by hand" if state.raised else ""
    line = (
        f"{budget.owner.removeprefix('the ')}: {state.numbers}{raised}; "
        f"{budget.words(state.left)} to go until {state.period.ends_at:%Y-%m-%d %H:%M} UTC; "
        f"{forecast} by then at the present rate"
    )
    lines = [line]
    if view.sentence:
        tried = "" if state.is_spent else "when last tried: "
        lines.append(f"  {tried}{view.sentence}")
    if view.held_transfers:
        next_step = view.hint or "what fits now goes on within some seconds, while an agent runs"
        lines.append(f"  {counted(view.held_transfers, 'transfer')} held; {next_step}")
    return lines
