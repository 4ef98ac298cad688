"""`backhaul replies`: what is sent when data has arrived, is dead or waits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from backhaul.cli.filters import Decorator, limit_option, list_options, together
from backhaul.cli.listing import Column, Output, print_rows
from backhaul.cli.options import (
    Files,
    WholeSentences,
    files_options,
    json_lines_option,
    json_option,
    print_json,
    report_no_ledger,
)
from backhaul.core.errors import ConfigurationError, ExitCode
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.ports.replies import ReplyState
from backhaul.core.text import redacted, visible

if TYPE_CHECKING:
    from backhaul.adapters.ledger import ReplyRow
    from backhaul.app.reply_trial import ReplyTrial
    from backhaul.core.ports import Operator

LISTED_MOST = 20
CHOSEN_MOST = 10_000  # at once
SHOWN_MOST = 300  # characters of one field


@click.group(
    "replies", cls=WholeSentences, context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    r"""List replies, send them again, forget them, and try where they go: `[[reply]]`.

    \b
    Example:
      backhaul replies list --state dead
      backhaul replies resend --all-dead
      backhaul replies test arrived
    """


@command.command("list")
@click.option(
    "--state",
    type=click.Choice([one.value for one in ReplyState]),
    help="Only these: waiting for a try, sent, or dead: given up.",
)
@click.option("--target", metavar="NAME", help="Only for this [[reply]], or address.")
@list_options(limit_option(50))
def list_replies(
    *,
    state: str | None,
    target: str | None,
    limit: int,
    reverse: bool,
    output: Output,
    quiet: bool,
    files: Files,
) -> int:
    r"""List replies, those of the newest transfers first.

    \b
    Example:
      backhaul replies list --state waiting
    """
    from backhaul.app.records import row_as_json
    from backhaul.app.replies import read_replies

    path = files.settings().ledger_place
    wanted = None if state is None else ReplyState(state)
    found = read_replies(path, state=wanted, target=target, most=limit)
    if found is None:
        report_no_ledger(path)
        return 0
    if output is Output.TABLE and not found.rows:
        click.echo("no reply" if state is None and target is None else "no such reply")
    print_rows(found.rows[::-1] if reverse else found.rows, _columns(), output, row_as_json)
    if found.is_cut and not quiet:
        click.echo(f"there are more; raise --limit {limit}", err=True)
    if not quiet:
        _warn_of_waiting_in_vain(files, path)
    return 0


def _warn_of_waiting_in_vain(files: Files, path: LedgerPlace) -> None:
    """Nothing where the configuration does not show which targets there are: its fault is shown."""
    from backhaul.app.replies import in_vain, in_vain_hint, waiting_in_vain
    from backhaul.settings.load import find_config, load_part

    try:
        config = find_config(files.config)
        settings, _ = load_part(config, ("reply", "hive", "lineage"))
    except ConfigurationError:
        return
    for one in waiting_in_vain(settings, path) if config is not None else ():
        click.echo(f"warning: {in_vain(one)}\n  hint: {in_vain_hint(one)}", err=True)


def _choosing(of_target: str) -> Decorator:
    """The arguments of a command that does something to some replies."""
    return together(
        click.argument("keys", metavar="[KEY]...", nargs=-1),
        click.option("--target", metavar="NAME", help=of_target),
        click.option("--all-dead", is_flag=True, help="All that were given up."),
        click.option("--dry-run", is_flag=True, help="Only show which they are."),
        click.option("--yes", is_flag=True, help="Without confirmation."),
        json_lines_option,
        files_options,
    )


@command.command("resend")
@_choosing("Those for this [[reply]] that were given up.")
def resend(
    *,
    keys: tuple[str, ...],
    target: str | None,
    all_dead: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    files: Files,
) -> int:
    r"""Have replies delivered again, each with the key that it has.

    \b
    Example:
      backhaul replies resend 0mh3k2v1x-3-done
      backhaul replies resend --target catalogue --dry-run

    The agent that runs sends them within seconds, else the next one that starts. By KEY also what
    was sent before.
    """
    from backhaul.app.replies import resend_replies

    chosen, path = _chosen(keys, target, files, all_dead=all_dead, of_target=(ReplyState.DEAD,))
    if not chosen:
        click.echo("no reply was given up", err=as_json)
        return 0
    asked = _Asked(question="Send {} again?", done="{} to be sent again", outcome="resent")
    return asked.do(chosen, path, resend_replies, dry_run=dry_run, yes=yes, as_json=as_json)


@command.command("drop")
@_choosing("Those for this [[reply]] that were not sent.")
def drop(
    *,
    keys: tuple[str, ...],
    target: str | None,
    all_dead: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    files: Files,
) -> int:
    r"""Forget replies that wait or were given up.

    \b
    Example:
      backhaul replies drop --target catalogue --dry-run
      backhaul replies drop --all-dead

    They are not sent, but for at most 40 of each target that a running agent has in hand. The
    transfers stay as they are, and what was sent stays in the list.
    """
    from backhaul.app.replies import drop_replies

    of_target = (ReplyState.WAITING, ReplyState.DEAD)
    found, path = _chosen(keys, target, files, all_dead=all_dead, of_target=of_target)
    chosen = tuple(one for one in found if one.state is not ReplyState.SENT)
    if not chosen:
        click.echo("no reply to forget", err=as_json)
        return 0
    asked = _Asked(question="Forget {}?", done="{} forgotten", outcome="dropped")
    return asked.do(chosen, path, drop_replies, dry_run=dry_run, yes=yes, as_json=as_json)


def _chosen(
    keys: tuple[str, ...],
    target: str | None,
    files: Files,
    *,
    all_dead: bool,
    of_target: Sequence[ReplyState],
) -> tuple[tuple[ReplyRow, ...], LedgerPlace]:
    """What the arguments name, and the ledger that has it."""
    from backhaul.app.replies import read_replies, replies_by_key

    if [bool(keys), target is not None, all_dead].count(True) != 1:
        raise click.UsageError("name keys, or give --target or --all-dead")
    path = files.settings(refuses_writable_config=True).ledger_place
    if keys:
        return replies_by_key(path, keys, most=CHOSEN_MOST).rows, path
    states = (ReplyState.DEAD,) if all_dead else of_target
    read = [read_replies(path, state=one, target=target, most=CHOSEN_MOST) for one in states]
    found = [one for one in read if one is not None]
    rows = tuple(row for one in found for row in one.rows)
    if len(rows) > CHOSEN_MOST or any(one.is_cut for one in found):
        text = f"only the first {CHOSEN_MOST:,} are taken; run it again for the others"
        click.echo(text, err=True)
    return rows[:CHOSEN_MOST], path


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What an operator wants done with some replies, in words; `{}` is how many."""

    question: str
    done: str
    outcome: str

    def do(
        self,
        chosen: Sequence[ReplyRow],
        path: LedgerPlace,
        act: Callable[[LedgerPlace, Operator, Sequence[ReplyRow]], set[tuple[str, str]]],
        *,
        dry_run: bool,
        yes: bool,
        as_json: bool,
    ) -> int:
        """Show which they are, ask, and act."""
        from backhaul.app.actions import person

        for one in chosen[:LISTED_MOST]:
            click.echo(f"{one.key}  {visible(one.target, SHOWN_MOST)}  {one.state}", err=True)
        if len(chosen) > LISTED_MOST:
            click.echo(f"and {len(chosen) - LISTED_MOST:,} more", err=True)
        outcomes = {(one.key, one.target): "planned" for one in chosen}
        if not dry_run:
            _confirm(self.question.format(_counted(len(chosen))), is_confirmed=yes)
            done = act(path, person(), chosen)
            click.echo(self.done.format(_counted(len(done))), err=as_json)
            outcomes = {one: self.outcome if one in done else "skipped" for one in outcomes}
        for (key, target), outcome in outcomes.items() if as_json else ():
            print_json({"key": key, "target": target, "outcome": outcome})
        return 0


def _counted(number: int) -> str:
    return f"{number:,} {'reply' if number == 1 else 'replies'}"


def _confirm(question: str, *, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("--yes is needed where standard input is no terminal")
    click.confirm(question, abort=True, err=True)


def _columns() -> list[Column[ReplyRow]]:
    def cell(text: str | None) -> str:
        return visible(text or "", SHOWN_MOST)

    return [
        Column(name="key", text=lambda one: one.key),
        Column(name="target", text=lambda one: cell(one.target)),
        Column(name="event", text=lambda one: one.event),
        Column(
            name="state",
            text=lambda one: one.state.value,
            style=lambda one: "red" if one.state is ReplyState.DEAD else "",
        ),
        Column(name="failed_tries", text=lambda one: str(one.tries), is_right=True),
        Column(
            name="when (UTC)",
            text=lambda one: f"{one.ended_at or one.due_at:%Y-%m-%d %H:%M:%S}",
            is_in_csv=False,
        ),
        Column(
            name="created_at",
            text=lambda one: f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            value=lambda one: one.created_at.isoformat(),
            is_wide=True,
        ),
        Column(name="due_at", text=lambda one: one.due_at.isoformat(), is_csv_only=True),
        Column(
            name="ended_at",
            text=lambda one: one.ended_at.isoformat() if one.ended_at else "",
            is_csv_only=True,
        ),
        Column(name="transfer", text=lambda one: one.transfer_id, is_wide=True),
        Column(name="code", text=lambda one: cell(one.code)),
        Column(name="reason", text=lambda one: cell(one.reason), is_wide=True, may_wrap=True),
    ]


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
    the tables of all routes are there, and changes nothing. NAME lineage sends COMPLETE of a run of
    the job test.
    """
    from backhaul.app.reply_trial import try_reply
    from backhaul.settings.load import find_config

    settings = files.settings(
        needs=("reply", "hive", "lineage", "route"), refuses_writable_config=True
    )
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
    return "\n".join([*lines, *([""] if lines else []), trial.event or trial.reply.body()])


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
        "reply": trial.reply.document() if trial.event is None else json.loads(trial.event),
        "headers": None if trial.headers is None else dict(trial.headers),
    }
