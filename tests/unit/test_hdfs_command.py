"""The output of `hdfs dfs -checksum`, whatever else is in it, and arguments it does not glob."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.hdfs import command_checksums, shell
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.command_checksums import CommandChecker, parsed
from backhaul.adapters.hadoop.hdfs.shell import FsShell, escaped, find_program
from backhaul.core.checksums import Checksum
from backhaul.core.objects import FileStatus

FS = "hdfs://ns"
URIS = {f"{FS}{path}": path for path in ("/d/a", "/d/b b", "/d/c\td")}
GOOD = f"{FS}/d/a\tCOMPOSITE-CRC32C\te3069283"


@pytest.mark.parametrize(
    ("lines", "crcs"),
    [
        ([GOOD], {"/d/a": Checksum("CRC32C", "e3069283")}),
        ([f"{FS}/d/b b\tCOMPOSITE-CRC32\t00000000"], {"/d/b b": Checksum("CRC32", "00000000")}),
        ([f"{FS}/d/c\td\tCOMPOSITE-CRC32C\t00000001"], {"/d/c\td": Checksum("CRC32C", "00000001")}),
        (
            ["WARN something", GOOD, "", "at java.lang.X", GOOD],
            {"/d/a": Checksum("CRC32C", "e3069283")},
        ),
        (
            ["checksum: `/d/b b': No such file or directory", GOOD],
            {"/d/a": Checksum("CRC32C", "e3069283")},
        ),
        # Two lines of one path that disagree: neither is believed.
        ([GOOD, GOOD.replace("e306", "f306")], {}),
        # Not COMPOSITE, another file, a line broken by a warning, no hex, too short.
        ([f"{FS}/d/a\tMD5-of-0MD5-of-512CRC32C\t{'0' * 56}"], {}),
        ([f"{FS}/d/other\tCOMPOSITE-CRC32C\te3069283"], {}),
        ([f"WARN x{GOOD}"], {}),
        ([f"{FS}/d/a\tCOMPOSITE-CRC32C\tNONE"], {}),
        ([f"{FS}/d/a\tCOMPOSITE-CRC32C\te30692"], {}),
        ([], {}),
    ],
)
def test_only_whole_lines_of_these_paths_are_believed(
    lines: list[str], crcs: dict[str, Checksum]
) -> None:
    assert parsed(lines, URIS) == crcs


def test_every_glob_character_is_escaped() -> None:
    assert escaped("/d/a b'\"ü") == "/d/a b'\"ü"
    assert escaped("/*?[]{}^,\\") == "/\\*\\?\\[\\]\\{\\}\\^\\,\\\\"


def _program(tmp_path: Path, script: str) -> Path:
    program = tmp_path / "hdfs"
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def _checker(program: Path) -> CommandChecker:
    found = FileStatus(is_directory=False, size_bytes=9, modified_ms=1)
    status = lambda path: None if path == "/none" else found  # noqa: E731
    return CommandChecker(FsShell(program, HdfsCluster(FS, None)), status, lambda path: False)


def test_exit_1_with_warnings_gives_what_it_can(tmp_path: Path) -> None:
    script = (
        "echo 'WARN util.NativeCodeLoader: none' >&2\n"
        f"printf '{FS}/d/a\\tCOMPOSITE-CRC32C\\te3069283\\n'\n"
        'echo "checksum: Fail to get block MD5" >&2\nexit 1'
    )
    known, unknown, none = _checker(_program(tmp_path, script)).stored_checksums(
        ["/d/a", "/d/b b", "/none"]
    )
    assert known is not None
    assert (known.checksum, known.why) == (Checksum("CRC32C", "e3069283"), "")
    assert known.checksum_source == "command"
    assert unknown is not None
    assert unknown.checksum is None
    assert "Fail to get block MD5" in unknown.why
    assert none is None


def test_command_that_hangs_or_is_not_there_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "SILENCE_S", 0.2)
    (hangs,) = _checker(_program(tmp_path, "sleep 1000 & wait")).stored_checksums(["/d/a"])
    assert hangs is not None
    assert "printed nothing" in hangs.why
    (absent,) = _checker(tmp_path / "nothing").stored_checksums(["/d/a"])
    assert absent is not None
    assert "No such file" in absent.why


def test_name_with_a_line_break_is_left_out_and_batches_fit_an_argument_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_checksums, "BATCH_PATHS", 2)
    count = tmp_path / "count"
    script = f"shift 3; echo $# >> {count}; for each; do printf '%s\\n' \"$each\" >> {count}; done"
    checker = _checker(_program(tmp_path, script))
    found = checker.stored_checksums(["/1", "/2", "/3", f"/x\n{GOOD}", "/5"])
    assert [one and one.checksum for one in found] == [None] * 5
    assert count.read_text("utf-8").split() == [
        *("2", f"{FS}/1", f"{FS}/2", "1", f"{FS}/3", "1", f"{FS}/5")
    ]


def test_hadoop_home_comes_before_the_path(tmp_path: Path) -> None:
    home, path = tmp_path / "home" / "bin", tmp_path / "path"
    home.mkdir(parents=True)
    path.mkdir()
    _program(path, "")
    assert find_program({"PATH": str(path)}) == path / "hdfs"
    _program(home, "")
    environment = {"PATH": str(path), "HADOOP_HOME": str(home.parent)}
    assert find_program(environment) == home / "hdfs"
    assert find_program({"PATH": "/nowhere"}) is None
