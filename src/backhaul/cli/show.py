"""`backhaul show`: one transfer with its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backhaul.cli.completion import complete_ids
from backhaul.cli.options import Files, OnceOnly, files_options, json_option, print_json
from backhaul.core.ports.replies import ReplyState
from backhaul.core.replies.reply import HIVE

if TYPE_CHECKING:
    from backhaul.app.cost import Costs
    from backhaul.app.records import JobRow, TransferDetails, TransferRow


@click.command("show", cls=OnceOnly)
@click.argument("transfer_id", metavar="ID", shell_complete=complete_ids)
@click.option(
    "--evidence",
    is_flag=True,
    help="Print the manifest: each object with its proof, and the seal line.",
)
@json_option
@files_options
def command(*, transfer_id: str, evidence: bool, as_json: bool, files: Files) -> int:
    r"""Show the transfer ID: the request, what happened, and the proof of each object.

    The start of an id is enough if no other id begins the same way.

    \b
    Example:
      backhaul show 0mh3k2v1x --evidence
    """
    from backhaul.app.cost import read_costs
    from backhaul.app.records import details_as_json, read_evidence, read_transfer

    settings = files.settings()
    path = settings.ledger_place
    if evidence:
        for line in read_evidence(path, transfer_id):
            click.echo(line)
        return 0
    details = read_transfer(path, transfer_id)
    costs = read_costs(path, settings.cost.price)
    if as_json:
        print_json(details_as_json(details, costs))
    else:
        _print(details, costs)
    return 0


def job_progress(job: JobRow) -> str:
    """The state of a YARN application, and its maps and bytes as last seen."""
    from backhaul.core.units import human_bytes

    maps = f", maps {job.maps_done} of {job.maps}" if job.maps else ""
    size = f", {human_bytes(job.size_bytes)}" if job.size_bytes else ""
    return f"{job.state}{maps}{size}"


def _print(details: TransferDetails, costs: Costs) -> None:
    from backhaul.core.cost.prices import usd_text
    from backhaul.core.units import human_bytes

    row = details.transfer
    _line("transfer", row.id)
    _line("state", f"{row.state}" + (f" ({row.publish_mode})" if row.publish_mode else ""))
    _line("source", row.source)
    _line("destination", row.destination)
    _line("objects", f"{row.objects_planned:,} ({human_bytes(row.bytes_planned)})")
    _line("attempts", f"{row.attempt} ({row.failures} failed)")
    if row.route:
        _line("route", row.route + (f" (policy {row.policy})" if row.policy else ""))
    _print_readers(row)
    if row.engine:
        _line("engine", f"{row.engine} ({row.engine_reason})")
    for job in details.jobs:
        _line("application", f"{job.application_id or job.tag} {job_progress(job)}")
        if job.tracking_url:
            _line("", job.tracking_url)
        if job.state == "succeeded":
            _line("", job.counters or "its counters are unknown")
    _print_message(row)
    if size := row.egress_copy + row.egress_retry + row.egress_verify:
        again = f", {human_bytes(row.egress_retry)} of it once more" if row.egress_retry else ""
        cost = usd_text(costs.of_transfer(row))
        _line("left S3", f"{human_bytes(size)}{again}: {cost} by {costs.price.source}")
    if row.code:
        _line("last error", f"{row.code}: {row.reason}")
    if row.sent_again_at:
        _line("sent again", _sent_again(details))
    elif row.settled_at:
        _line("settled", _settled(details))
    if row.duration:
        _line("took", f"{row.duration.total_seconds():.1f} s")
    _print_replies(details)
    _print_proofs(details)
    click.echo("\nwhat happened (UTC)")
    for entry in details.journal:
        reason = f"  {entry.code}: {entry.reason}" if entry.code else ""
        click.echo(
            f"  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.state:<11} attempt {entry.attempt}{reason}"
        )


def _print_replies(details: TransferDetails) -> None:
    for one in details.replies:
        error = f" {one.code}: {one.reason}" if one.code else ""
        state = one.state.value
        if one.target == HIVE and one.state is not ReplyState.SENT:
            state = f"published, not registered ({state})"
        _line("reply", f"{one.event} to {one.target}: {state}{error}")


def _print_readers(row: TransferRow) -> None:
    """What readers of the directory must know."""
    from backhaul.core.transfer.readers.tables import TABLE_NOTES

    if row.completion_marker:
        _line("marker", f"{row.completion_marker} (empty, published after all others)")
    for table in row.table_format.split(", ") if row.table_format else ():
        _line("table", TABLE_NOTES.get(table, table))


def _print_message(row: TransferRow) -> None:
    if row.message_id:
        _line("message", f"{row.message_id} on {row.queue}")
    if row.sender or row.sent_at:
        when = f" at {row.sent_at:%Y-%m-%d %H:%M:%S} UTC" if row.sent_at else ""
        _line("sent", f"by {row.sender or 'unknown'}{when}")
    if row.traceparent:
        _line("traceparent", row.traceparent)
    if row.aws_trace_header:
        _line("X-Ray trace", row.aws_trace_header)
    if row.openlineage_parent:
        _line("parent run", row.openlineage_parent)


def _sent_again(details: TransferDetails) -> str:
    """How a dead transfer was settled."""
    row, settled_by = details.transfer, details.settled_by
    text = f"{row.sent_again_at:%Y-%m-%d %H:%M:%S} UTC as message {row.sent_again_as}: "
    if settled_by is None:
        return f"{text}no agent has received it yet"
    return f"{text}transfer {settled_by.id} is {settled_by.state}"


def _settled(details: TransferDetails) -> str:
    """Why nothing is left to do, of a dead transfer that was not sent again."""
    when = f"{details.transfer.settled_at:%Y-%m-%d %H:%M:%S} UTC"
    if details.transfer.settled_transfer:
        return f"{when}: transfer {details.transfer.settled_transfer} brought the same"
    return f"{when}: its dead letter was deleted"


def _pruned(row: TransferRow) -> str:
    """When and by which rule the object lines went."""
    return (
        f"dropped at {row.pruned_at:%Y-%m-%d %H:%M:%S} UTC by {row.pruned_by}; "
        "their digest stays sealed: backhaul show ID --evidence"
    )


def _print_proofs(details: TransferDetails) -> None:
    from backhaul.core.units import human_bytes

    click.echo("\nproof")
    row = details.transfer
    if row.pruned_at is not None:
        click.echo(f"  {_pruned(row)}")
    for total in details.proofs:
        name = total.proof or "not yet"
        click.echo(f"  {name:10} {total.objects:>10,} objects  {human_bytes(total.size_bytes)}")
    for one in details.first_objects[:10]:
        proof = one.staged
        how = f"{proof.proof}, {proof.algorithm or 'no S3 checksum'}" if proof else "not proven"
        if proof and proof.checksum_source:
            how += f", target checksum from {proof.checksum_source}"
        target = one.target.uri if one.target else one.planned.relative
        click.echo(f"  {target}  {one.planned.pin.size_bytes:,} B  {how}")


def _line(name: str, text: str) -> None:
    click.echo(f"{name:<12} {text}")
