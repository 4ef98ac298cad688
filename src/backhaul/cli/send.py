"""`backhaul send`: leave a message."""

from __future__ import annotations

import click


@click.command("send")
@click.argument("queue")
@click.argument("region")
@click.argument("source")
@click.argument("destination", metavar="DEST")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="K=V",
    help="on_exists, publish, engine or verify; may only tighten the route. Repeatable.",
)
def command(
    *, queue: str, region: str, source: str, destination: str, options: tuple[str, ...]
) -> int:
    r"""Leave a message on QUEUE in REGION: copy SOURCE to the directory DEST. Prints its id.

    \b
    Example:
      backhaul send my-queue us-west-2 s3://acme-raw/click/day=01/ /landing/click/day=01
    """
    from backhaul.app.send import send_message

    click.echo(send_message(queue, region, source, destination, option_pairs(options)))
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
