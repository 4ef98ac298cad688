"""`backhaul replies`: what is sent when data has arrived, is dead or waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.options import (
    Files,
    WholeSentences,
    files_options,
    json_option,
    print_json,
)
from backhaul.core.errors import ExitCode
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from backhaul.app.reply_trial import ReplyTrial


@click.group(
    "replies", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    r"""Try where replies go, `[[reply]]` in the configuration.

    \b
    Example:
      backhaul replies test arrived
    """


@command.command("test")
@click.argument("name")
@click.option(
    "--dry-run", is_flag=True, help="Send nothing: print the body, and a webhook's headers."
)
@json_option
@files_options
def test(*, name: str, dry_run: bool, as_json: bool, files: Files) -> int:
    r"""Send one reply that is marked as a test to NAME, and show what became of it.

    \b
    Example:
      backhaul replies test arrived

    Its event is done, and it has "test": true. It is tried once, and needs no agent. Run it as the
    agent's user: secret file and command are that user's. NAME hive sends nothing: it looks whether
    the tables of all routes are there, and changes nothing.
    """
    from backhaul.app.reply_trial import try_reply
    from backhaul.settings.load import find_config

    settings = files.settings(needs=("reply", "hive", "route"), refuses_writable_config=True)
    trial = try_reply(settings, find_config(files.config), name, is_dry=dry_run)
    if as_json:
        print_json(_trial_fields(trial))
    else:
        click.echo(_trial_words(trial))
    return ExitCode.OK if trial.error is None else trial.error.exit_code


def _trial_words(trial: ReplyTrial) -> str:
    error = trial.error
    if error is not None:
        text = f"{trial.name}: {error.code}: {redacted(error.message)}"
        return f"{text}\n  hint: {redacted(error.hint)}" if error.hint else text
    if trial.seconds is not None and trial.kind == "hive":
        tables = ", ".join(trial.tables) or "no route has a table"
        return f"{trial.name}: {tables}; connected in {trial.seconds:.1f} s, nothing was changed"
    if trial.seconds is not None:
        return f"{trial.name}: delivered in {trial.seconds:.1f} s"
    lines = [f"{name}: {value}" for name, value in (trial.headers or {}).items()]
    return "\n".join([*lines, *([""] if lines else []), trial.reply.body()])


def _trial_fields(trial: ReplyTrial) -> dict[str, Any]:
    error = trial.error
    return {
        "name": trial.name,
        "kind": trial.kind,
        "is_sent": trial.seconds is not None and trial.kind != "hive",
        "is_delivered": trial.seconds is not None and trial.kind != "hive" and error is None,
        "tables": list(trial.tables),
        "seconds": None if trial.seconds is None else round(trial.seconds, 3),
        "code": error.code if error else "",
        "reason": redacted(error.message) if error else "",
        "hint": redacted(error.hint) if error else "",
        "reply": trial.reply.document(),
        "headers": None if trial.headers is None else dict(trial.headers),
    }
