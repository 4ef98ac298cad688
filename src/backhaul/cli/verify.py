"""`backhaul verify`: prove published data again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.options import Moment, OnceOnly, config_option, counted

if TYPE_CHECKING:
    from datetime import datetime

    from backhaul.app.verify import Finding


class Share(click.ParamType[float]):
    """`5%` or `5`, of a hundred."""

    name = "percent"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """As a part of 1."""
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            percent = -1.0
        if not 0 < percent <= 100:  # noqa: PLR2004 - percent
            self.fail(f"{value!r} is no share: more than 0%, at most 100%", param, ctx)
        return percent / 100


SOURCES = {"datanode": "DataNodes", "command": "the hdfs command", "read": "reading the files"}


def _sources(asked: dict[str, int]) -> str:
    """`DataNodes`; with counts where there are several."""
    names = [(SOURCES.get(name, name), count) for name, count in sorted(asked.items())]
    if len(names) == 1:
        return names[0][0]
    return ", ".join(f"{name} ({count:,})" for name, count in names)


@click.command("verify", cls=OnceOnly)
@click.argument("transfer_ids", metavar="[ID]...", nargs=-1)
@click.option("--sample", type=Share(), metavar="N%", help="Check a random sample, for example 1%.")
@click.option(
    "--since",
    type=Moment(),
    help="Only transfers that ended since then (UTC).",
)
@click.option(
    "--read",
    "is_read",
    is_flag=True,
    help="Read every byte from the target, instead of asking for the checksums that it keeps.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON lines, the sum last.")
@config_option
def command(
    *,
    transfer_ids: tuple[str, ...],
    sample: float | None,
    since: datetime | None,
    is_read: bool,
    as_json: bool,
    config: Path | None,
    ledger: Path | None,
) -> int:
    r"""Prove published data again, without reading S3; and the evidence itself.

    Compares what the target holds with what was proven when it was published,
    and checks the evidence's own chain. Ends with 65 when something differs.

    \b
    Example:
      backhaul verify 0mh3k2v1x
      backhaul verify --sample 1% --since 2026-11-01
    """
    from backhaul.adapters.system.log import human_bytes
    from backhaul.app.context import load_context, quiet_telemetry
    from backhaul.app.verify import Selection, run_verify
    from backhaul.core.errors import ExitCode

    if not transfer_ids and sample is None and since is None:
        raise click.UsageError("name transfers, or give --sample or --since")

    def tell(finding: Finding) -> None:
        if as_json:
            click.echo(
                json.dumps(
                    {
                        "kind": "finding",
                        "finding": finding.kind,
                        "transfer": finding.transfer_id,
                        "what": finding.what,
                    },
                    ensure_ascii=False,
                )
            )
        else:
            click.echo(f"{finding.kind:9} {finding.transfer_id}  {finding.what}")

    outcome = run_verify(
        load_context(config=config, ledger=ledger, is_policy_needed=False),
        Selection(
            ids=transfer_ids,
            since=since,
            share=sample,
        ),
        is_read=is_read,
        emit=quiet_telemetry(),
        found=tell,
    )
    if as_json:
        click.echo(
            json.dumps(
                {
                    "kind": "sum",
                    "transfers": outcome.transfers,
                    "same": outcome.same,
                    "size": outcome.size_bytes,
                    "replaced": outcome.replaced,
                    "asked": outcome.asked,
                    "findings": len(outcome.findings),
                }
            )
        )
    elif outcome.is_empty:
        click.echo("nothing was looked at: no transfer that published anything is selected")
    else:
        click.echo(
            f"{counted(outcome.same, 'object')} ({human_bytes(outcome.size_bytes)}) in "
            f"{counted(outcome.transfers, 'transfer')} unchanged"
            + (f"; checksums from {_sources(outcome.asked)}" if outcome.asked else "")
        )
        if outcome.replaced:
            click.echo(f"{counted(outcome.replaced, 'object')} replaced by later transfers since")
        if not outcome.is_good:
            click.echo(counted(len(outcome.findings), "finding"))
    return ExitCode.OK if outcome.is_good else ExitCode.BAD_INPUT
