"""Options that several commands share, and what those options load."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl

if TYPE_CHECKING:
    from backhaul.app.context import Context
    from backhaul.settings.model import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def counted(number: int, noun: str) -> str:
    """`1 transfer`, `2,000 transfers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class OnceOnly(click.Command):
    """Refuses a second value for an option that takes one: click would use the last."""

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


@dataclass(frozen=True, kw_only=True)
class Files:
    """What `--config` and `--ledger` name."""

    config: Path | None
    ledger: LedgerPlace | None

    def settings(
        self, *, needs: Sequence[str] = (), refuses_writable_config: bool = False
    ) -> Settings:
        """For a command that reads the ledger; other faults of the configuration are warnings.

        Args:
            needs: Settings that must be valid, beside `ledger`.
            refuses_writable_config: Refuse a configuration that other users may write.
        """
        from backhaul.app.reading import load_for_reading

        def report(fault: ConfigurationError) -> None:
            if refuses_writable_config and fault.code == "E_CFG_PERMISSIONS":
                raise fault
            click.echo(f"backhaul: warning: {fault}", err=True)

        return load_for_reading(config=self.config, ledger=self.ledger, needs=needs, report=report)

    def context(self) -> Context:
        """For a command that judges no message: routes are not read."""
        from backhaul.app.context import load_context

        return load_context(config=self.config, ledger=self.ledger, is_policy_needed=False)


@dataclass(frozen=True, kw_only=True)
class PolicyFiles(Files):
    """With `--allow` and `--allow-any`."""

    allow: tuple[str, ...]
    allow_any: bool

    def context(self, *, needs_routes: bool = True) -> Context:
        """Settings and policy; warns where the policy is open.

        Raises:
            ConfigurationError: E_CFG_NO_ROUTE where routes are needed and there are none.
        """
        from backhaul.app.context import load_context, require_routes

        context = load_context(
            config=self.config, ledger=self.ledger, allow=self.allow, allow_any=self.allow_any
        )
        if needs_routes:
            require_routes(context)
            if self.allow_any:
                click.echo(
                    "backhaul: warning: --allow-any accepts every source and every destination: "
                    "anyone who can send a message can write anywhere this user can",
                    err=True,
                )
        return context


def _with_files(command: Command, kind: type[Files]) -> Any:
    names = [each.name for each in fields(kind)]

    @wraps(command)
    def call(**given: Any) -> Any:
        return command(files=kind(**{name: given.pop(name) for name in names}), **given)

    return call


class _Ledger(click.Path):
    """A file, or the address of a database."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        url = PostgresUrl.parse(value) if isinstance(value, str) else None
        return super().convert(value, param, ctx) if url is None else url


_ledger_option = click.option(
    "--ledger",
    type=_Ledger(readable=False, path_type=Path),
    help="The ledger file or address, instead of the configured one.",
)
_config_option = click.option(
    "--config",
    type=click.Path(readable=False, path_type=Path),
    help="Configuration file. Default: $BACKHAUL_CONFIG, /etc/backhaul/backhaul.toml, "
    "~/.config/backhaul/backhaul.toml.",
)
_allow_any_option = click.option(
    "--allow-any",
    is_flag=True,
    help="Accept any source and destination, as the original script did. Warns at each start.",
)
_allow_option = click.option(
    "--allow",
    multiple=True,
    metavar="'SOURCE -> DEST'",
    help="A route from the command line, such as 's3://raw/click/ -> /landing/click/'. Repeatable.",
)


def files_options(command: Command) -> Any:
    """`--config` and `--ledger`; the command takes them as `files`."""
    return _config_option(_ledger_option(_with_files(command, Files)))


def policy_options(command: Command) -> Any:
    """With `--allow` and `--allow-any`; the command takes all as `files`, `PolicyFiles`."""
    command = _allow_option(_allow_any_option(_with_files(command, PolicyFiles)))
    return _config_option(_ledger_option(command))


def typed_again(ctx: click.Context, *, without: Sequence[str] = ()) -> tuple[str, ...]:
    """The arguments of a command as they were typed, so that another user can type them.

    sudo drops the environment: a configuration that is named there is an option of these.

    Args:
        without: Parameters to leave out.
    """
    arguments: list[str] = []
    options: list[str] = []
    for one in ctx.command.params:
        source = ctx.get_parameter_source(one.name or "")
        value = ctx.params.get(one.name or "")
        if one.name == "config" and value is None and os.environ.get("BACKHAUL_CONFIG"):
            value = os.environ["BACKHAUL_CONFIG"]
        elif one.name in without or source is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(one, click.Option):
            for each in value if isinstance(value, tuple) else (value,):
                options += [one.opts[0]] if one.is_flag else [one.opts[0], str(each)]
        else:
            arguments.append(str(value))
    return (*arguments, *options)


json_option = click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
json_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="For programs: one JSON object a line."
)


def print_json(fields: Mapping[str, Any]) -> None:
    """One object on one line, with the version of its form; `docs/schema` has each."""
    import json

    click.echo(json.dumps({"v": 1, **fields}, ensure_ascii=False))


def warn(error: BackhaulError) -> None:
    """One line on standard error; the command goes on."""
    from backhaul.core.text import redacted

    click.echo(f"backhaul: warning: {redacted(str(error))}", err=True)


def report_no_ledger(path: LedgerPlace) -> None:
    """Not the same as an empty ledger: the agent may use another path."""
    click.echo(
        f"no ledger yet at {path}: the agent creates it at its first start; "
        "if yours is elsewhere, name it with --ledger",
        err=True,
    )


region_option = click.option(
    "--region",
    envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
    default="us-east-1",
    show_default=True,
    help="S3's region, unless AWS's own settings name one.",
)


class Span(click.ParamType[timedelta]):
    """A span of time such as 90m, 2h or 3d."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Longer than nothing."""
        from backhaul.core.units import parse_span

        if isinstance(value, timedelta):
            return value
        found = parse_span(str(value))
        if found is None:
            self.fail(f"{value!r}: write a time such as 90m, 2h or 3d", param, ctx)
        return found


class Share(click.ParamType[float]):
    """`5%` or `5`, of a hundred."""

    name = "percent"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """As a part of 1."""
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            percent = -1.0
        if not 0 < percent <= 100:  # noqa: PLR2004 - percent
            self.fail(f"{value!r} is not a share: more than 0%, at most 100%", param, ctx)
        return percent / 100


_DAYS_AGO = {"today": 0, "yesterday": 1}


def _midnight(days_ago: int) -> datetime:
    """The beginning of a day, by UTC, as the times of every list are."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
        days=days_ago
    )


class Moment(click.ParamType[datetime]):
    """A date, date and time as ISO 8601 has it (UTC where it names no zone), or a span ago."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Aware, in UTC."""
        from backhaul.core.units import parse_span

        if isinstance(value, datetime):
            return value
        try:
            if (ago := parse_span(str(value))) is not None:
                return datetime.now(UTC) - ago
            if str(value).lower() in _DAYS_AGO:
                return _midnight(_DAYS_AGO[str(value).lower()])
            found = datetime.fromisoformat(str(value))
            zoned = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            return zoned.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a date: write 2026-11-01, 2026-11-01T03:00:00Z, 2h or yesterday",
                param,
                ctx,
            )


class TypedMoment(NamedTuple):
    """A moment, and how it was typed: `1d` is another moment whenever it is typed."""

    at: datetime
    text: str


class MomentAsTyped(click.ParamType[TypedMoment]):
    """As `Moment`, with its text."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> TypedMoment:
        """See `Moment.convert`."""
        if isinstance(value, TypedMoment):
            return value
        return TypedMoment(Moment().convert(value, param, ctx), str(value))
