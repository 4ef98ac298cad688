"""`backhaul show`: one transfer with its proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import OnceOnly, config_option, settings_for_reading

if TYPE_CHECKING:
    from backhaul.app.records import JobRow, TransferDetails


@click.command("show", cls=OnceOnly)
@click.argument("transfer_id", metavar="ID")
@click.option(
    "--evidence",
    is_flag=True,
    help="The manifest: each object with its proof, and their seal.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@config_option
def command(
    *, transfer_id: str, evidence: bool, as_json: bool, config: Path | None, ledger: Path | None
) -> int:
    r"""Show the transfer ID: what was asked, what happened, how each object is proven.

    The start of an id is enough where it is the only one.

    \b
    Example:
      backhaul show 0mh3k2v1x --evidence
    """
    from backhaul.app.records import details_as_json, read_evidence, read_transfer

    path = settings_for_reading(config, ledger).ledger_path
    if evidence:
        for line in read_evidence(path, transfer_id):
            click.echo(line)
        return 0
    details = read_transfer(path, transfer_id)
    if as_json:
        click.echo(json.dumps(details_as_json(details), ensure_ascii=False))
    else:
        _print(details)
    return 0


def how_far(job: JobRow) -> str:
    """Its state, and its maps and bytes as last seen."""
    from backhaul.adapters.system.log import human_bytes

    maps = f", maps {job.maps_done} of {job.maps}" if job.maps else ""
    size = f", {human_bytes(job.size_bytes)}" if job.size_bytes else ""
    return f"{job.state}{maps}{size}"


def _print_job(job: JobRow) -> None:
    click.echo(f"application  {job.application_id or job.tag} {how_far(job)}")
    if job.tracking_url:
        click.echo(f"             {job.tracking_url}")
    if job.state == "succeeded":
        click.echo(f"             {job.counters or 'its counters are unknown'}")


def _print(details: TransferDetails) -> None:
    from backhaul.adapters.system.log import human_bytes

    row = details.transfer
    click.echo(f"transfer     {row.id}")
    click.echo(f"state        {row.state}" + (f" ({row.publish_mode})" if row.publish_mode else ""))
    click.echo(f"source       {row.source}")
    click.echo(f"destination  {row.destination}")
    click.echo(f"objects      {row.objects_planned:,} ({human_bytes(row.bytes_planned)})")
    click.echo(f"attempts     {row.attempt} ({row.failures} failed)")
    if row.route:
        click.echo(f"route        {row.route}" + (f" (policy {row.policy})" if row.policy else ""))
    if row.engine:
        click.echo(f"engine       {row.engine} ({row.engine_reason})")
    for job in details.jobs:
        _print_job(job)
    if row.message_id:
        click.echo(f"message      {row.message_id} on {row.queue}")
    if row.code:
        click.echo(f"last reason  {row.code}: {row.reason}")
    if row.duration:
        click.echo(f"took         {row.duration.total_seconds():.1f} s")
    click.echo("\nproof")
    for total in details.proofs:
        name = total.proof or "none yet"
        click.echo(f"  {name:10} {total.objects:>10,} objects  {human_bytes(total.size_bytes)}")
    for one in details.first_objects[:10]:
        proof = one.staged
        how = f"{proof.proof}, {proof.algorithm or 'no S3 checksum'}" if proof else "not proven"
        if proof and proof.checksum_source:
            how += f", target asked by {proof.checksum_source}"
        target = one.target.uri if one.target else one.planned.relative
        click.echo(f"  {target}  {one.planned.pin.size_bytes:,} B  {how}")
    click.echo("\nwhat happened (UTC)")
    for entry in details.journal:
        reason = f"  {entry.code}: {entry.reason}" if entry.code else ""
        click.echo(f"  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.state:<11} try {entry.attempt}{reason}")
