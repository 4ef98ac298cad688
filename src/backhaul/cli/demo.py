"""`backhaul demo`: see it work."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import OnceOnly
from backhaul.core.errors import BackhaulError, ExitCode

if TYPE_CHECKING:
    from backhaul.demo.main_job import Demo


@click.command("demo", cls=OnceOnly)
@click.option("--hdfs", is_flag=True, help="Copy to real HDFS daemons (needs a JDK 17 and Maven).")
@click.option(
    "--fleet",
    is_flag=True,
    help="Show two agents on one PostgreSQL instead: one is killed, the other one goes on.",
)
@click.option("--quick", is_flag=True, help="Use less data.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Work in DIR, and keep data, log and ledger there.",
)
@click.option(
    "--dashboard",
    is_flag=True,
    help="Then go on with a message every few seconds, and open the dashboard on it, until Ctrl-C.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8787",
    show_default=True,
    help="Where the dashboard listens; port 0 takes a free one.",
)
def command(
    *, hdfs: bool, fleet: bool, quick: bool, keep: Path | None, dashboard: bool, listen: str
) -> int:
    r"""Show the main job on this machine: messages in, proven files out; no account, no cluster.

    \b
    Example:
      backhaul demo
      backhaul demo --dashboard
      backhaul demo --hdfs --keep /tmp/backhaul-demo
      backhaul demo --fleet

    --fleet starts a PostgreSQL for the ledger, with this machine's programs or those of Debian's
    package, and takes a minute or more. Exit code 0: everything arrived, byte by byte, and once.
    """
    if fleet and (hdfs or dashboard):
        raise click.UsageError("--fleet is a demo of its own: leave out --hdfs and --dashboard")
    with _working_directory(keep) as directory:
        if fleet:
            from backhaul.cli import demo_fleet

            return demo_fleet.show(directory, is_quick=quick, is_kept=keep is not None)
        return _show(
            directory,
            is_hdfs=hdfs,
            is_quick=quick,
            is_kept=keep is not None,
            listen=listen if dashboard else None,
        )


@contextmanager
def _working_directory(keep: Path | None) -> Iterator[Path]:
    """The directory to keep; else a temporary one, whose ledger and log are left to look at."""
    if keep is not None:
        directory = keep.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="backhaul-demo-") as temporary:
        directory = Path(temporary).resolve()
        yield directory


def _leave_to_look_at(directory: Path) -> Path | None:
    """Replace what the last demo left by this one's ledger, log and configuration.

    Returns:
        The configuration. None: another demo does so just now, or there is no home directory that
        can be written.
    """
    from backhaul.settings.model import Settings

    left = Settings.model_construct(ledger=None).ledger_path.parent / "demo"
    try:
        left.mkdir(parents=True, exist_ok=True)
        handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in left.iterdir():
                each.unlink()
            for each in directory.iterdir():
                if each.is_file():
                    shutil.copy(each, left)
            config = left / "backhaul.toml"
            text = config.read_text("utf-8")
            config.write_text(
                text.replace(f'ledger = "{directory}/', f'ledger = "{left}/'), "utf-8"
            )
        finally:
            os.close(handle)
    except (BackhaulError, OSError):
        return None
    return config


def _show(
    directory: Path, *, is_hdfs: bool, is_quick: bool, is_kept: bool, listen: str | None
) -> int:
    from backhaul.cli.progress import Display
    from backhaul.core.units import human_bytes
    from backhaul.demo import main_job as play

    began_s = time.monotonic()
    click.echo("Starting local SQS and S3 servers" + (" and real HDFS daemons" if is_hdfs else ""))
    with play.started(directory, is_hdfs=is_hdfs) as demo:
        count, size = play.make_data(demo, is_quick=is_quick)
        click.echo(f"Made {count} objects ({human_bytes(size)}) in s3://{play.BUCKET}/")
        play.send_messages(demo)
        click.echo(f"Sent {len(demo.messages)} messages to the queue '{play.QUEUE}'\n")
        with Display() as display:
            code = play.work(demo, display)
        identical, different = play.compare(demo)
        _table(demo)
        click.echo(f"\n{identical} of {count} files read back: byte-identical to their objects.")
        for path in different:
            click.echo(f"DIFFERENT: {path}", err=True)
        click.echo(f"{play.dead_letters(demo)} messages in the dead-letter queue, none lost.")
        click.echo(f"Done in {time.monotonic() - began_s:.1f} s.")
        if listen is not None and not different:
            code = _go_on(demo, listen)
    config = directory / "backhaul.toml" if is_kept else _leave_to_look_at(directory)
    if is_kept:
        click.echo(
            f"\nThe files are below {demo.landing}; the agent's log is {directory}/agent.log."
        )
    _next(config)
    return ExitCode.BUG if different else code


def _next(config: Path | None) -> None:
    """What a newcomer can type now."""
    here, command = Path.cwd(), Path(sys.argv[0])
    if command.name != "backhaul":  # python -m backhaul
        command = Path("backhaul")
    elif command.is_relative_to(here):
        command = command.relative_to(here)
    lines = [("demo --dashboard", "watch it work until Ctrl-C")]
    click.echo("\nNext:")
    if config is not None:
        click.echo(f"  export BACKHAUL_CONFIG={quote(str(config))}")
        lines = [
            ("history", "what became of each message"),
            ("history --state dead", "the two dead letters, with their reasons"),
            ("dashboard", "the same as web pages"),
            *lines,
        ]
    width = max(len(words) for words, _ in lines)
    for words, means in lines:
        click.echo(f"  {command} {words:{width}}  # {means}")
    click.echo("On your own cluster: docs/quickstart.md")


def _go_on(demo: Demo, listen: str) -> int:
    from backhaul.demo import live

    with live.dashboard(demo, listen) as link:
        click.echo(
            f"\nThe dashboard: {link}"
            f"\nA message is sent every {live.EVERY_S:.0f} s, and S3 is read at "
            f"{live.LIMIT_BYTES_PER_S / 1e6:.0f} MB/s at most. Ctrl-C ends the demo."
        )
        return live.go_on(demo)


def _table(demo: Demo) -> None:
    from rich.console import Console
    from rich.table import Table

    from backhaul.core.units import human_bytes
    from backhaul.demo import main_job as play

    table = Table(title="What became of the messages", title_justify="left", expand=False)
    table.add_column("message", overflow="fold", max_width=48)
    table.add_column("outcome", no_wrap=True)
    table.add_column("objects", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right")
    for message, row in play.results(demo):
        if row is None:
            reason = demo.ignored.get(message.message_id)
            outcome = f"ignored: {reason}" if reason else "still on the queue"
            table.add_row(message.shows, outcome, "", "", "")
            continue
        outcome = f"{row.state}" if row.code is None else f"{row.state}: {row.code}"
        seconds = f"{row.duration.total_seconds():.2f}" if row.duration else ""
        table.add_row(
            message.shows,
            outcome,
            f"{row.objects_planned:,}",
            human_bytes(row.bytes_planned),
            seconds,
        )
    console = Console()
    Console(width=None if console.is_terminal else 120, markup=False).print(table)
