"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backhaul.core.errors import ConfigurationError

if TYPE_CHECKING:
    from backhaul.settings.model import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def counted(number: int, noun: str) -> str:
    """`1 transfer`, `2,000 transfers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class OnceOnly(click.Command):
    """Refuses an option that takes one value and is given two: click would take the last."""

    def make_parser(self, ctx: click.Context) -> Any:
        """Click's own, which keeps every occurrence in its order."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            found = parse(args)
            seen: set[str] = set()
            for one in found[2]:
                if not isinstance(one, click.Option) or one.multiple or one.is_flag:
                    continue
                if one.opts[0] in seen:
                    raise click.UsageError(f"{one.opts[0]} is given twice and takes one value", ctx)
                seen.add(one.opts[0])
            return found

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser


class WholeSentences(click.Group):
    """A group whose help has the whole first sentence of each command; click cuts them."""

    command_class = OnceOnly

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In the order they are defined."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, first_sentence(each.help or "")) for name, each in self.commands.items()]
            )


def first_sentence(text: str) -> str:
    """Up to the first full stop, without it."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")


def config_option(command: Command) -> Command:
    """`--config FILE` and `--ledger FILE`."""
    command = click.option(
        "--ledger",
        type=click.Path(readable=False, path_type=Path),
        help="The ledger file, instead of the configured one.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(readable=False, path_type=Path),
        help="Configuration file. Default: $BACKHAUL_CONFIG, /etc/backhaul/backhaul.toml, "
        "~/.config/backhaul/backhaul.toml.",
    )(command)


def settings_for_reading(
    config: Path | None,
    ledger: Path | None,
    *,
    needs: Sequence[str] = (),
    is_trust_needed: bool = False,
) -> Settings:
    """For a command that reads the ledger; what is wrong beside it goes to standard error.

    Args:
        needs: Settings that must be right, beside `ledger`.
        is_trust_needed: Refuse a configuration that other users may write.
    """
    from backhaul.app.reading import load_for_reading

    def report(fault: ConfigurationError) -> None:
        if is_trust_needed and fault.code == "E_CFG_PERMISSIONS":
            raise fault
        click.echo(f"backhaul: warning: {fault}", err=True)

    return load_for_reading(config=config, ledger=ledger, needs=needs, report=report)


def report_no_ledger(path: Path) -> None:
    """Not the same as an empty one: perhaps the path is another than the agent's."""
    click.echo(
        f"no ledger yet at {path}: the agent makes it at its first start; "
        "if yours is elsewhere, name it with --ledger",
        err=True,
    )


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
    """Printed at each start: there is no route, so every message is carried out."""
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
