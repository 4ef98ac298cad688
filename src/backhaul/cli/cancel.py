"""`backhaul cancel`: end a transfer that has not ended."""

from __future__ import annotations

import click

from backhaul.cli.completion import complete_open_ids
from backhaul.cli.options import Files, OnceOnly, files_options, json_option, print_json, warn


@click.command("cancel", cls=OnceOnly)
@click.argument("transfer_id", metavar="ID", shell_complete=complete_open_ids)
@json_option
@files_options
def command(*, transfer_id: str, as_json: bool, files: Files) -> int:
    r"""End the transfer ID, unless it has ended or is being published.

    The start of an id is enough if no other id begins the same way.

    \b
    Example:
      backhaul cancel 0mh3k2v1x

    Nothing of it is published. Its message goes to the dead-letter queue with E_CANCELLED, its
    YARN application is killed, and its staging is removed within half an hour.
    """
    from backhaul.app.actions import cancel, person

    cancelled = cancel(files.context(), person(), transfer_id, warn=warn)
    if as_json:
        print_json({"transfer_id": cancelled, "state": "dead", "code": "E_CANCELLED"})
    else:
        click.echo(f"{cancelled} is cancelled; its worker stops within seconds")
    return 0
