"""`backhaul copy`: one transfer now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.options import (
    OnceOnly,
    PolicyFiles,
    json_option,
    policy_options,
    print_json,
    region_option,
)
from backhaul.core.errors import ExitCode

if TYPE_CHECKING:
    from backhaul.core.facts import TransferDone


@click.command("copy", cls=OnceOnly)
@click.argument("source")
@click.argument("destination", metavar="DEST")
@click.option(
    "--option", "options", multiple=True, metavar="K=V", help="As for `backhaul send`. Repeatable."
)
@json_option
@region_option
@policy_options
def command(
    *,
    source: str,
    destination: str,
    options: tuple[str, ...],
    as_json: bool,
    region: str,
    files: PolicyFiles,
) -> int:
    r"""Copy SOURCE to the directory DEST now: same policy, same proof, with a progress bar.

    \b
    Example:
      backhaul copy s3://acme-raw/click/day=01/ /landing/click/day=01
      backhaul copy s3://acme-raw/a.csv file:///tmp/in --allow 's3://acme-raw/ -> file:///tmp/in/'

    It may run beside the agent. Ctrl-C removes its staging.
    """
    from backhaul.app.context import quiet_telemetry
    from backhaul.app.copy import run_copy
    from backhaul.cli.progress import Display
    from backhaul.cli.send import option_pairs
    from backhaul.core.requests.body import parse_options, request_from_arguments

    context = files.context()
    request = request_from_arguments(
        source, destination, parse_options(option_pairs(options)), default_fs=context.default_fs
    )
    with Display(lines_to_stderr=as_json) as display:
        run_copy(context, request, region=region, emit=quiet_telemetry(display))
    if as_json:
        for one in display.done:
            print_json(done_as_json(one))
    else:
        display.summarise()
    return ExitCode.OK


def done_as_json(done: TransferDone) -> dict[str, Any]:
    """Of a transfer that this command has done."""
    return {
        "transfer_id": done.transfer_id,
        "state": "superseded" if done.is_superseded else "done",
        "source": done.source,
        "destination": done.destination,
        "objects": done.objects,
        "size_bytes": done.size_bytes,
        "copied_bytes": done.copied_bytes,
        "adopted": done.adopted,
        "publish": done.publish,
        "duration_s": round(done.duration_s, 3),
    }
