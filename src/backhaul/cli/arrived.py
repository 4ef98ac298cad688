"""`backhaul arrived`: is everything there that was requested for a place?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backhaul.cli.options import (
    Files,
    OnceOnly,
    counted,
    files_options,
    json_option,
    print_json,
)
from backhaul.cli.where import look_up, nothing
from backhaul.core.errors import ExitCode
from backhaul.core.text import visible

if TYPE_CHECKING:
    from backhaul.app.arrived import Arrival
    from backhaul.app.records import TransferRow

SHOWN_MOST = 20
LONGEST = 2000  # characters of a path


@click.command("arrived", cls=OnceOnly)
@click.argument("place", metavar="PATH_OR_URI")
@json_option
@files_options
def command(*, place: str, as_json: bool, files: Files) -> int:
    r"""Tell by the exit code whether all that was requested for a path is published there.

    \b
    Example:
      backhaul arrived /landing/click/day=01 && start-the-job

    It shows what is missing: transfers that have not ended, and dead ones about which something is
    left to do. PATH_OR_URI is as for `backhaul where`. Only what a message requested counts; what
    should have been requested: `backhaul expectations` and `backhaul reconcile`. It reads the
    ledger alone.
    """
    from backhaul.app.arrived import LOOKED_AT, arrival

    path = files.settings().ledger_place
    found = look_up(path, place, most=LOOKED_AT)
    if not found.is_known:
        raise nothing(found, path)
    it = arrival(path, found)
    if as_json:
        print_json(_document(place, it))
    else:
        _print(it)
    return ExitCode.OK if it.is_complete else ExitCode.BAD_INPUT


def _document(place: str, it: Arrival) -> dict[str, object]:
    return {
        "place": place,
        "is_complete": it.is_complete,
        "arrived": len(it.arrived),
        "objects": sum(one.objects_planned for one in it.arrived),
        "last_at": None if it.last_at is None else it.last_at.isoformat(),
        "missing": [
            {
                "transfer_id": one.id,
                "state": one.state.value,
                "code": one.code,
                "source": one.source,
                "destination": one.destination,
            }
            for one in it.missing
        ],
    }


def _print(it: Arrival) -> None:
    for one in it.missing[:SHOWN_MOST]:
        click.echo(_line(one))
    if len(it.missing) > SHOWN_MOST:
        click.echo(f"and {len(it.missing) - SHOWN_MOST:,} more")
    last = "" if it.last_at is None else f", the last at {it.last_at:%Y-%m-%d %H:%M:%S} UTC"
    done = f"{counted(len(it.arrived), 'transfer')} done{last}"
    if it.is_complete:
        click.echo(f"arrived: {done}")
    elif it.missing:
        click.echo(f"not arrived: {counted(len(it.missing), 'transfer')} missing, {done}")
    else:
        click.echo("not arrived: nothing is under way, and what died is settled")


def _line(one: TransferRow) -> str:
    state = f"{one.state} {one.code}" if one.code else f"{one.state}"
    way = f"{visible(one.source, LONGEST)} → {visible(one.destination, LONGEST)}"
    return f"{one.id}  {state}  {way}"
