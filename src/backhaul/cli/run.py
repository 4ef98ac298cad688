"""`backhaul run`: the agent."""

from __future__ import annotations

import os
from pathlib import Path

import click

from backhaul.cli.options import OnceOnly, config_option, policy_options, warn_open_door


@click.command("run", cls=OnceOnly)
@click.argument("queue")
@click.argument("region")
@click.option(
    "--drain", is_flag=True, help="End once the queue has stayed empty for one long poll."
)
@config_option
@policy_options
def command(
    *,
    queue: str,
    region: str,
    drain: bool,
    config: Path | None,
    ledger: Path | None,
    allow: tuple[str, ...],
    allow_any: bool,
) -> int:
    r"""Work the messages of the SQS queue QUEUE in REGION until stopped.

    \b
    Example:
      backhaul run my-queue us-west-2
      backhaul run my-queue us-west-2 --allow 's3://acme-raw/click/ -> /landing/click/'

    SIGTERM or Ctrl-C lets running transfers finish and ends with 0; a second one ends at once.
    Exit codes: 0 done, 69 a dependency stayed down (drain), 75 ledger in use, 77 credentials
    refused, 78 configuration.
    """
    from backhaul.app.agent import run_agent
    from backhaul.app.context import load_context, make_telemetry, require_routes

    context = load_context(config=config, allow=allow, allow_any=allow_any, ledger=ledger)
    require_routes(context)
    warn_open_door(allow_any=allow_any)
    if os.geteuid() == 0:
        click.echo(
            "backhaul: warning: running as root: files belong to root, and HDFS sees its superuser "
            "on an unsecured cluster",
            err=True,
        )
    emit = make_telemetry(context.settings)
    return run_agent(
        context,
        queue_name=queue,
        region=region,
        drain=drain,
        emit=emit,
        reopen_log=emit.reopen,
    )
