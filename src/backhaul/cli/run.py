"""`backhaul run`: the agent."""

from __future__ import annotations

import os

import click

from backhaul.cli.options import OnceOnly, PolicyFiles, policy_options
from backhaul.cli.queue_arguments import queue_arguments_or_none


@click.command("run", cls=OnceOnly)
@queue_arguments_or_none
@click.option(
    "--drain", is_flag=True, help="End once the queue has stayed empty for one long poll."
)
@policy_options
def command(*, queue: str | None, region: str | None, drain: bool, files: PolicyFiles) -> int:
    r"""Process the messages of the SQS queue QUEUE in REGION until stopped.

    Without QUEUE and REGION it works every [[queue]] of the configuration; with QUEUE, that one
    alone.

    \b
    Example:
      backhaul run my-queue us-west-2
      backhaul run my-queue us-west-2 --allow 's3://acme-raw/click/ -> /landing/click/'

    SIGTERM or Ctrl-C lets running transfers finish, then exits with 0; a second one stops at once.
    """
    from backhaul.adapters.system.log import Telemetry
    from backhaul.app.agent import run_agent
    from backhaul.app.context import log_target
    from backhaul.app.queues import queues_to_work
    from backhaul.settings.load import find_config

    if region is None and find_config(files.config) is None:
        queues_to_work([], queue, region)  # says which is missing, before it is said of routes
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
        queues=queues_to_work(context.settings.queue, queue, region),
        drain=drain,
        emit=emit,
        reopen_log=emit.reopen,
        read_again=files.context,
    )
