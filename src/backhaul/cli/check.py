"""`backhaul check`: how it is, for Nagios and other monitoring."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.options import Files, OnceOnly, files_options, json_option
from backhaul.core.errors import BackhaulError
from backhaul.core.text import redacted
from backhaul.core.units import parse_span

if TYPE_CHECKING:
    from backhaul.app.check import Checked

UNKNOWN = 3
NAMES = ("queue", "oldest", "retention", "dead_24h", "missed", "at_risk", "held")
TIMES = frozenset({"oldest", "held"})
OFF = "off"
Threshold = tuple[str, float | None]


class ThresholdType(click.ParamType[Threshold]):
    """`NAME=VALUE`, with a time for an age and `off` for no threshold."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> Threshold:
        """The name, and the value in its unit."""
        if isinstance(value, tuple):
            return value
        name, _, text = str(value).partition("=")
        if name not in NAMES:
            self.fail(f"{value!r}: write NAME=VALUE, where NAME is {', '.join(NAMES)}", param, ctx)
        if text == OFF:
            return name, None
        if name in TIMES:
            span = parse_span(text)
            if span is None:
                self.fail(f"{value!r}: write a time such as 90m, 2h or 3d, or off", param, ctx)
            return name, span.total_seconds()
        number = text.removesuffix("%") if name == "retention" else text
        if not number.isascii() or not number.isdecimal():
            self.fail(f"{value!r}: write a whole number, or off", param, ctx)
        return name, float(number)


@click.command("check", cls=OnceOnly)
@click.option(
    "--warn",
    type=ThresholdType(),
    multiple=True,
    metavar="NAME=VALUE",
    help="WARNING from this value on: queue=1000, oldest=2h, retention=50%, dead_24h=1, held=5m, "
    "or off. Repeatable.",
)
@click.option(
    "--critical",
    type=ThresholdType(),
    multiple=True,
    metavar="NAME=VALUE",
    help="CRITICAL from this value on, likewise.",
)
@json_option
@files_options
def command(
    *,
    warn: Sequence[Threshold],
    critical: Sequence[Threshold],
    as_json: bool,
    files: Files,
) -> int:
    r"""Judge how it is for monitoring: one line, measurements, and an exit code as Nagios has them.

    \b
    Example:
      backhaul check --critical oldest=2h --warn queue=1000

    Ends with 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN: the ledger cannot be read). It reads
    the ledger and nothing else. CRITICAL is an agent that does not run or poll, a dependency that
    holds transfers for 15 minutes, 80 % of the retention, and expected data that is missing;
    WARNING any hold, half of the retention, a death within 24 hours, and a backlog that will break
    a retention or a deadline.
    """
    try:
        return _check(files, dict(warn), dict(critical), as_json=as_json)
    except BackhaulError as error:
        click.echo(f"UNKNOWN: {error.code}: {redacted(error.message)}".replace("|", "/"))
        if error.hint:
            click.echo(f"hint: {redacted(error.hint)}")
        return UNKNOWN


def _check(
    files: Files,
    warn: dict[str, float | None],
    critical: dict[str, float | None],
    *,
    as_json: bool,
) -> int:
    from backhaul.app.check import judge
    from backhaul.app.document import as_text
    from backhaul.app.overview import read_overview

    path = files.settings().ledger_place
    view = read_overview(path, datetime.now(UTC).astimezone())
    if view is None:
        click.echo(f"UNKNOWN: no ledger yet at {path}: the agent creates it at its first start")
        return UNKNOWN
    checked = judge(view, warn, critical)
    if as_json:
        click.echo(as_text(view, checked))
    else:
        _print(checked)
    return int(checked.level)


def _print(checked: Checked) -> None:
    click.echo(checked.line)
    if checked.level and checked.health.hint:
        click.echo(f"fix: {redacted(checked.health.hint)}")
