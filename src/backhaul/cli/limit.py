"""`backhaul limit`: how many bytes a second may come from S3."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import Files, OnceOnly, Span, files_options, json_option, print_json, warn

if TYPE_CHECKING:
    from datetime import timedelta

    from backhaul.app.limit import Limit

DEFAULT = "default"


@click.command("limit", cls=OnceOnly)
@click.argument("rate", required=False)
@click.option(
    "--for",
    "lasting",
    type=Span(),
    metavar="TIME",
    help="For how long, such as 90m, 2h or 3d; then the configuration decides.",
)
@json_option
@files_options
def command(*, rate: str | None, lasting: timedelta | None, as_json: bool, files: Files) -> int:
    r"""Show how many bytes per second may be read from S3; with RATE, change it.

    \b
    Example:
      backhaul limit
      backhaul limit 50MB/s --for 2h
      backhaul limit off
      backhaul limit default

    RATE is bytes per second, over all workers of this node, or of all agents of a ledger on
    PostgreSQL; `off` removes the limit, `default` restores the configured one. A running agent
    applies it within a second (on PostgreSQL: some seconds), also during a transfer.
    """
    from backhaul.app.actions import person, set_limit
    from backhaul.app.limit import read_limit
    from backhaul.core.rate_limit import ManualLimit

    if lasting is not None and rate in {None, DEFAULT}:
        raise click.UsageError("--for needs a RATE")
    manual = None
    if rate not in {None, DEFAULT}:
        until = None if lasting is None else datetime.now(UTC) + lasting
        manual = ManualLimit(bytes_per_s=_parsed(str(rate)), until=until)
    settings = files.settings(needs=("bandwidth",), refuses_writable_config=rate is not None)
    if rate is not None:
        set_limit(settings, person(), manual, warn=warn)
    found = read_limit(settings)
    if as_json:
        print_json(found.as_json)
    else:
        click.echo(_in_words(found))
    return 0


def _parsed(rate: str) -> int | None:
    from backhaul.settings.sizes import parse_rate

    try:
        found = parse_rate(rate)
    except ValueError as error:
        raise click.UsageError(f"RATE {rate!r}: {error}") from None
    return found if isinstance(found, int) else None


def _in_words(found: Limit) -> str:
    text = f"{_rate(found.now.bytes_per_s)}, {found.now.why.value}"
    if found.until is not None:
        text += f" until {found.until.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    if found.now.why == "by hand":
        text += f"; configured: {_rate(found.configured.bytes_per_s)}"
    if found.applications_bytes_per_s:
        text += f"; YARN applications: {_rate(found.applications_bytes_per_s)}"
    return text


def _rate(bytes_per_s: int | None) -> str:
    return "no limit" if bytes_per_s is None else f"{bytes_per_s / 1e6:,.3f} MB/s"
