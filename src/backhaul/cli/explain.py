"""`backhaul explain`: what a message would do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from backhaul.access import mount_point
from backhaul.cli.options import (
    OnceOnly,
    PolicyFiles,
    counted,
    json_option,
    policy_options,
    print_json,
    region_option,
)
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from backhaul.app.explain import Explanation
    from backhaul.core.objects import Totals


@click.command("explain", cls=OnceOnly)
@click.argument(
    "file",
    default="-",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    required=False,
)
@click.option(
    "--queue", metavar="NAME", help="Assume that it came from this queue: name, URL or ARN."
)
@click.option("--sender", metavar="ID", help="Assume that this SQS SenderId sent it.")
@click.option(
    "--no-list", is_flag=True, help="Only parse and decide; do not contact S3 or the target."
)
@json_option
@region_option
@policy_options
def command(
    *,
    file: str,
    queue: str | None,
    sender: str | None,
    no_list: bool,
    as_json: bool,
    region: str,
    files: PolicyFiles,
) -> int:
    r"""Show what the message body in FILE (or - for standard input) would do; changes nothing.

    It takes every form of a message. A route's queues and senders are checked only with --queue
    and --sender.

    \b
    Example:
      echo 's3://acme-raw/click/day=01/, /landing/click/day=01' | backhaul explain
    """
    from backhaul.app.explain import Sender, all_as_json, exit_code_of, explain, read_body
    from backhaul.core.requests.body import MAX_BODY_BYTES

    records = explain(
        files.context(needs_routes=False),
        read_body(file, MAX_BODY_BYTES),
        region=region,
        is_listed=not no_list,
        sender=Sender(queue=queue, sender_id=sender),
    )
    if as_json:
        print_json(all_as_json(records))
        return exit_code_of(records)
    for number, found in enumerate(records, 1):
        if len(records) > 1:
            click.echo(f"{'' if number == 1 else chr(10)}{'record':<12} {number} of {len(records)}")
        for name, text in _record_lines(found):
            click.echo(f"{name:<12} {redacted(text)}")
    return exit_code_of(records)


FORMS = {
    "line": "the comma line",
    "json": "JSON, version 1",
    "s3": "S3 event notification",
    "eventbridge": "EventBridge event",
}


def _record_lines(found: Explanation) -> Iterator[tuple[str, str]]:
    """Name and text of each line; a name is empty where the one above goes on."""
    if found.form:
        form, _, envelope = found.form.partition(" in ")
        yield "parsed as", FORMS[form] + (" in an SNS envelope" if envelope else "")
    if found.event:
        yield "event", found.event
    if found.ignored is not None:
        reason = found.ignored.reason
        yield "decision", f"ignored ({reason}): the message is deleted, nothing is copied"
    if found.request is not None:
        kind = f"  ({found.kind})" if found.kind else ""
        yield "source", found.request.source.uri + kind
        yield "destination", found.request.destination.uri
    if found.job is not None:
        job = found.job
        yield "route", job.route
        rules = (
            f"on_exists {job.on_exists}, publish {job.publish}, verify {job.verify}, "
            f"name_map {job.name_map}; policy {job.policy_digest}"
        )
        yield "rules", rules
        if found.is_signed:
            yield "signature", "required by the route; not checked, a body alone carries none"
    if found.totals is not None:
        yield from _plan_lines(found, found.totals)
    if found.budget:
        yield "budget", found.budget
    if found.error is not None:
        verb = "refused" if found.refusal is not None else "unknown"
        yield "decision", f"{verb}: {found.error}"
        if found.error.hint:
            yield "", f"hint: {found.error.hint}"
    elif found.ignored is None:
        yield "decision", "accepted"


def _plan_lines(found: Explanation, totals: Totals) -> Iterator[tuple[str, str]]:
    from backhaul.core.transfer.readers.tables import TABLE_NOTES
    from backhaul.core.units import human_bytes

    size = human_bytes(totals.size_bytes)
    skipped = ""
    if totals.markers:
        skipped = f", {counted(totals.markers, 'directory placeholder')} skipped"
    yield "plan", f"{counted(totals.objects, 'object')}, {size}{skipped}"
    for table in found.tables:
        yield "table", TABLE_NOTES[table]
    if found.engine is not None:
        yield "engine", found.engine
    if found.made_in is not None:
        where = found.made_in.uri
        if found.made_in.scheme == "file":
            where += f", on what is mounted at {mount_point(found.made_in.path)}"
        yield "directory", f"does not exist yet; it would be created in {where}"
    if found.is_tree is not None:
        yield "publish", "in one rename" if found.is_tree else "file by file, one rename each"
    if found.job is not None and found.job.completion_marker is not None:
        yield "marker", f"{found.job.completion_marker}, an empty file, published after all others"
    for number, name in enumerate(found.names):
        yield "targets" if number == 0 else "", name.uri
    if totals.objects > len(found.names):
        yield "", f"and {totals.objects - len(found.names):,} more"
    yield from _partition_lines(found)
    if found.names_checked:
        is_all = found.names_checked == totals.objects
        scope = "" if is_all else f" of the first {found.names_checked:,} target names"
        yield "collisions", f"{found.collisions:,}{scope} already exist"
    if found.estimate is not None:
        cost = found.estimate.text(totals.size_bytes)
        yield "egress", f"at most {size} would leave AWS: {cost}"


def _partition_lines(found: Explanation) -> Iterator[tuple[str, str]]:
    if found.hive_table is not None:
        shown = found.partitions or ("none in the first target names",)
        for number, partition in enumerate(shown):
            yield "partitions" if number == 0 else "", f"{found.hive_table.full_name} {partition}"
