"""Options of lists, each written once: filters, how many, in which order and form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from backhaul.cli.completion import complete_routes
from backhaul.cli.listing import Output
from backhaul.cli.options import Moment, files_options

STATES = ("received", "staging", "publishing", "waiting", "held", "done", "superseded", "dead")
SETTLED = "settled"

Decorator = Callable[[Any], Any]

code_option = click.option(
    "--code",
    "codes",
    metavar="CODE",
    multiple=True,
    help="Only with this error, such as E_DST_DENIED. Repeatable: with any of these.",
)
route_option = click.option(
    "--route", metavar="NAME", shell_complete=complete_routes, help="Only of this route."
)
source_option = click.option(
    "--source", metavar="URI", help="Only whose source begins like this: s3://bucket/prefix."
)
dest_option = click.option(
    "--dest",
    "destination",
    metavar="PATH",
    help="Only whose destination is this directory or below it.",
)
message_option = click.option(
    "--message", metavar="ID", help="Only of this SQS message, or of those that begin so."
)


def since_option(what: str) -> Decorator:
    """`--since`; `what` is the sentence of its help up to the forms."""
    forms = "2h, 7d, yesterday, 2026-11-01, or a time with zone."
    return click.option("--since", type=Moment(), help=f"{what}: {forms}")


until_option = click.option("--until", type=Moment(), help="Only before then, likewise.")


def limit_option(default: int, help_text: str = "Show at most this many.") -> Decorator:
    """`--limit`, `-n`."""
    kind = click.IntRange(1, 100_000)
    return click.option(
        "-n", "--limit", type=kind, default=default, show_default=True, help=help_text
    )


reverse_option = click.option("--reverse", is_flag=True, help="The other way round.")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Print the list alone, without notes on standard error."
)


def output_options(command: Any) -> Any:
    """`--output` and `--json`; the command takes both as `output`."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="For programs: one JSON object a line."
    )
    output = click.option(
        "-o",
        "--output",
        type=click.Choice([one.value for one in Output]),
        help="table (default), wide with all columns, csv for spreadsheets, or json.",
    )
    return output(as_json(_with_output(command)))


def _with_output(command: Any) -> Any:
    from functools import wraps

    @wraps(command)
    def call(*, as_json: bool, output: str | None, **given: Any) -> Any:
        if as_json and output not in {None, Output.JSON.value}:
            raise click.UsageError(f"--json and --output {output} exclude each other")
        chosen = Output.JSON if as_json else Output(output or Output.TABLE.value)
        return command(output=chosen, **given)

    return call


def together(*decorators: Decorator) -> Decorator:
    """One decorator of several; in the help their options are in this order."""

    def apply(command: Any) -> Any:
        for one in reversed(decorators):
            command = one(command)
        return command

    return apply


def list_options(limit: Decorator) -> Decorator:
    """What every list has: how many, in which order and form, and from which files.

    The command takes `limit`, `reverse`, `output`, `quiet` and `files`.
    """
    return together(limit, reverse_option, output_options, quiet_option, files_options)
