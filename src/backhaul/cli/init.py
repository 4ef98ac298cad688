"""`backhaul init`: write a configuration, and queue, notification and IAM as templates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backhaul.cli.options import OnceOnly
from backhaul.core.errors import BackhaulError, BadArgument

if TYPE_CHECKING:
    from backhaul.app.init.answers import InitAnswers
    from backhaul.app.init.run import Outputs
    from backhaul.core.file_systems import FileSystems

_Answer = TypeVar("_Answer")
_PATH = click.Path(path_type=Path, allow_dash=True)
_NEEDED = ("queue", "region", "source", "destination")


@click.command("init", cls=OnceOnly)
@click.argument("file", required=False, type=_PATH)
@click.option("--queue", metavar="NAME", help="The queue's name, or its URL or ARN.")
@click.option(
    "--region",
    envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
    help="The queue's region. Default: $AWS_REGION.",
)
@click.option(
    "--source",
    multiple=True,
    metavar="S3_URI",
    help="What may be copied: s3://BUCKET/PREFIX/. Repeatable.",
)
@click.option(
    "--destination", metavar="DIR", help="Where to: /DIR/, hdfs://NAMESERVICE/DIR/, file:///DIR/."
)
@click.option(
    "--bucket-events/--no-bucket-events",
    default=None,
    help="The bucket itself sends an event for each new object.",
)
@click.option(
    "--sender",
    "senders",
    multiple=True,
    metavar="WHO",
    help="Who else may send: an account or the ARN of a user or role, for the queue's policy; or an"
    " SQS SenderId, for the route. Repeatable.",
)
@click.option(
    "--kms-key",
    "kms_keys",
    multiple=True,
    metavar="ARN",
    help="A KMS key that encrypts the objects. Repeatable.",
)
@click.option("--source-owner", metavar="ACCOUNT", help="The account that owns the bucket.")
@click.option(
    "--role-for",
    metavar="ARN",
    help="Make a role instead of a user, for this trust anchor of IAM Roles Anywhere or this"
    " principal.",
)
@click.option("--name", help="The route's name. Default: from the source.")
@click.option("--ledger", metavar="FILE", help="The ledger file. Default: as every command.")
@click.option(
    "--terraform",
    "terraform_to",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=".",
    metavar="FILE|DIR",
    help="Also write queue, dead-letter queue, notification and IAM as Terraform; without a"
    " value here.",
)
@click.option(
    "--cloudformation",
    "cloudformation_to",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=".",
    metavar="FILE|DIR",
    help="The same as a CloudFormation template.",
)
def command(
    *,
    file: Path | None,
    terraform_to: Path | None,
    cloudformation_to: Path | None,
    **given: Any,
) -> int:
    r"""Write a commented configuration to FILE, and templates of what it needs in AWS.

    On a terminal it asks for what no option gives. Default FILE: where every command looks,
    /etc/backhaul/backhaul.toml for root, else ~/.config/backhaul/backhaul.toml; - prints it. No
    file is ever replaced, and nothing is contacted.

    \b
    Example:
      backhaul init --queue my-queue --region us-west-2 \
        --source s3://acme-raw/click/ --destination /landing/click/ --terraform .
    """
    from backhaul.app.init.next_commands import next_commands
    from backhaul.app.init.run import Outputs, initialise, node_file_systems

    outputs = Outputs.of(file, terraform_to, cloudformation_to)
    default_fs, is_known = node_file_systems()
    answers = _read(given, default_fs)
    text = initialise(answers, outputs, default_fs)
    if outputs.config is None:
        click.echo(text, nl=False)
    _report(outputs, next_commands(answers, outputs))
    if not is_known and answers.destination.startswith("/"):
        click.echo(
            f"\nThis machine has no Hadoop configuration, which {answers.destination} needs: set"
            " HADOOP_CONF_DIR.",
            err=True,
        )
    return 0


def _report(outputs: Outputs, commands: list[tuple[str, str]]) -> None:
    """On standard error where the configuration is on standard output."""
    is_printed = outputs.config is None
    for path in outputs.paths:
        click.echo(f"wrote {path}", err=is_printed)
    click.echo("\nNext:", err=is_printed)
    for purpose, typed in commands:
        if purpose:
            click.echo(f"  # {purpose}", err=is_printed)
        click.echo(f"  {typed}", err=is_printed)


def _read(given: dict[str, Any], default_fs: FileSystems) -> InitAnswers:
    """From the options; what is missing, from the terminal.

    Raises:
        click.UsageError: Something is missing, and there is no terminal.
        click.Abort: Ctrl-C, or the input has ended.
        BadArgument: E_INIT_ANSWER.
    """
    from backhaul.app.init import answers as reading

    missing = [name for name in _NEEDED if not given[name]]
    is_asking = bool(missing) and sys.stdin.isatty()
    if missing and not is_asking:
        flags = ", ".join(f"--{name}" for name in missing)
        raise click.UsageError(f"standard input is no terminal, so these have to be given: {flags}")
    region = _answer(given["region"], "AWS region", reading.read_region, "us-west-2")
    queue = _answer(
        given["queue"], "SQS queue", lambda text: reading.read_queue(text, region), "my-queue"
    )
    if given["source"]:
        sources = tuple(reading.read_source(text) for text in given["source"])
    else:
        sources = (_answer(None, "Source in S3", reading.read_source, "s3://acme-raw/click/"),)
    destination = _answer(
        given["destination"],
        "Destination directory",
        lambda text: reading.read_destination(text, default_fs),
        "/landing/click/",
    )
    events = given["bucket_events"]
    if events is None and is_asking:
        events = click.confirm("Does the bucket itself send an event for each object?", err=True)
    senders = [reading.read_sender(text) for text in given["senders"]]
    name = given["name"]
    return reading.InitAnswers(
        queue=queue,
        region=region,
        name=reading.suggested_name(sources[0]) if name is None else reading.read_name(name),
        sources=sources,
        destination=destination,
        takes_events=bool(events),
        sender_ids=tuple(one for _, one in senders if one is not None),
        principals=tuple(one for one, _ in senders if one is not None),
        kms_keys=tuple(reading.read_kms_key(text) for text in given["kms_keys"]),
        source_owner=_optional(given["source_owner"], reading.read_account),
        trusted_by=_optional(given["role_for"], reading.read_trusted),
        ledger=given["ledger"],
    )


def _optional(text: str | None, read: Callable[[str], _Answer]) -> _Answer | None:
    return None if text is None else read(text)


def _answer(
    text: str | None, question: str, read: Callable[[str], _Answer], example: str
) -> _Answer:
    """The option's value; without one, what is typed on the terminal, again until it is right."""
    if text:
        return read(text)

    def read_typed(typed: str) -> _Answer:
        try:
            return read(typed)
        except BadArgument as error:
            raise click.UsageError(_sentence(error)) from error

    found: _Answer = click.prompt(
        f"{question} (such as {example})", value_proc=read_typed, err=True
    )
    return found


def _sentence(error: BackhaulError) -> str:
    message = error.message.partition(": ")[2] or error.message  # the option was not typed
    return f"{message}; {error.hint}" if error.hint else message
