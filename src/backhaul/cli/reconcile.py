"""`backhaul reconcile`: is everything that S3 has on the target, and why not."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from backhaul.cli.options import (
    MomentAsTyped,
    OnceOnly,
    PolicyFiles,
    Share,
    counted,
    policy_options,
    region_option,
    warn,
)
from backhaul.core.text import visible

if TYPE_CHECKING:
    from backhaul.app.context import Context
    from backhaul.app.reconcile.run import Reconciled
    from backhaul.app.reconcile.sending import LookAtMissing, Missing, SendTarget
    from backhaul.cli.options import TypedMoment
    from backhaul.core.cost.prices import Estimate
    from backhaul.core.model import Location
    from backhaul.core.reconciliation.values import ComparedPath

SHOWN_MOST = 100  # findings that the table lists
SHOWN_CHARACTERS = 300
PLACES_SHOWN = 10
LINES_AT_ONCE = 200


@click.command("reconcile", cls=OnceOnly)
@click.argument("route", metavar="ROUTE")
@click.option(
    "--since", type=MomentAsTyped(), help="Only objects written since then: a date (UTC), or 2h."
)
@click.option(
    "--settle",
    "settle_s",
    metavar="SECONDS",
    type=click.IntRange(0, 30 * 86_400),
    default=10,
    show_default=True,
    help="An object younger than this is too young to be missing.",
)
@click.option(
    "--inventory",
    metavar="MANIFEST",
    help="Objects from the manifest.json of S3 Inventory, a path or s3://..., not from a listing.",
)
@click.option(
    "--combined",
    "combined_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write the paths as `rclone check --combined` does: = same, - extra, + missing, * other,"
    " ! unproved.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep what was compared there: a command that was ended goes on with the same DIR.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Compare so many parts at once.",
)
@click.option(
    "--deep",
    type=Share(),
    metavar="N%",
    help="Prove this share of what is the same once more, by stored checksums; reads no object.",
)
@click.option(
    "--adopt",
    "is_adopting",
    is_flag=True,
    help="Prove what is unproved by stored checksums, and record it; reads no object.",
)
@click.option("--send", "is_sending", is_flag=True, help="Leave a message for what is missing.")
@click.option("--yes", is_flag=True, help="With --send: without confirmation.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="With --send: at most so many messages.",
)
@click.option(
    "--queue",
    metavar="QUEUE",
    help="With --send: name, URL or ARN. Default: the route's own, or the one of its agent.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
@region_option
@policy_options
def command(  # noqa: PLR0913 - one for each option
    *,
    route: str,
    since: TypedMoment | None,
    settle_s: int,
    inventory: str | None,
    combined_file: Path | None,
    state: Path | None,
    jobs: int,
    deep: float | None,
    is_adopting: bool,
    is_sending: bool,
    yes: bool,
    limit: int,
    queue: str | None,
    as_json: bool,
    region: str,
    files: PolicyFiles,
) -> int:
    r"""Compare S3, the ledger and the target, path by path.

    \b
    Example:
      backhaul reconcile clickstream
      backhaul reconcile clickstream --since 1d --json
      backhaul reconcile clickstream --send
      backhaul reconcile clickstream --adopt --deep 1%

    Nothing is changed without --send or --adopt. Findings are: missing, extra, differs, superseded
    (S3 has a newer one), unproved (no evidence), dead. None are: same, in flight, too young,
    excluded.
    """
    from backhaul.app.context import quiet_telemetry
    from backhaul.app.cost import read_estimate
    from backhaul.app.reconcile.run import ReconcileOptions, run_reconcile
    from backhaul.app.reconcile.sending import Missing, send_target
    from backhaul.core.errors import ExitCode

    if is_sending and not yes and not sys.stdin.isatty():
        raise click.UsageError("--yes is needed where standard input is no terminal")
    missing = Missing(most=limit)
    context = files.context()
    target = send_target(context, route, queue, region) if is_sending else None
    options = ReconcileOptions(
        since=since and since.at,
        since_text=since.text if since else "",
        settle=timedelta(seconds=settle_s),
        inventory=inventory,
        state=state,
        jobs=jobs,
        deep=deep,
        is_adopting=is_adopting,
    )
    with ExitStack() as opened:
        combined = None
        if combined_file is not None:
            combined = opened.enter_context(combined_file.open("w", encoding="utf-8"))
        printer = Printer(as_json=as_json, combined=combined)
        opened.callback(printer.close)

        def report(one: ComparedPath, root: Location) -> None:
            printer.show(one, root)
            missing.add(one, root)

        found = run_reconcile(
            context,
            route,
            options,
            region=region,
            emit=quiet_telemetry(),
            report=report,
            warn=warn,
        )
    if not as_json:
        _print_table(found, printer.left_out)
    settings = context.settings
    price = settings.cost.price
    if target is not None and _is_wanted(
        missing, target, read_estimate(settings.ledger_place, price), is_confirmed=yes
    ):
        from backhaul.app.reconcile.last_look import last_look

        emit = quiet_telemetry()
        with last_look(context, target.route, options, region=region, emit=emit) as look_again:
            _send(context, target, missing, look_again)
    return ExitCode.BAD_INPUT if found.findings else ExitCode.OK


def _is_wanted(
    missing: Missing, target: SendTarget, estimate: Estimate, *, is_confirmed: bool
) -> bool:
    from backhaul.core.units import human_bytes

    if not missing.objects:
        click.echo("nothing to send", err=True)
        return False
    amount = f"{counted(len(missing.objects), 'object')}, {human_bytes(missing.size_bytes)}"
    egress = f"egress at most {estimate.text(missing.size_bytes)}"
    click.echo(f"{amount} to send to queue {target.queue.text}; {egress}", err=True)
    if missing.left_out:
        click.echo(
            f"{missing.left_out:,} more are missing: run it again, or raise --limit", err=True
        )
    if not is_confirmed:
        click.confirm(f"Send {counted(len(missing.objects), 'message')}?", abort=True, err=True)
    return True


def _send(
    context: Context, target: SendTarget, missing: Missing, look_again: LookAtMissing
) -> None:
    from backhaul.app.actions import person
    from backhaul.app.reconcile.sending import send_missing

    done = send_missing(
        context, person(), target, missing.objects, look_again=look_again, warn=warn
    )
    for one in done.not_sent[:SHOWN_MOST]:
        click.echo(f"not sent: {visible(one.source.uri, SHOWN_CHARACTERS)}: {one.error}", err=True)
    if len(done.not_sent) > SHOWN_MOST:
        click.echo(f"and {len(done.not_sent) - SHOWN_MOST:,} more not sent", err=True)
    click.echo(f"{done.sent:,} sent", err=True)
    if done.on_its_way:
        click.echo(f"{done.on_its_way:,} not sent: on their way meanwhile", err=True)
    if done.changed:
        click.echo(f"{done.changed:,} not sent: no longer missing", err=True)


class Printer:
    """Shows paths as they are compared; `close` shows the last ones."""

    def __init__(self, *, as_json: bool, combined: TextIO | None) -> None:
        self._as_json = as_json
        self._combined = combined
        self._lines: list[str] = []
        self._shown = 0
        self.left_out = 0

    def close(self) -> None:
        """Write what is waiting."""
        if self._lines:
            click.echo("\n".join(self._lines))
            self._lines.clear()

    def show(self, one: ComparedPath, root: Location) -> None:
        """One path; `root` is the directory that is compared."""
        from backhaul.app.reconcile.report import as_json, combined
        from backhaul.core.reconciliation.values import FINDINGS

        if self._combined is not None and (line := combined(one, root)) is not None:
            self._combined.write(f"{line}\n")
        if self._as_json:
            self._lines.append(as_json(one, root.filesystem))
            if len(self._lines) >= LINES_AT_ONCE:
                self.close()
        elif one.found in FINDINGS:
            if self._shown < SHOWN_MOST:
                self._shown += 1
                _print_finding(one, root)
            else:
                self.left_out += 1


def _print_finding(one: ComparedPath, root: Location) -> None:
    source = one.row.source
    where = f"{root.filesystem}{one.row.path}"
    came = f"  from {visible(source.uri, SHOWN_CHARACTERS)}" if source is not None else ""
    click.echo(f"{one.found.value:10} {visible(where, SHOWN_CHARACTERS)}{came}  ({one.why})")


def _print_table(found: Reconciled, left_out: int) -> None:
    from backhaul.core.units import human_bytes

    if left_out:
        click.echo(f"and {counted(left_out, 'finding')} more: --json has all")
    for kind, totals in found.totals.items():
        if totals.objects:
            size = human_bytes(totals.size_bytes)
            click.echo(f"{kind.value:10} {totals.objects:>14,} {size:>12}")
    if not any(totals.objects for totals in found.totals.values()):
        click.echo("nothing to compare: S3, the ledger and the target are empty there")
    if found.adopted:
        click.echo(f"adopted    {found.adopted:>14,} of the same, by this command")
    if found.deep is not None:
        click.echo(
            f"proven     {found.deep.proven:>14,} of the same once more"
            f" ({found.deep.by_s3:,} by S3's checksum, too; {found.deep.unknown:,} not to be had)"
        )
    if found.inventory:
        click.echo(f"inventory  {visible(found.inventory, SHOWN_CHARACTERS)}")
    for place in found.places[:PLACES_SHOWN]:
        click.echo(f"compared   {visible(place, SHOWN_CHARACTERS)}")
    if len(found.places) > PLACES_SHOWN:
        click.echo(f"and {len(found.places) - PLACES_SHOWN:,} more places")
