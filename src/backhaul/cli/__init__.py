"""The commands. Each lives in a module of its own, imported only when it is called."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import sys
import traceback
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backhaul import GC_EVERY_AT_START, __version__
from backhaul.access import is_there, may_read, refusal
from backhaul.cli.exit_codes import epilog
from backhaul.cli.streams import drop_unwritten, open_streams
from backhaul.core.errors import BackhaulError, ExitCode, TransientError
from backhaul.core.text import redacted

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "init": "write a configuration, and what AWS needs as Terraform and CloudFormation",
    "run": "run the agent: process the messages of an SQS queue",
    "send": "send a message to an SQS queue",
    "copy": "run one transfer now, without a queue",
    "explain": "show what a message would do, and change nothing",
    "doctor": "probe all that a copy needs, and show the fix of each fault",
    "config": "check the configuration before an agent reads it",
    "status": "show how it is: health, queue, rate, trouble, what is under way",
    "agents": "list the agents on the ledger: where each runs, what it does",
    "top": "watch the same on a terminal, live",
    "check": "judge how it is for monitoring, with exit codes as Nagios has them",
    "expectations": "list data that should have come, by when, and what is there",
    "history": "list transfers, newest first",
    "show": "show one transfer, with its proof",
    "where": "find what brought a file, or where an object went",
    "arrived": "tell whether all that was requested for a path is there",
    "cancel": "end a transfer that has not ended",
    "limit": "show or change how many bytes per second may be read from S3",
    "pause": "let no further transfer of a route begin",
    "resume": "let the transfers of a route begin again",
    "budget": "show what is spent of budgets, and allow more in this period",
    "retry": "send dead transfers to work again",
    "dlq": "list, show, redrive and delete dead letters",
    "ledger": "check, copy and prune the ledger, also while the agent works",
    "journal": "list what operators did, newest first",
    "report": "sum up what left S3 and what it cost, by route, sender or day",
    "dashboard": "serve web pages: health, queue, routes, transfers, dead letters",
    "notify": "test and list who is notified when health changes or a message dies",
    "replies": "try where replies go, when data has arrived or has not",
    "reconcile": "compare S3, the ledger and the target, path by path",
    "verify": "prove published data again, without reading S3",
    "receipt": "prove to others what a transfer brought: signed, and checked with S3 alone",
    "demo": "see it work: no account, no cluster, under a minute",
}


class LazyGroup(click.Group):
    """`--help` must not pay for boto3: names and help lines come from `COMMANDS`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`help dlq list` is `dlq list --help`."""
        if args and args[0] == "help":
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `backhaul.cli.<name>` now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"backhaul.cli.{cmd_name}")
        command: click.Command = module.command
        _set_marks(command)
        _set_epilog(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A mistyped name is answered with those that are like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=[*COMMANDS, "help"], ctx=ctx
            ) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the table, without importing anything."""
        from backhaul.cli.completion import named

        return [*named(list(COMMANDS.items()), incomplete), *_own_options(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _own_options(group: click.Group, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """As for a command that is no group."""
    return click.Command.shell_complete(group, ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="backhaul")
def cli() -> None:
    r"""Just leave a message: S3 data arrives in HDFS, copied, proven, published in one step.

    \b
    Example:
      backhaul run my-queue us-west-2 --allow 's3://acme-raw/click/ -> /landing/click/'
    """


def _set_marks(command: click.Command) -> None:
    """Click's sign for "do not wrap" is a backspace; raw docstrings write it as two letters."""
    command.help = command.help and command.help.replace("\\b\n", "\b\n")
    if isinstance(command, click.Group) and not isinstance(command, LazyGroup):
        for each in command.commands.values():
            _set_marks(each)


def _set_epilog(command: click.Command, words: str) -> None:
    """Its exit codes, as the last paragraph of its help; likewise for the commands of a group."""
    if "Exit codes:" not in (command.help or ""):
        command.epilog = epilog(words)
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            _set_epilog(each, f"{words} {name}")


_set_marks(cli)


def main(argv: list[str] | None = None) -> None:
    """Entry point; exits with a code of `ExitCode`."""
    gc.set_threshold(GC_EVERY_AT_START)
    # Pydantic would look through everything installed for plugins, and load them into the agent.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    open_streams()
    arguments = sys.argv[1:] if argv is None else argv
    code = answer_shell() if _is_completion() else _run(arguments)
    drop_unwritten()
    # At exit the interpreter collects garbage through all that was imported: a third of a second
    # of CPU, for memory that the kernel takes back at once. It skips what is frozen.
    gc.freeze()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        _refuse_undecodable(arguments)
        if _is_completion():
            return _complete()
        result: Any = cli.main(arguments, prog_name="backhaul", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        error.show()
        return ExitCode.BAD_INPUT
    except BackhaulError as error:
        show_error(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("backhaul: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except SystemExit as error:
        # No command calls sys.exit; click does for a broken pipe, which our streams never raise.
        return _bug(error.__context__ or error)
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            return _bug(error)
        show_error(_of_the_machine(error))
        return ExitCode.UNAVAILABLE
    except Exception as error:  # noqa: BLE001 - the outermost handler: any other error is a bug and must end with 70
        return _bug(error)
    return result if isinstance(result, int) else ExitCode.OK


def _is_completion() -> bool:
    """A shell wants to know what may come next."""
    return "_BACKHAUL_COMPLETE" in os.environ


def _complete() -> ExitCode:
    from backhaul.cli.completion import complete

    complete(cli)
    return ExitCode.OK


def answer_shell() -> ExitCode:
    """Print what may come next, and nothing else, whatever goes wrong: somebody is typing."""
    with redirect_stderr(io.StringIO()):
        _run([])
    return ExitCode.OK


def _bug(error: BaseException) -> ExitCode:
    click.echo(redacted("".join(traceback.format_exception(error))), err=True, nl=False)
    click.echo(
        f"\nbackhaul: E_BUG: unexpected {type(error).__name__}: {redacted(str(error))}\n\n"
        "hint: this is a defect in Backhaul; the traceback above shows where",
        err=True,
    )
    return ExitCode.BUG


# What the operating system refuses for reasons outside the program.
OF_THE_MACHINE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENODEV),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ELOOP, errno.ENAMETOOLONG),
    }
)


def _of_the_machine(error: OSError) -> BackhaulError:
    """The file and the reason, for an error that no adapter has translated."""
    place = error.filename if isinstance(error.filename, (str, Path)) else None
    if isinstance(error, PermissionError) and place is not None:
        # Finding the cause may fail as the call has; then the plain reason is reported.
        with suppress(OSError):
            message, hint = refusal(Path(place), _refused_verb(Path(place)))
            return TransientError("E_SYSTEM", message, hint=hint)
    name = errno.errorcode.get(error.errno or 0, "")
    where = f"{place}: " if place is not None else ""
    return TransientError(
        "E_SYSTEM",
        f"{where}{error.strerror} ({name})",
        hint=_SYSTEM_HINTS.get(error.errno or 0, "check that path, its disk and its permissions"),
    )


def _refused_verb(path: Path) -> str:
    """`read` or `written`: what this user may not do there; `written` for a missing path."""
    return "read" if is_there(path) and not may_read(path) else "written"


_SYSTEM_HINTS = {
    errno.ENOSPC: "free space: df -h",
    errno.EDQUOT: "free space within the quota: quota -s",
    errno.EMFILE: "raise the limit of open files: ulimit -n, or LimitNOFILE= in the unit",
    errno.ENFILE: "raise the machine's limit of open files: sysctl fs.file-max",
    errno.ENOMEM: "free memory: free -h",
    errno.EAGAIN: "raise the limit of processes: ulimit -u, or TasksMax= in the unit",
}


def _refuse_undecodable(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise click.UsageError("an argument is not valid UTF-8") from None


def show_error(error: BackhaulError) -> None:
    """One line on standard error: what and where; then how to fix it."""
    # Without its code: `E_AWS_NO_CREDENTIALS: queue` would look like credentials.
    click.echo(f"backhaul: {error.code}: {redacted(error.message)}", err=True)
    if error.hint:
        click.echo(f"\nhint: {redacted(error.hint)}", err=True)
