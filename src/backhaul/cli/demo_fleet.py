"""`backhaul demo --fleet` on the terminal: who worked on what, who was killed, who went on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backhaul.core.errors import ExitCode
from backhaul.core.units import human_bytes

INDENT = " " * 11  # below the name of the agent

if TYPE_CHECKING:
    from backhaul.demo.fleet import Fleet, FleetEnd, FleetStep


def show(directory: Path, *, is_quick: bool, is_kept: bool) -> int:
    """Run it; the exit code is 0 where everything arrived, once."""
    from backhaul.demo import fleet as play

    began_s = time.monotonic()
    click.echo("Starting a PostgreSQL, local SQS and S3 servers, and two agents")
    with play.started(directory, _print_step) as fleet:
        names = play.make_data(fleet.demo, is_quick=is_quick)
        _print_beginning(fleet, len(names))
        end = play.play(fleet, names)
        _print_end(fleet, end)
    click.echo(f"Done in {time.monotonic() - began_s:.0f} s.")
    if is_kept:
        click.echo(
            f"\nThe files are below {directory}/landing, an agent's log is agent-1/agent.log."
        )
    elif not end.is_complete:
        click.echo("\nTo see the agents' logs: backhaul demo --fleet --keep DIR", err=True)
    click.echo("\nOn nodes of your own: docs/postgresql.md")
    return ExitCode.OK if end.is_complete else ExitCode.BUG


def _print_beginning(fleet: Fleet, count: int) -> None:
    from backhaul.demo import fleet as play

    pids = " and ".join(f"{one.name} (process {one.process.pid})" for one in fleet.members)
    size = human_bytes(count * play.OBJECTS * play.OBJECT_BYTES)
    click.echo(
        f"{pids} share one queue, and one ledger:\n"
        f"  {fleet.demo.context.settings.ledger_place}\n"
        f"Sending {count} messages, each for a directory of {play.OBJECTS} objects, {size} in all. "
        f"Each agent reads\n{play.RATE} at most, two directories at a time.\n"
    )


def _print_step(step: FleetStep) -> None:
    click.echo(f"{step.at_s:6.1f} s  {step.member}  {_sentence(step)}")


def _sentence(step: FleetStep) -> str:
    from backhaul.app.agent import FLEET_VISIBILITY_S
    from backhaul.demo.fleet import FleetStepKind

    names = " and ".join(step.directories)
    match step.kind:
        case FleetStepKind.ARRIVED:
            return f"brought {names}"
        case FleetStepKind.TAKEN_OVER:
            return f"TOOK OVER {names}, {step.after_s:.0f} s after the kill"
        case FleetStepKind.KILLED:
            return (
                f"KILLED (kill -9) while it copied {names}.\n"
                f"{INDENT}Its messages stay hidden until their visibility timeout ends, at most "
                f"{FLEET_VISIBILITY_S} s.\n{INDENT}Nothing needs to be done: the other one goes on."
            )


def _print_end(fleet: Fleet, end: FleetEnd) -> None:
    click.echo()
    for member in fleet.members:
        brought = sorted(fleet.brought_by(member))
        click.echo(f"{member.name} brought {len(brought)}: {', '.join(brought) or 'nothing'}")
    after = [f"{name} after {s:.0f} s" for name, s in sorted(end.taken_over.items()) if s]
    if after:
        click.echo(f"Taken over from the killed one: {', '.join(after)}")
    for name, seconds in sorted(end.taken_over.items()):
        if seconds is None:
            click.echo(f"NOT TAKEN OVER: {name}", err=True)
    if not end.taken_over:
        click.echo("NO AGENT WAS KILLED: none had a transfer under way", err=True)
    for path in end.different:
        click.echo(f"MISSING OR DIFFERENT: {path}", err=True)
    for path in end.surplus:
        click.echo(f"NOT EXPECTED: {path}", err=True)
    click.echo(
        f"{end.identical} of {end.files} files read back: byte-identical to their objects; "
        f"{len(end.surplus) or 'no'} other files are there.\n"
        f"{end.done} of {end.transfers} transfers are done in the ledger, exactly once each; "
        f"{end.proven} of {end.files} objects have their proof.\n"
        f"{end.queued} messages left on the queue, {end.dead} in the dead-letter queue."
    )
