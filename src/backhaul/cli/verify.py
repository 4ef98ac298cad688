"""`backhaul verify`: prove published data again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backhaul.cli.completion import complete_done_ids
from backhaul.cli.options import Files, Moment, OnceOnly, Share, counted, files_options, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from backhaul.app.verify import VerifyFinding, VerifyTotals


@click.command("verify", cls=OnceOnly)
@click.argument("transfer_ids", metavar="[ID]...", nargs=-1, shell_complete=complete_done_ids)
@click.option("--sample", type=Share(), metavar="N%", help="Check a random sample, for example 1%.")
@click.option("--since", type=Moment(), help="Only transfers that ended since then (UTC).")
@click.option(
    "--read",
    "is_read",
    is_flag=True,
    help="Read every byte from the target, instead of using the checksums that it stores.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON lines, the sum last.")
@files_options
def command(
    *,
    transfer_ids: tuple[str, ...],
    sample: float | None,
    since: datetime | None,
    is_read: bool,
    as_json: bool,
    files: Files,
) -> int:
    r"""Prove published data again, without reading S3; and the evidence itself.

    Compares what the target holds with what was proven when it was published,
    and checks the evidence's own chain. Exits with 65 when something differs.

    \b
    Example:
      backhaul verify 0mh3k2v1x
      backhaul verify --sample 1% --since 2026-11-01
    """
    from backhaul.app.context import quiet_telemetry
    from backhaul.app.verify import Selection, run_verify
    from backhaul.core.errors import ExitCode

    if not transfer_ids and sample is None and since is None:
        raise click.UsageError("name transfers, or give --sample or --since")
    totals = run_verify(
        files.context(),
        Selection(ids=transfer_ids, since=since, share=sample),
        is_read=is_read,
        emit=quiet_telemetry(),
        found=_print_finding_json if as_json else _print_finding,
    )
    if as_json:
        print_json(_sum(totals))
    else:
        _print_totals(totals)
    return ExitCode.BAD_INPUT if totals.findings else ExitCode.OK


def _print_finding(finding: VerifyFinding) -> None:
    click.echo(f"{finding.kind:9} {finding.transfer_id}  {finding.what}")


def _print_finding_json(finding: VerifyFinding) -> None:
    line = {
        "kind": "finding",
        "finding": finding.kind,
        "transfer": finding.transfer_id,
        "what": finding.what,
    }
    print_json(line)


def _sum(totals: VerifyTotals) -> dict[str, object]:
    return {
        "kind": "sum",
        "transfers": totals.transfers,
        "same": totals.same,
        "size": totals.size_bytes,
        "replaced": totals.replaced,
        "asked": totals.sources,
        "findings": totals.findings,
    }


def _print_totals(totals: VerifyTotals) -> None:
    from backhaul.core.units import human_bytes

    if not (totals.transfers or totals.findings):
        click.echo("nothing was checked: no selected transfer has published anything")
        return
    sources = f"; checksums from {_sources(totals.sources)}" if totals.sources else ""
    click.echo(
        f"{counted(totals.same, 'object')} ({human_bytes(totals.size_bytes)}) in "
        f"{counted(totals.transfers, 'transfer')} unchanged{sources}"
    )
    if totals.replaced:
        click.echo(f"{counted(totals.replaced, 'object')} replaced by later transfers since")
    if totals.findings:
        click.echo(counted(totals.findings, "finding"))


SOURCES = {"datanode": "DataNodes", "command": "the hdfs command", "read": "reading the files"}


def _sources(counts: Mapping[str, int]) -> str:
    """`DataNodes`; with counts where there are several."""
    names = [(SOURCES.get(name, name), count) for name, count in sorted(counts.items())]
    if len(names) == 1:
        return names[0][0]
    return ", ".join(f"{name} ({count:,})" for name, count in names)
