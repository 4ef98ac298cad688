"""`backhaul status`: transfers that have not ended, and how far each is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import OnceOnly, config_option, report_no_ledger, settings_for_reading
from backhaul.cli.show import how_far

if TYPE_CHECKING:
    from backhaul.app.records import TransferDetails, TransferRow


@click.command("status", cls=OnceOnly)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
@config_option
def command(*, as_json: bool, config: Path | None, ledger: Path | None) -> int:
    r"""Say which transfers are under way, wait or are held, and how far each is.

    \b
    Example:
      backhaul status

    It reads the ledger, beside a running agent. What is proven counts as done.
    """
    from backhaul.app.records import details_as_json, read_open

    path = settings_for_reading(config, ledger).ledger_path
    found = read_open(path)
    if found is None:
        report_no_ledger(path)
        return 0
    if as_json:
        for one in found:
            told = details_as_json(one)
            click.echo(json.dumps({name: told[name] for name in _TOLD}, ensure_ascii=False))
        return 0
    if not found:
        click.echo("nothing is under way")
    for one in found:
        _print(one)
    return 0


_TOLD = ("transfer", "jobs", "proofs")


def _print(details: TransferDetails) -> None:
    from backhaul.adapters.system.log import human_bytes

    row = details.transfer
    proven = [total for total in details.proofs if total.proof is not None]
    objects = sum(total.objects for total in proven)
    size = sum(total.size_bytes for total in proven)
    planned = f"{row.objects_planned:,}" + ("" if row.plan_complete else " or more")
    far = "not listed yet"
    if row.objects_planned or row.plan_complete:
        far = (
            f"{objects:,} of {planned} objects, "
            f"{human_bytes(size)} of {human_bytes(row.bytes_planned)}"
        )
    click.echo(
        f"{row.id}  {row.state}, attempt {row.attempt}, "
        f"since {row.updated_at:%Y-%m-%d %H:%M:%S} UTC: {far}"
    )
    click.echo(f"  {row.source} \u2192 {row.destination}")
    if row.code:
        click.echo(f"  {_why(row, datetime.now(UTC))}")
    for job in details.jobs:
        if job.closed_at is None:
            click.echo(f"  {job.application_id or job.tag}: {how_far(job)}")
            if job.tracking_url:
                click.echo(f"  {job.tracking_url}")


def _why(row: TransferRow, now: datetime) -> str:
    """What keeps it: the dependency that is down, else its last error."""
    if row.held_by is None or row.held_since is None:
        return f"{row.code}: {row.reason}"
    how = "held by" if row.state == "held" else "waiting for"
    text = f"{how} {row.held_by} for {_roughly(now - row.held_since)}: {row.code}: {row.reason}"
    if row.retry_at is None:
        return text
    return f"{text}; next try in {_roughly(max(row.retry_at - now, timedelta()))}"


def _roughly(span: timedelta) -> str:
    """One unit is enough: `28 s`, `3 min`, `5 h`."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 2 * _MINUTE_S:
        return f"{seconds} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds // _MINUTE_S} min"
    return f"{seconds // _HOUR_S} h"


_MINUTE_S, _HOUR_S = 60, 3600
