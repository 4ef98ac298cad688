"""The bad-input catalogue: complete, proven row by row, in step with the codes of the source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from backhaul import cli
from tests.catalogue import DATA, SECTIONS, Row, entries, name, rows
from tests.docs.test_reference import CODE, codes_in_source

ROOT = Path(__file__).parents[2]
# The catalogue's own numbers; it has gaps.
NUMBERS = {
    "sources": [
        *(41, 42, 43, 44, 45, 47, 48, 49, 50, 51, 52, 54, 55, 56, 57, 58, 59, 60, 61, 63, 64, 65),
        *(66, 67, 68, 69, 71, 72, 73, 74, 75, 76, 78, 79, 80),
    ],
    "destinations": [
        *(81, 82, 83, 84, 85, 87, 88, 89, 91, 92, 93, 94, 95, 96, 98, 99, 100, 101, 102, 104, 105),
    ],
    "configuration": [
        *(106, 107, 108, 109, 110, 111, 112, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123),
    ],
    "commands": [124, 125, 126, 128, 129, 130, 131, 132, 133, 134, 135],
}


@pytest.mark.parametrize("section", NUMBERS)
def test_every_row_of_the_catalogue_is_there(section: str) -> None:
    listed = {int(row.id[1:].rstrip("+")) for row in entries(section) if not row.id.endswith("+")}
    assert sorted(listed) == NUMBERS[section]


@cache
def _tests_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("section", SECTIONS)
def test_rows_are_judged_or_name_a_test_or_say_why_not(section: str) -> None:
    for row in entries(section):
        assert re.fullmatch(r"B\d+\+?", row.id)
        if row.status:
            assert row.why, f"{row.id}: says not why it is not built"
            assert row.code is None, f"{row.id}: a code of what is not built"
        if row.test:
            path, _, function = row.test.partition("::")
            assert function in _tests_in(path), f"{row.id}: no such test: {row.test}"
        assert row.is_judged or row.given, f"{row.id}: has no words"


def test_every_code_of_a_row_exists() -> None:
    named = {row.code for section in SECTIONS for row in entries(section)} - {None}
    assert named - codes_in_source() == set()


def test_every_code_has_a_row_or_a_test_that_provokes_it() -> None:
    provoked = set()
    for row in (row for section in SECTIONS for row in entries(section)):
        provoked |= set(CODE.findall(f"{row.code} {row.gives}"))
    for path in (ROOT / "tests").rglob("test_*.py"):
        if "docs" not in path.parts and path.name != Path(__file__).name:
            provoked |= set(CODE.findall(path.read_text("utf-8")))
    excused = set(tomllib.loads((DATA / "codes.toml").read_text("utf-8")))
    assert codes_in_source() - provoked == excused


# ---------------------------------------------------------------- sections 2.4 and 2.5


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's, no credentials, no configuration."""
    for variable in list(os.environ):
        if variable.startswith(("BACKHAUL_", "AWS_", "HADOOP_", "XDG_")):
            monkeypatch.delenv(variable)
    for variable, value in {
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }.items():
        monkeypatch.setenv(variable, value)


def ends(
    row: Row,
    arguments: list[str],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The program, in this process: by its exit code and its one line."""

    def real(text: str) -> str:
        return text.replace("{dir}", str(directory))

    for file, text in row.files.items():
        (directory / file).write_text(real(text), "utf-8")
        (directory / file).chmod(int(row.where or "0644", 8))
    for variable, value in row.environment.items():
        monkeypatch.setenv(variable, real(value))
    code = cli._run([real(argument) for argument in arguments])
    told = capsys.readouterr()
    assert code == row.exit, told
    assert "Traceback" not in told.out + told.err
    assert told.out == ""
    if row.code is None:
        assert "Error: " in told.err
    else:
        lines = [one for one in told.err.splitlines() if "backhaul: warning: " not in one]
        assert lines[0].startswith(f"backhaul: {row.code}: "), told.err
        assert any(line.startswith("hint: ") for line in lines)
    assert real(row.says) in told.err


@pytest.mark.parametrize("row", rows("configuration"), ids=name)
def test_configuration_row(
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = str(tmp_path / "backhaul.toml")
    row = Row(**{**vars(row), "exit": row.exit or 78})
    ends(row, ["run", "q", "us-east-1", "--config", config], tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("row", rows("commands"), ids=name)
def test_command_row(
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ends(row, row.arguments, tmp_path, monkeypatch, capsys)


def test_an_argument_that_is_no_utf_8_is_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["show", b"\xff".decode("utf-8", "surrogateescape")]) == 64
    assert "not valid UTF-8" in capsys.readouterr().err


def test_a_message_file_of_1_gib_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "body"
    with path.open("wb") as file:
        file.truncate(1 << 30)

    def bytes_read() -> int:
        text = Path("/proc/self/io").read_text("ascii")
        return int(re.findall(r"rchar: (\d+)", text)[0])

    arguments = ["explain", "--no-list", str(path), "--allow", "s3://raw/ -> file:///x/"]
    assert cli._run(arguments) == 65
    before = bytes_read()
    assert cli._run(arguments) == 65
    assert bytes_read() - before < 1 << 20
    assert "E_MSG_TOO_LARGE" in capsys.readouterr().out


def test_the_manuals_page_is_made_of_these_rows() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_catalogue.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0, (
        "run: python scripts/make_catalogue.py"
    )
