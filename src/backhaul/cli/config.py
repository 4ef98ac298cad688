"""`backhaul config`: the configuration, checked before an agent reads it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import PolicyFiles, WholeSentences, counted, json_option, policy_options
from backhaul.core.text import printable

if TYPE_CHECKING:
    from backhaul.app.config_check import ConfigurationSummary


@click.group("config", cls=WholeSentences)
def command() -> None:
    r"""Check the configuration before an agent reads it.

    \b
    Example:
      backhaul config check
    """


@command.command("check")
@json_option
@policy_options
def check(*, as_json: bool, files: PolicyFiles) -> None:
    r"""Read the configuration as a start or a reload would, show its routes, and change nothing.

    \b
    Example:
      backhaul config check

    It contacts neither AWS nor the cluster: `backhaul explain` shows what a message would do.
    Exit codes: 0 an agent would take it, 78 it would not: the first fault is shown, with its fix.
    """
    from backhaul.app.config_check import summarise

    found = summarise(files.context())
    if as_json:
        click.echo(json.dumps({"v": 1, **asdict(found)}, ensure_ascii=False))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: ConfigurationSummary) -> list[str]:
    origin = printable(found.file, 4096) if found.file else "no file, so the defaults,"
    lines = [f"{origin} is valid: {counted(len(found.routes), 'route')}"]
    width = max((len(printable(route.name, 40)) for route in found.routes), default=0)
    for route in found.routes:
        ends = (route.sources, route.destinations)
        places = (", ".join(map(printable, each)) or "anything" for each in ends)
        lines.append(f"  {printable(route.name, 40):{width}}  {' → '.join(places)}")
    lines.append(f"ledger  {printable(found.ledger, 4096)}")
    hadoop = printable(found.hadoop, 4096) if found.hadoop else "no configuration found"
    lines.append(f"Hadoop  {hadoop}")
    lines += [f"warning {one.code}: {one.reason}; {one.hint}" for one in found.warnings]
    return lines
