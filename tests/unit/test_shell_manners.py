"""Help, suggestions, completion and man pages: what a shell and a person at it get."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from backhaul import __version__, cli
from backhaul.cli.exit_codes import EXIT_CODES
from backhaul.core.errors import ExitCode
from tests.docs.manual import ROOT
from tests.unit.test_commands_help import every_command, help_of


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refused(*words: str) -> str:
    done = CliRunner().invoke(cli.cli, words)
    assert done.exit_code == 2, done.output
    return done.output


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("words", [*every_command()], ids=" ".join)
def test_every_command_has_its_exit_codes_in_its_help(words: tuple[str, ...]) -> None:
    text = " ".join(help_of(*words).split())
    assert "Exit codes: 0 " in text, "a row in cli/exit_codes.py"
    assert text.count("Exit codes:") == 1


def test_exit_codes_are_those_of_the_manual_and_of_commands_that_exist() -> None:
    names = {" ".join(words) for words in every_command()} | {"receipt key"}
    assert set(EXIT_CODES) <= names
    for words, codes in EXIT_CODES.items():
        known = {0, 1, 2, 3} if words == "check" else set(ExitCode)
        assert set(codes) <= known, words
        assert list(codes) == sorted(codes), words


def test_help_is_a_command_too() -> None:
    assert CliRunner().invoke(cli.cli, ["help"]).output == help_of()
    assert CliRunner().invoke(cli.cli, ["help", "dlq", "list"]).output == help_of("dlq", "list")
    assert "Did you mean 'history'?" in refused("help", "histori")


def test_the_version_has_a_short_option() -> None:
    assert CliRunner().invoke(cli.cli, ["-V"]).output == f"backhaul, version {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("statu", "status"), ("retri", "retry"), ("hepl", "help"), ("reconcil", "reconcile")],
)
def test_a_mistyped_command_is_answered_with_the_right_one(typed: str, meant: str) -> None:
    assert f"No such command {typed!r}. Did you mean {meant!r}?" in refused(typed)
    assert "Did you mean" not in refused("xyzzy")


@pytest.mark.parametrize("words", [("run",), ("send",), ("dlq", "list"), ("dlq", "redrive")])
def test_queue_and_region_in_the_wrong_order_are_noticed(words: tuple[str, ...]) -> None:
    more = ("s3://b-1/p/", "/d") if words == ("send",) else ()
    text = " ".join(refused(*words, "us-gov-west-1", "my-queue", *more).split())
    assert "'my-queue' is no region, and QUEUE 'us-gov-west-1' is one. Did you swap them?" in text


# ---------------------------------------------------------------- completion


def completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, place: int
) -> list[str]:
    monkeypatch.setenv("_BACKHAUL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(place))
    assert cli.answer_shell() == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return [line.partition(",")[2] for line in shown.out.splitlines()]


def test_a_tab_offers_commands_options_and_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offered(words: str, place: int) -> list[str]:
        return completed(monkeypatch, capsys, words, place)

    assert offered("backhaul rec", 1) == ["reconcile", "receipt"]
    assert offered("backhaul --v", 1) == ["--version"]
    assert offered("backhaul history --st", 2) == ["--state"]
    assert "dead" in offered("backhaul history --state ", 3)
    assert offered("backhaul dlq re", 2) == ["redrive"]


def test_a_tab_at_the_name_of_a_command_imports_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(name: str) -> Any:
        raise AssertionError(name)

    monkeypatch.setattr("importlib.import_module", none)
    assert completed(monkeypatch, capsys, "backhaul hist", 1) == ["history"]


def test_a_tab_that_fails_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError(name)

    monkeypatch.setattr("importlib.import_module", broken)
    assert completed(monkeypatch, capsys, "backhaul history --st", 2) == []
    monkeypatch.setenv("_BACKHAUL_COMPLETE", "nonsense")
    assert cli.answer_shell() == 0
    assert capsys.readouterr() == ("", "")


def test_the_scripts_for_shells_are_written_and_bash_takes_its_own(tmp_path: Path) -> None:
    script("make_completions").main(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {
        "backhaul.bash",
        "_backhaul",
        "backhaul.fish",
    }
    assert (tmp_path / "_backhaul").read_text("utf-8").startswith("#compdef backhaul\n")
    bash = shutil.which("bash")
    assert bash is not None
    read = f"source {tmp_path}/backhaul.bash && complete -p backhaul"
    done = subprocess.run([bash, "-c", read], capture_output=True, text=True, check=True)
    assert "_backhaul_completion backhaul" in done.stdout


# ---------------------------------------------------------------- man pages


def test_every_command_has_a_man_page_with_its_options_and_exit_codes(tmp_path: Path) -> None:
    made = script("make_man_pages")
    made.main(tmp_path)
    for words, command in made.commands():
        text = (tmp_path / f"{'-'.join(('backhaul', *words))}.1").read_text("utf-8")
        assert text.isascii()
        assert not re.search(r"^'", text, re.MULTILINE), "a line that roff would take as its own"
        assert ".SH EXAMPLES\n.nf\n" in text or "echo" in text
        for one in command.params:
            if isinstance(one, click.Option):
                assert one.opts[-1].replace("-", r"\-") in text, words
        for code in EXIT_CODES.get(" ".join(words), {}):
            assert f"\\fB{code}\\fR\n" in text, words


def test_roff_formats_every_page_without_a_warning(tmp_path: Path) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    script("make_man_pages").main(tmp_path)
    words = [groff, "-man", "-ww", "-z", "-Tutf8", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
