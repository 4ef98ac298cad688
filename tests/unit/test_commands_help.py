"""The help of every command: an example first, whole sentences, no marks of the formatter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import backhaul.cli
from backhaul.cli import COMMANDS, cli
from backhaul.cli.options import first_sentence


def every_command() -> Iterator[tuple[str, ...]]:
    """Their words, groups and what is in them."""
    context = click.Context(cli)
    for name in COMMANDS:
        yield (name,)
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ((name, sub) for sub in command.list_commands(context))


def test_no_module_of_a_command_hides_a_function_of_the_package() -> None:
    """Importing `cli.report` makes `report` of `cli` that module, whatever it was before."""
    package = Path(backhaul.cli.__file__)
    defined = {
        node.name
        for node in ast.parse(package.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert {"main", "show_error"} <= defined
    assert defined & {path.stem for path in package.parent.glob("*.py")} == set()


def help_of(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0, done.output
    return done.output


def test_there_are_commands_in_groups() -> None:
    assert {words for words in every_command() if len(words) > 1} >= {("dlq", "redrive")}


@pytest.mark.parametrize("words", [(), *every_command()], ids=" ".join)
def test_help_has_no_mark_of_the_formatter_and_an_example_of_itself(words: tuple[str, ...]) -> None:
    text = help_of(*words)
    assert "\\b" not in text
    assert "\b" not in text
    before, _, example = text.partition("Example:\n")
    assert len(before) < 400
    first = example.splitlines()[0].strip()
    assert f"backhaul {' '.join(words)}".strip() in first, "and it has a line of its own"
    assert len(first.split("backhaul")) == 2, "one command in a line"


@pytest.mark.parametrize(
    "words", [(), *(each for each in every_command() if each == ("dlq",))], ids=" ".join
)
def test_the_help_of_a_group_cuts_no_sentence(words: tuple[str, ...]) -> None:
    text = " ".join(help_of(*words).split())
    assert "..." not in text.partition("Commands:")[2]
    if words:
        command = cli.get_command(click.Context(cli), words[0])
        assert isinstance(command, click.Group)
        sentences = [first_sentence(each.help or "") for each in command.commands.values()]
    else:
        sentences = list(COMMANDS.values())
    for sentence in sentences:
        assert sentence in text


def options_with_one_value() -> list[tuple[tuple[str, ...], str]]:
    found = []
    context = click.Context(cli)
    for words in every_command():
        command = cli.get_command(context, words[0])
        if len(words) > 1:
            assert isinstance(command, click.Group)
            command = command.commands[words[1]]
        assert command is not None
        found += [
            (words, one.opts[0])
            for one in command.params
            if isinstance(one, click.Option) and not one.multiple and not one.is_flag
        ]
    return found


@pytest.mark.parametrize(("words", "option"), options_with_one_value(), ids="".join)
def test_an_option_with_one_value_is_not_given_two(words: tuple[str, ...], option: str) -> None:
    done = CliRunner().invoke(cli, [*words, option, "1", option, "2"])
    assert done.exit_code == 2
    assert re.search(f"{option} is given twice", done.output)
