"""`backhaul retry`: what died is worked on again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from backhaul.cli.completion import complete_dead_ids, complete_routes
from backhaul.cli.options import (
    Files,
    Moment,
    OnceOnly,
    counted,
    files_options,
    json_lines_option,
    print_json,
    warn,
)
from backhaul.core.errors import PermanentError
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.text import printable, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backhaul.adapters.ledger import RetryCandidate
    from backhaul.app.retry import NotRetried, RetryPlan

MOST = 1000
READ_MOST = 10_000  # dead letters of a queue
LISTED_MOST = 20
SHOWN_MOST = 300  # characters of a source or destination


@click.command("retry", cls=OnceOnly)
@click.argument("transfer_ids", metavar="[ID]...", nargs=-1, shell_complete=complete_dead_ids)
@click.option("--code", metavar="CODE", help="Those that died of this error, such as E_DST_DENIED.")
@click.option(
    "--route", metavar="NAME", shell_complete=complete_routes, help="Those of this route."
)
@click.option("--since", type=Moment(), help="Those that died since then: a date (UTC), or 2h.")
@click.option("--state", type=click.Choice(["dead"]), help="All dead ones; others need no retry.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=MOST,
    show_default=True,
    help="Retry at most this many: the newest ones.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be sent again.")
@click.option("--yes", is_flag=True, help="Without confirmation.")
@json_lines_option
@files_options
def command(  # noqa: PLR0913 - one for each option
    *,
    transfer_ids: tuple[str, ...],
    code: str | None,
    route: str | None,
    since: datetime | None,
    state: str | None,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    files: Files,
) -> int:
    r"""Send dead transfers to work again, after their cause is fixed.

    \b
    Example:
      backhaul retry 0mh3k2v1x
      backhaul retry --code E_DST_DENIED --since 2d

    The dead letter of each goes back to its queue, as by `backhaul dlq redrive`: the next poll
    works on it. Transfers that wait or are held go on by themselves; what is done is never run
    again.
    """
    from backhaul.app.retry import plan_by_filters, plan_by_ids

    has_filters = any(one is not None for one in (code, route, since, state))
    if bool(transfer_ids) is has_filters:
        raise click.UsageError("name transfers, or give --code, --route, --since or --state")
    path = files.settings(refuses_writable_config=True).ledger_place
    if transfer_ids:
        plan = plan_by_ids(path, transfer_ids)
    else:
        plan = plan_by_filters(path, code=code, route=route, since=since, most=limit)
    _print(plan, as_json=as_json)
    refused = list(plan.refused)
    if plan.dead and not dry_run:
        _confirm(plan, is_confirmed=yes)
        refused += _send(files, path, plan, as_json=as_json)
    if as_json:
        _print_json(() if not dry_run else plan.dead, refused)
    if not transfer_ids:  # a filter wants what can be sent again; it has named the others
        refused = [one for one in refused if not one.is_copy]
    return _result(refused, len(plan.dead) + len(plan.refused))


def _print_json(planned: Sequence[RetryCandidate], refused: Sequence[NotRetried]) -> None:
    for one in planned:
        print_json(_line(one.id, "planned"))
    for each in refused:
        print_json(_line(each.id, "refused", why=each.why, hint=each.hint or None))


def _line(transfer_id: str, outcome: str, **more: str | None) -> dict[str, str | None]:
    empty = {"message_id": None, "why": None, "hint": None}
    return {"transfer_id": transfer_id, "outcome": outcome, **empty, **more}


def _print(plan: RetryPlan, *, as_json: bool) -> None:
    from backhaul.core.units import human_bytes

    if not plan.dead and not plan.refused:
        click.echo("nothing to retry", err=as_json)
    for one in plan.dead[:LISTED_MOST]:
        where = f"{visible(one.source, SHOWN_MOST)} \u2192 {visible(one.destination, SHOWN_MOST)}"
        click.echo(f"{one.id}  {printable(one.code or '', 80)}  {where}", err=True)
    if len(plan.dead) > LISTED_MOST:
        click.echo(f"and {len(plan.dead) - LISTED_MOST:,} more", err=True)
    if plan.dead:
        planned = f"{counted(plan.objects, 'object')}, {human_bytes(plan.size_bytes)}"
        click.echo(
            f"{counted(len(plan.dead), 'dead transfer')} to send again: {planned}, as far as they"
            " were listed",
            err=True,
        )
    if plan.is_cut:
        click.echo("there are more; run it again, or raise --limit", err=True)
    _print_refused(plan.refused)


def _print_refused(refused: Sequence[NotRetried]) -> None:
    for one in refused:
        hint = f" ({one.hint})" if one.hint else ""
        click.echo(f"not retried: {one.id}: {one.why}{hint}", err=True)


def _confirm(plan: RetryPlan, *, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("--yes is needed where standard input is no terminal")
    click.confirm(f"Send {counted(len(plan.dead), 'transfer')} again?", abort=True, err=True)


def _send(files: Files, path: LedgerPlace, plan: RetryPlan, *, as_json: bool) -> list[NotRetried]:
    from backhaul.app.actions import person, retry
    from backhaul.app.queues import queue_of_command
    from backhaul.app.retry import not_on_the_queue
    from backhaul.core.ports import SentAgain

    done: set[str] = set()
    refused: list[NotRetried] = []

    def sent(one: SentAgain) -> None:
        done.add(one.transfer_id)
        if as_json:
            print_json(_line(one.transfer_id, "sent", message_id=one.message_id))
        else:
            click.echo(f"{one.transfer_id} is message {one.message_id}")

    for queue, dead in plan.by_queue().items():
        shortened = retry(
            path,
            person(),
            queue_of_command(queue.text, queue.region or "", files.config),
            dead,
            most=READ_MOST,
            sent=sent,
            warn=warn,
        )
        missing = [one for one in dead if one.id not in done]
        refused += [not_on_the_queue(one, is_shortened=one.id in shortened) for one in missing]
    _print_refused(refused)
    click.echo(f"{len(done)} sent again", err=True)
    return refused


def _result(refused: Sequence[NotRetried], wanted: int) -> int:
    if refused:
        raise PermanentError(
            "E_NOT_RETRIED",
            f"{len(refused)} of {counted(wanted, 'transfer')} not retried; the reasons are above",
        )
    return 0
