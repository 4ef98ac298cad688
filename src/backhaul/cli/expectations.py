"""`backhaul expectations`: the data that should have come, by when, and what is there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.filters import route_option
from backhaul.cli.options import (
    Files,
    OnceOnly,
    files_options,
    json_lines_option,
    report_no_ledger,
)

if TYPE_CHECKING:
    from backhaul.app.outlook import ExpectationView

FINDINGS = 65


@click.command("expectations", cls=OnceOnly)
@route_option
@click.option("--missing", "is_missing", is_flag=True, help="Only those whose data is missing.")
@json_lines_option
@files_options
def command(*, route: str | None, is_missing: bool, as_json: bool, files: Files) -> int:
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
        report_no_ledger(context.settings.ledger_path)
        return 0
    found = [one for one in found if route in {None, one.following.route}]
    found = [one for one in found if one.is_missed or not is_missing]
    for one in found:
        click.echo(as_json_line(one) if as_json else "\n".join(_lines(one)))
    return FINDINGS if any(one.is_missed for one in found) else 0


def _lines(one: ExpectationView) -> list[str]:
    from backhaul.core.outlook.expectation import ExpectationState
    from backhaul.core.text import visible
    from backhaul.core.units import human_span

    now = datetime.now(UTC)
    following, last = one.following, one.last
    name = visible(f"{following.subject}", 200)
    word = {"met": "met", "late": "late", "missed": "MISSING"}.get(last.state, "not judged")
    late = ""
    if last.arrived_at is not None:
        late = f", {human_span(last.arrived_at - last.deadline)} late"
    how = "MISSING" if one.is_missed else "well"
    if last.state is ExpectationState.DUE and not last.is_met:
        how = "not judged"  # no agent ran at the deadline, or it is new
    left = human_span(following.deadline - now)
    return [
        f"{name}: {how}",
        f"  last {last.due}: {word}{late}: {visible(last.words, 4096)}",
        f"  next {following.due}, in {left}: {visible(following.words, 4096)}",
    ]
