"""`backhaul explain`: what a message would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backhaul.access import mount_point
from backhaul.cli.options import OnceOnly, config_option, policy_options, region_option
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from backhaul.app.explain import Explanation


@click.command("explain", cls=OnceOnly)
@click.argument(
    "file",
    default="-",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    required=False,
)
@click.option("--queue", metavar="NAME", help="As if it had come from it: name, URL or ARN.")
@click.option("--sender", metavar="ID", help="As if this SQS SenderId had sent it.")
@click.option("--no-list", is_flag=True, help="Only parse and decide; ask nothing of S3 or HDFS.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@region_option
@config_option
@policy_options
def command(  # noqa: PLR0913 - one parameter for each option
    *,
    file: str,
    queue: str | None,
    sender: str | None,
    no_list: bool,
    as_json: bool,
    region: str,
    config: Path | None,
    ledger: Path | None,
    allow: tuple[str, ...],
    allow_any: bool,
) -> int:
    r"""Say what the message body in FILE (or - for standard input) would do; changes nothing.

    Any form: the line, JSON, events of S3 and EMR, in SNS or not. Unless you give --queue or
    --sender, those restrictions of a route are not checked.

    \b
    Example:
      echo 's3://acme-raw/click/day=01/, /landing/click/day=01' | backhaul explain

    Exit codes: 0 it would be carried out, 65 bad message or source, 69 S3 or the target cannot be
    asked, 73 the target refuses, 77 the policy refuses, 78 configuration.
    """
    from backhaul.app.context import load_context
    from backhaul.app.explain import (
        Sender,
        exit_code_of,
        explain,
        explanations_as_json,
        read_body,
    )
    from backhaul.core.requests.body import MAX_BODY_BYTES

    context = load_context(config=config, allow=allow, allow_any=allow_any, ledger=ledger)
    body = read_body(file, MAX_BODY_BYTES)
    records = explain(
        context,
        body,
        region=region,
        is_listed=not no_list,
        sender=Sender(queue=queue, sender_id=sender),
    )
    if as_json:
        click.echo(json.dumps(explanations_as_json(records), ensure_ascii=False))
        return exit_code_of(records)
    for number, told in enumerate(records, 1):
        if len(records) > 1:
            if number > 1:
                click.echo()
            _say("record", f"{number} of {len(records)}")
        _print(told)
    return exit_code_of(records)


FORMS = {
    "line": "the comma line",
    "json": "JSON, version 1",
    "s3": "S3 event notification",
    "eventbridge": "EventBridge event",
}


def _print(told: Explanation) -> None:
    if told.form:
        form, _, envelope = told.form.partition(" in ")
        _say("understood", FORMS[form] + (" in an SNS envelope" if envelope else ""))
    if told.about:
        _say("event", told.about)
    if told.ignored is not None:
        _say("decision", f"ignored: {told.ignored.reason}: deleted, nothing is copied")
    if told.request is not None:
        _say("source", told.request.source.uri + (f"  ({told.kind})" if told.kind else ""))
        _say("destination", told.request.destination.uri)
    if told.job is not None:
        job = told.job
        _say("route", job.route)
        _say(
            "rules",
            f"on_exists {job.on_exists}, publish {job.publish}, verify {job.verify}, "
            f"names {job.name_map}; policy {job.policy_digest}",
        )
        if told.is_signed:
            _say("signature", "wanted; a body alone does not carry one, so it is not judged here")
    _print_plan(told)
    for error, verb in ((told.refusal, "refused"), (told.unreachable, "cannot tell")):
        if error is not None:
            _say("decision", f"{verb}: {error}")
            if error.hint:
                _say("", f"hint: {error.hint}")
            return
    if told.ignored is None:
        _say("decision", "accepted")


def _print_plan(told: Explanation) -> None:
    from backhaul.adapters.system.log import human_bytes

    if told.totals is None:
        return
    totals = told.totals
    markers = f", {totals.markers:,} directory markers skipped" if totals.markers else ""
    _say("plan", f"{totals.objects:,} objects, {human_bytes(totals.size_bytes)}{markers}")
    if told.engine is not None:
        _say("engine", told.engine)
    if told.made_in is not None:
        where = told.made_in.uri
        if told.made_in.scheme == "file":
            where += f", on what is mounted at {mount_point(told.made_in.path)}"
        _say("directory", f"does not exist yet; it would be made in {where}")
    if told.is_tree is not None:
        _say("publish", "one rename" if told.is_tree else "file by file, each by one rename")
    for number, name in enumerate(told.names):
        _say("targets" if number == 0 else "", name.uri)
    if totals.objects > len(told.names):
        _say("", f"and {totals.objects - len(told.names):,} more")
    if told.looked_at:
        scope = "" if told.looked_at == totals.objects else f" of the first {told.looked_at:,}"
        _say("collisions", f"{told.collisions:,}{scope} exist already")
    if told.egress_usd is not None:
        _say(
            "egress",
            f"{human_bytes(totals.size_bytes)} leave AWS: at most about ${told.egress_usd:,.2f} "
            "at the list price of $0.09 per GB",
        )


def _say(name: str, text: str) -> None:
    click.echo(f"{name:<12} {redacted(text)}")
