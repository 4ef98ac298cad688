"""`backhaul reconcile`: is everything that S3 has on the target, and why not."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from backhaul.cli.options import (
    Moment,
    OnceOnly,
    PolicyFiles,
    Span,
    counted,
    policy_options,
    region_option,
)
from backhaul.core.text import visible

if TYPE_CHECKING:
    from datetime import datetime

    from backhaul.app.reconcile.run import Reconciled
    from backhaul.core.model import Location
    from backhaul.core.reconciliation.values import ComparedPath

SHOWN_MOST = 100  # findings that the table lists
SHOWN_CHARACTERS = 300
PLACES_SHOWN = 10


@click.command("reconcile", cls=OnceOnly)
@click.argument("route", metavar="ROUTE")
@click.option(
    "--since", type=Moment(), help="Only objects written since then: a date (UTC), or 2h."
)
@click.option(
    "--settle",
    type=Span(),
    default="10s",
    show_default=True,
    help="An object younger than this is too young to be missing.",
)
@click.option(
    "--combined",
    "combined_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write the paths as `rclone check --combined` does: = same, - extra, + missing, * other,"
    " ! unproved.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
@region_option
@policy_options
def command(
    *,
    route: str,
    since: datetime | None,
    settle: timedelta,
    combined_file: Path | None,
    as_json: bool,
    region: str,
    files: PolicyFiles,
) -> int:
    r"""Compare S3, the ledger and the target, path by path; changes nothing.

    \b
    Example:
      backhaul reconcile clickstream
      backhaul reconcile clickstream --since 1d --json

    Classes: same; missing, extra, differs, superseded (S3 has a newer one), unproved (no evidence)
    and dead are findings; in flight, too young and excluded are none.

    Exit codes: 0 nothing found, 65 findings, 69 S3, the ledger or the target cannot be read.
    """
    from backhaul.app.context import quiet_telemetry
    from backhaul.app.reconcile.run import ReconcileOptions, run_reconcile
    from backhaul.core.errors import ExitCode

    with ExitStack() as opened:
        combined = None
        if combined_file is not None:
            combined = opened.enter_context(combined_file.open("w", encoding="utf-8"))
        printer = Printer(as_json=as_json, combined=combined)
        found = run_reconcile(
            files.context(),
            route,
            ReconcileOptions(since=since, settle=settle),
            region=region,
            emit=quiet_telemetry(),
            report=printer.show,
        )
    if not as_json:
        _print_table(found, printer.left_out)
    return ExitCode.BAD_INPUT if found.findings else ExitCode.OK


class Printer:
    """Shows paths as they are compared."""

    def __init__(self, *, as_json: bool, combined: TextIO | None) -> None:
        self._as_json = as_json
        self._combined = combined
        self._shown = 0
        self.left_out = 0

    def show(self, one: ComparedPath, root: Location) -> None:
        """One path; `root` is the directory that is compared."""
        from backhaul.app.reconcile.report import as_json, combined
        from backhaul.core.reconciliation.values import FINDINGS

        if self._combined is not None and (line := combined(one, root)) is not None:
            self._combined.write(f"{line}\n")
        if self._as_json:
            click.echo(as_json(one, root.filesystem))
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
    for place in found.places[:PLACES_SHOWN]:
        click.echo(f"compared   {visible(place, SHOWN_CHARACTERS)}")
    if len(found.places) > PLACES_SHOWN:
        click.echo(f"and {len(found.places) - PLACES_SHOWN:,} more places")
