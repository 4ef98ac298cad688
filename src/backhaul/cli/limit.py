"""`backhaul limit`: how many bytes a second may come from S3."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import OnceOnly, config_option, settings_for_reading

if TYPE_CHECKING:
    from backhaul.app.limit import Limit

DEFAULT = "default"
_LASTING = re.compile(r"([1-9]\d{0,5})\s*(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@click.command("limit", cls=OnceOnly)
@click.argument("rate", required=False)
@click.option(
    "--for", "lasting", metavar="TIME", help="How long, such as 90m, 2h or 3d; then as configured."
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@config_option
def command(
    *,
    rate: str | None,
    lasting: str | None,
    as_json: bool,
    config: Path | None,
    ledger: Path | None,
) -> int:
    r"""Say how many bytes a second may come from S3; with RATE, change it.

    \b
    Example:
      backhaul limit
      backhaul limit 50MB/s --for 2h
      backhaul limit off
      backhaul limit default

    RATE is bytes per second, over all workers of this node; `off` is no limit, `default` is what
    the configuration says. A running agent obeys within a second, in the middle of a transfer.
    """
    from backhaul.app.limit import forget_limit, read_limit, set_limit

    if lasting is not None and rate in {None, DEFAULT}:
        raise click.UsageError("--for needs a RATE")
    wanted = None if rate in {None, DEFAULT} else _parsed(str(rate))
    span = None if lasting is None else _span(lasting)
    settings = settings_for_reading(
        config, ledger, needs=("bandwidth",), is_trust_needed=rate is not None
    )
    if rate == DEFAULT:
        forget_limit(settings)
    elif rate is not None:
        set_limit(settings, wanted, span)
    found = read_limit(settings)
    click.echo(json.dumps(found.as_json) if as_json else _told(found))
    return 0


def _parsed(rate: str) -> int | None:
    from backhaul.settings.sizes import parse_rate

    try:
        found = parse_rate(rate)
    except ValueError as error:
        raise click.UsageError(f"RATE {rate!r}: {error}") from None
    return found if isinstance(found, int) else None


def _span(text: str) -> timedelta:
    match = _LASTING.fullmatch(text.strip())
    if match is None:
        raise click.UsageError(f"--for {text!r}: write a time such as 90m, 2h or 3d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _told(found: Limit) -> str:
    told = f"{_rate(found.now.bytes_per_s)}, {found.now.why.value}"
    if found.until is not None:
        told += f" until {found.until.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    if found.now.why == "by hand":
        told += f"; configured: {_rate(found.configured.bytes_per_s)}"
    if found.applications_bytes_per_s:
        told += f"; YARN applications: {_rate(found.applications_bytes_per_s)}"
    return told


def _rate(bytes_per_s: int | None) -> str:
    return "no limit" if bytes_per_s is None else f"{bytes_per_s / 1e6:,.3f} MB/s"
