"""`backhaul resume`: the transfers of a paused route begin again."""

from __future__ import annotations

import click

from backhaul.cli.options import Files, OnceOnly, files_options, warn
from backhaul.cli.pause import pause_in_words


@click.command("resume", cls=OnceOnly)
@click.argument("route")
@files_options
def command(*, route: str, files: Files) -> int:
    r"""Let the transfers of ROUTE begin again, after `backhaul pause`.

    \b
    Example:
      backhaul resume landing

    Agents comply within some seconds.
    """
    from backhaul.app.actions import person, resume

    done = resume(files.settings(refuses_writable_config=True), person(), route, warn=warn)
    if done.before is None:
        click.echo(f"route {route} was not paused")
    else:
        click.echo(f"route {route} is resumed; it was {pause_in_words(done.before)}")
    return 0
