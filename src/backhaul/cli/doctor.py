"""`backhaul doctor`: a check list, each fault with its fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.options import (
    OnceOnly,
    PolicyFiles,
    counted,
    json_option,
    policy_options,
    print_json,
    typed_again,
)
from backhaul.cli.queue_arguments import queue_arguments_or_none
from backhaul.cli.screen import has_colour
from backhaul.core.text import redacted, visible

if TYPE_CHECKING:
    from backhaul.app.doctor.context import DoctorContext
    from backhaul.app.doctor.finding import Finding

LINE_MAX = 4000
MARKS = {"ok": "ok", "warning": "warn", "failed": "FAIL", "skipped": "skip"}
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}


@click.command("doctor", cls=OnceOnly)
@queue_arguments_or_none
@click.option("--route", help="Probe only what this route needs.")
@click.option("--offline", is_flag=True, help="Probe only what needs no network.")
@click.option(
    "--policy",
    is_flag=True,
    help="Print the least-privilege IAM policy of this configuration, and probe nothing.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Also write what support needs, without secrets, into this new file, a tar.gz.",
)
@json_option
@policy_options
def command(
    *,
    queue: str | None,
    region: str | None,
    route: str | None,
    offline: bool,
    policy: bool,
    bundle: Path | None,
    as_json: bool,
    files: PolicyFiles,
) -> int:
    r"""Probe all that a copy needs and show, for each fault, the exact fix.

    \b
    Example:
      backhaul doctor my-queue us-west-2

    It takes no message and leaves nothing behind. Without QUEUE and REGION, the queue is
    that of an agent that runs on the ledger. Ends
    with 0 when nothing failed (warnings allowed), else with the first of these that applies: 78
    configuration, 77 not allowed, 69 something is unavailable.
    """
    from backhaul.app.doctor.context import read_context

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
    arguments = typed_again(click.get_current_context(), without=("as_json", "bundle", "policy"))
    context = replace(context, arguments=arguments)
    if policy:
        if bundle is not None:
            raise click.UsageError("--policy probes nothing: it has no --bundle")
        return _print_policy(context)
    return _examine(context, bundle, as_json=as_json)


def _print_policy(context: DoctorContext) -> int:
    """To standard output, so that it can go into a file; notes to standard error."""
    from backhaul.app.doctor.policy import policy_of
    from backhaul.core.access_policy import policy_text

    found = policy_of(context)
    click.echo(policy_text(found.policy))
    for note in found.notes:
        click.echo(f"note: {redacted(note)}", err=True)
    return 0


def _examine(context: DoctorContext, bundle: Path | None, *, as_json: bool) -> int:
    from backhaul.app.doctor.bundle import refuse_existing, write_bundle
    from backhaul.app.doctor.finding import exit_code_of
    from backhaul.app.doctor.run import examine

    if bundle is not None:
        refuse_existing(bundle)
    found = examine(context)
    findings = [one for _, one in found] if as_json else list(_shown(found))
    code = exit_code_of(findings)
    written = write_bundle(context, findings, bundle) if bundle is not None else None
    if as_json:
        report: dict[str, Any] = {"exit_code": int(code)}
        report["findings"] = [one.as_json for one in findings]
        if written is not None:
            report["bundle"] = {"file": str(written.path), "members": dict(written.members)}
        print_json(report)
        return int(code)
    click.echo(_summary(findings))
    if written is not None:
        click.echo(f"\n{written.path} has, readable by you alone and without secrets:")
        for name, size_bytes in written.members:
            click.echo(f"  {size_bytes:>10,} B  {name}")
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
