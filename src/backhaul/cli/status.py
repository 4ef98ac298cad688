"""`backhaul status`: transfers that have not ended, and how far each is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import Files, OnceOnly, files_options, json_lines_option, report_no_ledger
from backhaul.cli.show import job_progress
from backhaul.core.units import human_bytes, human_span

if TYPE_CHECKING:
    from backhaul.app.records import TransferDetails, TransferRow


@click.command("status", cls=OnceOnly)
@json_lines_option
@files_options
def command(*, as_json: bool, files: Files) -> int:
    r"""Show the transfers that are running, waiting or held, and how far each is.

    \b
    Example:
      backhaul status

    It reads the ledger, also while the agent runs. Objects and bytes count once they are proven.
    """
    from backhaul.app.records import details_as_json, read_open

    path = files.settings().ledger_path
    found = read_open(path)
    if found is None:
        report_no_ledger(path)
        return 0
    if as_json:
        for one in found:
            fields = details_as_json(one)
            shown = {name: fields[name] for name in ("transfer", "jobs", "proofs")}
            click.echo(json.dumps(shown, ensure_ascii=False))
        return 0
    if not found:
        click.echo("nothing is under way")
    for one in found:
        _print(one)
    return 0


def _print(details: TransferDetails) -> None:
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
            click.echo(f"  {job.application_id or job.tag}: {job_progress(job)}")
            if job.tracking_url:
                click.echo(f"  {job.tracking_url}")


def _why(row: TransferRow, now: datetime) -> str:
    """Why it does not go on: the dependency that is down, else its last error."""
    if row.held_by is None or row.held_since is None:
        return f"{row.code}: {row.reason}"
    how = "held by" if row.state == "held" else "waiting for"
    text = f"{how} {row.held_by} for {human_span(now - row.held_since)}: {row.code}: {row.reason}"
    if row.retry_at is None:
        return text
    return f"{text}; next try in {human_span(max(row.retry_at - now, timedelta()))}"
