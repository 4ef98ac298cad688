"""Write a man page for each command into OUTDIR: `python scripts/make_man_pages.py OUTDIR`.

`backhaul.1`, `backhaul-history.1`, `backhaul-dlq-redrive.1`, ...: section 1, from the help of the
commands, not compressed. The same input gives the same bytes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from backhaul import __version__
from backhaul.cli import COMMANDS, cli
from backhaul.cli.exit_codes import EXIT_CODES

# What every command may end with; `core.errors.ExitCode` has all.
ALWAYS = {64: "the command line is wrong", 70: "a defect in Backhaul", 130: "interrupted"}
FILES = (
    ("/etc/backhaul/backhaul.toml", "the configuration; then ~/.config/backhaul/backhaul.toml"),
    (
        "/var/lib/backhaul/ledger.db",
        "the ledger of the service, unless the configuration names one",
    ),
)


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups before what is in them."""
    yield (), cli
    context = _context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None:
            yield from _with_those_below((name,), command)


def _with_those_below(
    words: tuple[str, ...], command: click.Command
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _with_those_below((*words, name), each)


def texts() -> dict[str, str]:
    """The pages by file name."""
    return {f"{'-'.join(('backhaul', *words))}.1": _page(words, one) for words, one in commands()}


def main(directory: Path) -> None:
    """Write all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (directory / name).write_text(text, "utf-8")


# ---------------------------------------------------------------- one page


def _page(words: tuple[str, ...], command: click.Command) -> str:
    name = "-".join(("backhaul", *words))
    parts = _paragraphs(command)
    lines = [
        rf'.TH "{_plain(name.upper())}" "1" "" "Backhaul {_plain(__version__)}" "Backhaul"',
        # A hyphen of the source is the character that a person can copy and type.
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{_plain(name)} \- {_plain(_first_sentence(parts[0]))}",
        ".SH SYNOPSIS",
        rf"\fB{_plain(' '.join(('backhaul', *words)))}\fR {_plain(_usage(command))}",
        ".SH DESCRIPTION",
        *(line for one in parts if not _is_example(one) for line in (".PP", _plain(_joined(one)))),
        *_examples(parts),
        *_below(words, command),
        *_options(command),
        *_exit_status(words),
        ".SH FILES",
        *(line for path, text in FILES for line in _entry(path, text)),
        ".SH SEE ALSO",
        _see_also(words),
    ]
    return "\n".join(lines) + "\n"


def _paragraphs(command: click.Command) -> list[str]:
    # Click's mark for "do not wrap" is a backspace on a line of its own.
    return re.split(r"\n\s*\n", inspect.cleandoc(re.sub(r"[ ]*\x08[ ]*\n", "", command.help or "")))


def _is_example(paragraph: str) -> bool:
    return paragraph.startswith("Example:")


def _joined(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _first_sentence(paragraph: str) -> str:
    return re.split(r"\. |\.$", _joined(paragraph))[0]


def _usage(command: click.Command) -> str:
    return " ".join(command.collect_usage_pieces(_context(command)))


def _context(command: click.Command) -> click.Context:
    return click.Context(command, help_option_names=["-h", "--help"])


def _examples(paragraphs: list[str]) -> Iterator[str]:
    shown = [one for one in paragraphs if _is_example(one)]
    if not shown:
        return
    yield from (".SH EXAMPLES", ".nf")
    for one in shown:
        yield from (_plain(line.strip()) for line in one.splitlines()[1:])
    yield ".fi"


def _below(words: tuple[str, ...], command: click.Command) -> Iterator[str]:
    if not isinstance(command, click.Group):
        return
    yield ".SH COMMANDS"
    for name in command.list_commands(_context(command)):
        text = _first_sentence(_paragraphs(command.commands[name])[0]) if words else COMMANDS[name]
        yield from _entry(" ".join((*words, name)), text)


def _options(command: click.Command) -> Iterator[str]:
    context = _context(command)
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [one.get_help_record(context) for one in options]
    yield ".SH OPTIONS"
    for record in records:
        if record is not None:
            yield from _entry(*record)


def _exit_status(words: tuple[str, ...]) -> Iterator[str]:
    codes = EXIT_CODES.get(" ".join(words))
    if codes is None:
        return
    yield ".SH EXIT STATUS"
    # Those of `check` are what Nagios wants, and no others.
    every = codes if words == ("check",) else ALWAYS | codes
    for code in sorted(every):
        yield from _entry(str(code), every[code])


def _see_also(words: tuple[str, ...]) -> str:
    above = ["-".join(("backhaul", *words[:count])) for count in range(len(words))]
    below = [f"backhaul-{name}" for name in COMMANDS] if not words else []
    named = [rf"\fB{_plain(one)}\fR(1)" for one in (*above, *below)]
    return ",\n".join(named)


def _entry(term: str, text: str) -> Iterator[str]:
    yield from (".TP", rf"\fB{_plain(term)}\fR", _plain(_joined(text)))


def _plain(text: str) -> str:
    """Text that roff prints as it is."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti")
    escaped = escaped.replace("^", r"\(ha").replace("'", r"\(aq").replace("`", r"\(ga")
    escaped = re.sub(r"[^\x00-\x7f]", lambda found: rf"\[u{ord(found[0]):04X}]", escaped)
    # A long list of choices may be broken at each of them.
    escaped = escaped.replace("|", r"|\:")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - itself and one argument
        sys.exit(f"usage: {sys.argv[0]} OUTDIR")
    main(Path(sys.argv[1]))
