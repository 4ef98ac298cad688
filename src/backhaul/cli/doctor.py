"""`backhaul doctor`: a check list, each fault with its fix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import OnceOnly, PolicyFiles, counted, json_option, policy_options
from backhaul.cli.screen import has_colour
from backhaul.core.text import redacted, visible

if TYPE_CHECKING:
    from backhaul.app.doctor.finding import Finding

LINE_MAX = 4000
MARKS = {"ok": "ok", "warning": "warn", "failed": "FAIL", "skipped": "skip"}
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}


@click.command("doctor", cls=OnceOnly)
@click.argument("queue", required=False)
@click.argument("region", required=False)
@click.option("--route", help="Probe only what this route needs.")
@click.option("--offline", is_flag=True, help="Probe only what needs no network.")
@json_option
@policy_options
def command(
    *,
    queue: str | None,
    region: str | None,
    route: str | None,
    offline: bool,
    as_json: bool,
    files: PolicyFiles,
) -> int:
    r"""Probe all that a copy needs and show, for each fault, the exact fix.

    \b
    Example:
      backhaul doctor my-queue us-west-2

    It takes no message and leaves nothing behind. Without QUEUE and REGION, SQS is not probed. Ends
    with 0 when nothing failed (warnings allowed), else with the first of these that applies: 78
    configuration, 77 not allowed, 69 something is unavailable.
    """
    from backhaul.app.doctor.context import read_context
    from backhaul.app.doctor.finding import exit_code_of
    from backhaul.app.doctor.run import examine

    if queue is not None and region is None:
        raise click.UsageError("QUEUE needs its REGION: backhaul doctor my-queue us-west-2")
    context = read_context(
        config=files.config,
        ledger=files.ledger,
        allow=files.allow,
        allow_any=files.allow_any,
        queue=queue,
        region=region,
        route=route,
        is_offline=offline,
    )
    found = examine(context)
    findings = [one for _, one in found] if as_json else list(_shown(found))
    code = exit_code_of(findings)
    if as_json:
        report = {"v": 1, "exit_code": int(code), "findings": [one.as_json for one in findings]}
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        click.echo(_summary(findings))
    return int(code)


def _shown(found: Iterable[tuple[str, Finding]]) -> Iterator[Finding]:
    """Each is printed as soon as it is known: a probe may wait for a timeout."""
    heading = ""
    for section, finding in found:
        if section != heading:
            click.echo(f"{'' if not heading else chr(10)}{section}")
            heading = section
        for line in _lines(finding):
            click.echo(line)
        yield finding


def _lines(finding: Finding) -> Iterator[str]:
    mark = f"{MARKS[finding.state]:<4}"
    if has_colour():
        mark = click.style(mark, fg=COLOURS[finding.state])
    parts = [finding.check]
    if finding.route:
        parts.append(f"route {finding.route}")
    if finding.subject:
        parts.append(_fit(finding.subject))
    code = f"{finding.code}: " if finding.code else ""
    yield f"  {mark}  {'  '.join(parts)}: {code}{_fit(finding.text)}"
    for number, line in enumerate(finding.fix):
        yield f"        {'fix:' if number == 0 else '    '} {_fit(line)}"


def _fit(text: str) -> str:
    return visible(redacted(text), LINE_MAX)


def _summary(findings: list[Finding]) -> str:
    counts = {state: sum(one.state == state for one in findings) for state in MARKS}
    parts = [f"{counts['ok']:,} ok"]
    if counts["warning"]:
        parts.append(counted(counts["warning"], "warning"))
    if counts["failed"]:
        parts.append(f"{counts['failed']:,} failed")
    if counts["skipped"]:
        parts.append(f"{counts['skipped']:,} not probed")
    return f"\n{', '.join(parts)}"
