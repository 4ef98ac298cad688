"""`backhaul send`: send a message to the agent's queue."""

from __future__ import annotations

from pathlib import Path

import click

from backhaul.cli.options import OnceOnly, json_option, print_json
from backhaul.cli.queue_arguments import queue_arguments


@click.command("send", cls=OnceOnly)
@queue_arguments
@click.argument("source")
@click.argument("destination", metavar="DEST")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="K=V",
    help="on_exists, publish, engine or verify; may only be stricter than the route. Repeatable.",
)
@click.option(
    "--reply-to",
    metavar="QUEUE",
    help="URL of an SQS queue, or ARN of an SNS topic, that is sent what becomes of it; the route "
    "has to allow it.",
)
@click.option(
    "--sign",
    "key_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign the message with the first key in FILE, for routes with a signature.",
)
@click.option(
    "--valid",
    "valid_s",
    metavar="SECONDS",
    type=click.IntRange(1, 1_209_600),
    default=3600,
    show_default=True,
    help="How long the signature is valid.",
)
@json_option
def command(  # noqa: PLR0913 - one for each option
    *,
    queue: str,
    region: str,
    source: str,
    destination: str,
    options: tuple[str, ...],
    reply_to: str | None,
    key_file: Path | None,
    valid_s: int,
    as_json: bool,
) -> int:
    r"""Send a message to QUEUE in REGION: copy SOURCE to the directory DEST. Prints its id.

    \b
    Example:
      backhaul send my-queue us-west-2 s3://acme-raw/click/day=01/ /landing/click/day=01
    """
    from backhaul.app.send import send_message

    pairs = option_pairs(options)
    message_id = send_message(
        *(queue, region, source, destination, pairs),
        reply_to=reply_to,
        key_file=key_file,
        valid_s=valid_s,
    )
    if as_json:
        print_json({"message_id": message_id, "queue": queue, "region": region})
    else:
        click.echo(message_id)
    return 0


def option_pairs(options: tuple[str, ...]) -> dict[str, object]:
    """`k=v` texts as a mapping; the values are checked with the message."""
    pairs: dict[str, object] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--option {text!r}: write name=value")
        pairs[name] = value
    return pairs
