"""`backhaul expectations`: the data that should have come, by when, and what is there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.filters import output_options, route_option, since_option, until_option
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import Files, OnceOnly, files_options, report_no_ledger

if TYPE_CHECKING:
    from backhaul.app.outlook import ExpectationView

FINDINGS = 65


@click.command("expectations", cls=OnceOnly)
@route_option
@click.option("--missing", "is_missing", is_flag=True, help="Only those whose data is missing.")
@since_option("Only whose last deadline was since then")
@until_option
@output_options
@files_options
def command(
    *,
    route: str | None,
    is_missing: bool,
    since: datetime | None,
    until: datetime | None,
    output: Output,
    files: Files,
) -> int:
    r"""List expected data: each deadline that passed last and comes next, and what is there.

    \b
    Example:
      backhaul expectations
      backhaul expectations --route clickstream

    What a route expects is its `expect` in the configuration. What is there is counted in the
    ledger, now, until it is enough. Ends with 65 where the last deadline of one was missed, and its
    data is still missing; 0 otherwise.
    """
    from backhaul.app.context import load_context
    from backhaul.app.outlook import as_json_line, read_expectations
    from backhaul.app.unknown_route import unknown_route

    context = load_context(config=files.config, ledger=files.ledger)
    if not context.expectations:
        click.echo("no route expects anything: write `expect` on a route", err=True)
        return 0
    known = {one.name for one in context.policy.routes}
    if route is not None and route not in known:
        raise unknown_route(route, known, where="in the configuration")
    found = read_expectations(context, datetime.now(UTC))
    if found is None:
        report_no_ledger(context.settings.ledger_place)
        return 0
    found = [one for one in found if route in {None, one.following.route}]
    found = [one for one in found if one.is_missed or not is_missing]
    found = [one for one in found if since is None or one.last.deadline >= since]
    found = [one for one in found if until is None or one.last.deadline < until]
    match output:
        case Output.JSON | Output.TABLE:
            for one in found:
                is_json = output is Output.JSON
                click.echo(as_json_line(one) if is_json else "\n".join(_lines(one)))
        case _:
            print_rows(found, _columns(), output, vars)
    return FINDINGS if any(one.is_missed for one in found) else 0


def _how(one: ExpectationView) -> str:
    from backhaul.core.outlook.expectation import ExpectationState

    if one.last.state is ExpectationState.DUE and not one.last.is_met:
        return "not judged"  # no agent ran at the deadline, or it is new
    return "MISSING" if one.is_missed else "well"


def _columns() -> list[Column[ExpectationView]]:
    from backhaul.core.text import visible

    def red(one: ExpectationView) -> str:
        return "red" if one.is_missed else ""

    return [
        Column(name="route", text=lambda one: visible(one.following.route)),
        Column(name="name", text=lambda one: visible(one.following.name)),
        Column(name="is", text=_how, style=red),
        Column(
            name="last",
            text=lambda one: one.last.due,
            value=lambda one: one.last.deadline.isoformat(),
        ),
        Column(name="last_state", text=lambda one: one.last.state.value),
        Column(name="there", text=lambda one: visible(one.last.words, 4096), may_wrap=True),
        Column(
            name="next",
            text=lambda one: one.following.due,
            value=lambda one: one.following.deadline.isoformat(),
        ),
        Column(
            name="there_now", text=lambda one: visible(one.following.words, 4096), may_wrap=True
        ),
    ]


def _lines(one: ExpectationView) -> list[str]:
    from backhaul.core.text import visible
    from backhaul.core.units import human_span

    now = datetime.now(UTC)
    following, last = one.following, one.last
    name = visible(f"{following.subject}", 200)
    word = {"met": "met", "late": "late", "missed": "MISSING"}.get(last.state, "not judged")
    late = ""
    if last.arrived_at is not None:
        late = f", {human_span(last.arrived_at - last.deadline)} late"
    left = human_span(following.deadline - now)
    return [
        f"{name}: {_how(one)}",
        f"  last {last.due}: {word}{late}: {visible(last.words, 4096)}",
        f"  next {following.due}, in {left}: {visible(following.words, 4096)}",
    ]
