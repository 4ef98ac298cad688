"""`backhaul cancel`: end a transfer that has not ended."""

from __future__ import annotations

from pathlib import Path

import click

from backhaul.cli.options import OnceOnly, config_option


@click.command("cancel", cls=OnceOnly)
@click.argument("transfer_id", metavar="ID")
@config_option
def command(*, transfer_id: str, config: Path | None, ledger: Path | None) -> int:
    r"""End the transfer ID, unless it has ended or is being published.

    The start of an id is enough where it is the only one.

    \b
    Example:
      backhaul cancel 0mh3k2v1x

    Nothing of it is published. Its message ends in the dead-letter queue with E_CANCELLED, its
    application on YARN is killed, and its staging is removed within half an hour.
    """
    from backhaul.app.cancel import cancel
    from backhaul.app.context import load_context

    cancelled = cancel(
        load_context(config=config, ledger=ledger, is_policy_needed=False), transfer_id
    )
    click.echo(f"{cancelled} is cancelled; a worker that is on it stops within seconds")
    return 0
