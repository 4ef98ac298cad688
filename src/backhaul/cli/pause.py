"""`backhaul pause`: no further transfer of a route begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.completion import complete_routes
from backhaul.cli.options import (
    Files,
    OnceOnly,
    Span,
    files_options,
    json_lines_option,
    print_json,
    warn,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from backhaul.app.actions import PauseChange
    from backhaul.core.ports import PausedRoute

REASON_MOST = 200


@click.command("pause", cls=OnceOnly)
@click.argument("route", required=False, shell_complete=complete_routes)
@click.option("--all", "is_all", is_flag=True, help="Every route, as before an upgrade of HDFS.")
@click.option(
    "--for",
    "lasting",
    type=Span(),
    metavar="TIME",
    help="For how long, such as 90m, 2h or 3d. Default: until `backhaul resume`.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; status and the log show it.")
@json_lines_option
@files_options
def command(
    *,
    route: str | None,
    is_all: bool,
    lasting: timedelta | None,
    reason: str,
    as_json: bool,
    files: Files,
) -> int:
    r"""Let no further transfer of ROUTE begin; those under way finish.

    \b
    Example:
      backhaul pause landing --for 2h --reason "NameNode upgrade"
      backhaul pause --all --for 2h

    Agents comply within some seconds. Its messages wait and spend nothing; other routes go on.
    """
    from backhaul.app.actions import pause, person, routes_of

    require_one(route, is_all=is_all)
    if len(reason) > REASON_MOST:
        raise click.UsageError(f"--reason has {len(reason)} characters; {REASON_MOST} at most")
    settings = files.settings(refuses_writable_config=True)
    names = [route] if route is not None else routes_of(settings)
    if not names:
        click.echo("there is no route yet", err=True)
    for name in names:
        done = pause(settings, person(), name, lasting=lasting, reason=reason, warn=warn)
        if as_json:
            print_json(pause_as_json(done))
            continue
        click.echo(f"route {name} is {pause_in_words(done.now)}; transfers under way finish")
        if done.before is not None:
            click.echo(f"before, it was {pause_in_words(done.before)}")
    return 0


def require_one(route: str | None, *, is_all: bool) -> None:
    """Refuse a route with --all, and neither.

    Raises:
        click.UsageError: Exit code 64.
    """
    if (route is None) != is_all:
        raise click.UsageError("name a route, or give --all")


def pause_as_json(done: PauseChange) -> dict[str, Any]:
    """The route as it is now, and whether it was paused before."""

    def moment(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

    now = done.now
    return {
        "route": done.route,
        "is_paused": now is not None,
        "since": moment(now.since if now else None),
        "until": moment(now.until if now else None),
        "operator": now.operator if now else None,
        "reason": now.reason if now else None,
        "was_paused": done.before is not None,
    }


def pause_in_words(pause: PausedRoute | None) -> str:
    """`paused until 2026-11-01 05:00:00 UTC by alice@edge1: NameNode upgrade`."""
    from backhaul.core.text import printable

    if pause is None:
        return "not paused"
    who = f"by {printable(pause.operator, REASON_MOST)}"
    why = f": {printable(pause.reason, REASON_MOST)}" if pause.reason else ""
    if pause.until is None:
        return f"paused {who} until it is resumed{why}"
    return f"paused until {pause.until:%Y-%m-%d %H:%M:%S} UTC {who}{why}"
