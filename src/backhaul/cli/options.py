"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """`--config FILE` and `--ledger FILE`."""
    command = click.option(
        "--ledger",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The ledger file, instead of the configured one.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Configuration file. Default: $BACKHAUL_CONFIG, /etc/backhaul/backhaul.toml, "
        "~/.config/backhaul/backhaul.toml.",
    )(command)


def policy_options(command: Command) -> Command:
    """`--allow` and `--allow-any`."""
    command = click.option(
        "--allow-any",
        is_flag=True,
        help="Accept any source and destination, as the original script did. Warns at each start.",
    )(command)
    return click.option(
        "--allow",
        multiple=True,
        metavar="'SOURCE -> DEST'",
        help="A route from the command line, such as 's3://raw/click/ -> /landing/click/'. "
        "Repeatable.",
    )(command)


region_option = click.option(
    "--region",
    envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
    default="us-east-1",
    show_default=True,
    help="S3's region, where AWS's own settings name none.",
)


def warn_open_door(*, allow_any: bool) -> None:
    """Said at each start, as SPEC asks."""
    if allow_any:
        click.echo(
            "backhaul: warning: --allow-any accepts every source and every destination: whoever "
            "may send a message can write anywhere this user can",
            err=True,
        )


class Moment(click.ParamType[datetime]):
    """A date, or date and time as ISO 8601 has it; UTC where it names no zone."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Aware, in UTC."""
        try:
            found = datetime.fromisoformat(str(value))
            zoned = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            return zoned.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date: 2026-11-01 or 2026-11-01T03:00:00Z", param, ctx)
