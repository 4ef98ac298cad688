"""`backhaul run`: the agent."""

from __future__ import annotations

import os

import click

from backhaul.cli.options import OnceOnly, PolicyFiles, policy_options
from backhaul.cli.queue_arguments import queue_arguments


@click.command("run", cls=OnceOnly)
@queue_arguments
@click.option(
    "--drain", is_flag=True, help="End once the queue has stayed empty for one long poll."
)
@policy_options
def command(*, queue: str, region: str, drain: bool, files: PolicyFiles) -> int:
    r"""Process the messages of the SQS queue QUEUE in REGION until stopped.

    \b
    Example:
      backhaul run my-queue us-west-2
      backhaul run my-queue us-west-2 --allow 's3://acme-raw/click/ -> /landing/click/'

    SIGTERM or Ctrl-C lets running transfers finish, then exits with 0; a second one stops at once.
    """
    from backhaul.adapters.system.log import Telemetry
    from backhaul.app.agent import run_agent
    from backhaul.app.context import log_target

    context = files.context()
    if os.geteuid() == 0:
        click.echo(
            "backhaul: warning: running as root: files will belong to root, and an HDFS without "
            "Kerberos treats the agent as its superuser",
            err=True,
        )
    emit = Telemetry(log_target(context.settings.log))
    return run_agent(
        context,
        queue_name=queue,
        region=region,
        drain=drain,
        emit=emit,
        reopen_log=emit.reopen,
        read_again=files.context,
    )
