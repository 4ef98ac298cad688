"""`backhaul resume`: the transfers of a paused route begin again."""

from __future__ import annotations

import click

from backhaul.cli.completion import complete_routes
from backhaul.cli.options import (
    Files,
    OnceOnly,
    files_options,
    json_lines_option,
    print_json,
    warn,
)
from backhaul.cli.pause import pause_as_json, pause_in_words, require_one


@click.command("resume", cls=OnceOnly)
@click.argument("route", required=False, shell_complete=complete_routes)
@click.option("--all", "is_all", is_flag=True, help="Every route that is paused.")
@json_lines_option
@files_options
def command(*, route: str | None, is_all: bool, as_json: bool, files: Files) -> int:
    r"""Let the transfers of ROUTE begin again, after `backhaul pause`.

    \b
    Example:
      backhaul resume landing
      backhaul resume --all

    Agents comply within some seconds.
    """
    from backhaul.app.actions import paused_of, person, resume

    require_one(route, is_all=is_all)
    settings = files.settings(refuses_writable_config=True)
    names = [route] if route is not None else paused_of(settings)
    if not names:
        click.echo("no route is paused", err=as_json)
    for name in names:
        done = resume(settings, person(), name, warn=warn)
        if as_json:
            print_json(pause_as_json(done))
        elif done.before is None:
            click.echo(f"route {name} was not paused")
        else:
            click.echo(f"route {name} is resumed; it was {pause_in_words(done.before)}")
    return 0
