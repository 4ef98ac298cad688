"""`backhaul notify`: test and list who is notified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.options import (
    Files,
    WholeSentences,
    counted,
    files_options,
    json_lines_option,
    print_json,
)
from backhaul.core.errors import ExitCode
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from backhaul.app.notify import NotifyTrial, NotifyView


@click.group("notify", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    r"""Test and list the notifications of the configuration, `[[notify]]`.

    \b
    Example:
      backhaul notify test oncall
      backhaul notify list
    """


@command.command("test")
@click.argument("name", required=False)
@json_lines_option
@files_options
def test(*, name: str | None, as_json: bool, files: Files) -> int:
    r"""Send a test message to NAME, or to every name, and show what became of it.

    \b
    Example:
      backhaul notify test oncall

    It is marked as a test, counts for no limit, and is tried once. Needs no agent. Run it as the
    agent's user: the password file and the command are that user's.
    """
    from backhaul.app.notify import try_notify
    from backhaul.settings.load import find_config

    settings = files.settings(needs=("notify",), refuses_writable_config=True)
    code = 0
    for trial in try_notify(settings, find_config(files.config), name):
        if trial.error is not None:
            code = int(trial.error.exit_code)
        if as_json:
            print_json(_trial_fields(trial))
        else:
            click.echo(_trial_words(trial))
    return code


@command.command("list")
@json_lines_option
@files_options
def list_names(*, as_json: bool, files: Files) -> int:
    r"""List every name: about what it is notified, how, how often, and when it was last.

    \b
    Example:
      backhaul notify list
    """
    from backhaul.app.notify import list_notify
    from backhaul.settings.load import find_config

    settings = files.settings(needs=("notify",))
    views, fault = list_notify(settings, find_config(files.config))
    if fault is not None:
        click.echo(f"backhaul: warning: {fault}", err=True)
    if not views:
        click.echo("no [[notify]] is configured", err=True)
    for view in views:
        if as_json:
            print_json(_view_fields(view))
        else:
            click.echo(_view_words(view))
    return ExitCode.OK


def _trial_words(trial: NotifyTrial) -> str:
    if trial.error is None:
        left_out = f"; {redacted(trial.left_out)}" if trial.left_out else ""
        return f"{trial.name}: delivered in {trial.seconds:.1f} s{left_out}"
    text = f"{trial.name}: {trial.error.code}: {redacted(trial.error.message)}"
    return f"{text}\n  hint: {trial.error.hint}" if trial.error.hint else text


def _trial_fields(trial: NotifyTrial) -> dict[str, Any]:
    error = trial.error
    return {
        "name": trial.name,
        "is_delivered": error is None,
        "seconds": round(trial.seconds, 3),
        "left_out": trial.left_out,
        "code": error.code if error else "",
        "reason": redacted(error.message) if error else "",
        "hint": error.hint if error else "",
    }


def _view_words(view: NotifyView) -> str:
    from datetime import timedelta

    from backhaul.core.units import human_span

    rules = view.rules
    last = "none sent yet"
    if view.sent_at is not None:
        last = f"last {view.sent_at.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    text = (
        f"{rules.name}  {', '.join(sorted(rules.on))}  {view.how}"
        f"  every {human_span(timedelta(seconds=rules.every_s))}"
        f", after {human_span(timedelta(seconds=rules.after_s))}; {last}"
    )
    if view.waiting_dead:
        text += f"; {counted(view.waiting_dead, 'dead message')} for the next one"
    return f"{text}; trouble is reported" if view.is_troubled else text


def _view_fields(view: NotifyView) -> dict[str, Any]:
    return {
        "name": view.rules.name,
        "on": sorted(view.rules.on),
        "how": view.how,
        "every_s": view.rules.every_s,
        "after_s": view.rules.after_s,
        "sent_at": view.sent_at.isoformat() if view.sent_at else None,
        "waiting_dead": view.waiting_dead,
        "is_troubled": view.is_troubled,
    }
