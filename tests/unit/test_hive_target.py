"""Partitions through a stand-in for beeline: what it is given, and what its words mean."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul.adapters.hive import answers
from backhaul.adapters.hive.faults import fault
from backhaul.adapters.hive.shell import WarehouseShell
from backhaul.adapters.hive.target import HiveTarget
from backhaul.core.errors import BackhaulError, PermanentError, TransientError
from backhaul.core.replies.hiveql import HiveDialect
from backhaul.core.replies.partitions import HiveTable, PartitionColumn
from backhaul.core.replies.reply import SUPERSEDED, Reply, ReplyEvent

HOME = "hdfs://nn/lake/sales"
WANTED = HiveTable(database="lake", table="sales")
REPLY = Reply(
    key="t-1-done",
    target="hive",
    event=ReplyEvent.DONE,
    at=datetime(2026, 12, 1, tzinfo=UTC),
    transfer_id="t",
    epoch=1,
    code=None,
    reason=None,
    route="sales",
    source="s3://b/sales/",
    destination=HOME,
    objects=1,
    size_bytes=1,
    digest=None,
    message_id=None,
)
# As HiveServer2 4.0.1 and beeline 3.1.3 print it, shortened.
TABLE_ROWS = """\
a\tstring\t
\tNULL\tNULL
# Partition Information\tNULL\tNULL
# col_name\tdata_type\tcomment
dt\tstring\t
hour\tint\tLocation:
\tNULL\tNULL
# Detailed Table Information\tNULL\tNULL
Database:           \tlake                \tNULL
Location:           \thdfs://nn/lake/sales\tNULL
Table Type:         \tEXTERNAL_TABLE      \tNULL
Table Parameters:\tNULL\tNULL
\tEXTERNAL            \tTRUE
Location:\tof a parameter\tNULL
"""
PARTITION_ROWS = """\
# Partition Information\tNULL\tNULL
# col_name\tdata_type\tcomment
dt\tstring\t
hour\tint\t
\tNULL\tNULL
# Detailed Partition Information\tNULL\tNULL
Partition Value:    \t[a, 7]              \tNULL
Location:           \t%s\tNULL
Partition Parameters:\tNULL\tNULL
"""
# It writes down what it was given, and answers each DESCRIBE of a partition by its own location,
# or by the one in the file `elsewhere`.
STAND_IN = """\
#!%s -IS
import os, pathlib, re, sys
home = pathlib.Path(%r)
script = sys.stdin.read()
with (home / "seen").open("a") as seen:
    seen.write(repr((sys.argv[1:], script, sorted(os.environ))) + "\\n")
places = {}
for line in script.splitlines():
    for spec, place in re.findall(r"PARTITION \\(([^)]*)\\) LOCATION '([^']*)'", line):
        places[spec] = place
    if line.startswith("DESCRIBE FORMATTED") and " PARTITION " not in line:
        sys.stdout.write((home / "table").read_text())
    elif line.startswith("DESCRIBE FORMATTED"):
        spec = re.search(r"PARTITION \\((.*)\\);", line)[1]
        other = home / "elsewhere"
        place = other.read_text() if other.exists() else places[spec]
        sys.stdout.write((home / "partition").read_text() %% place)
    elif line.startswith("SHOW PARTITIONS"):
        sys.stdout.write((home / "listed").read_text())
"""

Make = Callable[..., HiveTarget]


@pytest.fixture
def beeline(tmp_path: Path) -> Path:
    (tmp_path / "table").write_text(TABLE_ROWS)
    (tmp_path / "partition").write_text(PARTITION_ROWS)
    program = tmp_path / "beeline"
    program.write_text(STAND_IN % (sys.executable, str(tmp_path)))
    program.chmod(0o755)
    return program


def _target(
    command: tuple[str, ...],
    *directories: str,
    dialect: HiveDialect = HiveDialect.HIVE,
    limit_s: float = 20,
) -> HiveTarget:
    shell = WarehouseShell(command=command, dialect=dialect, limit_s=limit_s)
    return HiveTarget(shell, {"sales": WANTED}, lambda reply: directories)


def _seen(beeline: Path) -> list[tuple[list[str], str, list[str]]]:
    lines = beeline.with_name("seen").read_text().splitlines()
    return [eval(line) for line in lines]  # noqa: S307 - written by our own stand-in


def _script(tmp_path: Path, text: str) -> str:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def _refusal(target: HiveTarget, reply: Reply = REPLY) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        target.deliver(reply)
    assert caught.value.hint
    return caught.value


def test_one_run_describes_and_one_adds_and_looks(beeline: Path) -> None:
    target = _target((str(beeline), "-u", "jdbc:x"), f"{HOME}/dt=a/hour=7", f"{HOME}/dt=b/hour=1")
    target.deliver(REPLY)
    target.deliver(REPLY)
    first, second, third = _seen(beeline)
    assert first[0] == [
        *("-u", "jdbc:x", "--silent=true", "--showHeader=false", "--outputformat=tsv2"),
        *("-f", "/dev/stdin"),
    ]
    assert first[1] == "\nDESCRIBE FORMATTED `lake`.`sales`;\n"
    assert second[1].splitlines() == [
        "",
        (
            "ALTER TABLE `lake`.`sales` ADD IF NOT EXISTS"
            f" PARTITION (`dt`='a', `hour`='7') LOCATION '{HOME}/dt=a/hour=7'"
            f" PARTITION (`dt`='b', `hour`='1') LOCATION '{HOME}/dt=b/hour=1';"
        ),
        "DESCRIBE FORMATTED `lake`.`sales` PARTITION (`dt`='a', `hour`='7');",
        "DESCRIBE FORMATTED `lake`.`sales` PARTITION (`dt`='b', `hour`='1');",
    ]
    assert third[1] == second[1]


def test_no_secret_of_the_environment_reaches_it(
    beeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop/conf")
    _target((str(beeline),), f"{HOME}/dt=a/hour=7").deliver(REPLY)
    names = _seen(beeline)[0][2]
    assert {"HADOOP_CONF_DIR", "LC_ALL", "PATH"} <= set(names)
    assert not [name for name in names if name.startswith(("AWS_", "BACKHAUL_"))]


def test_a_partition_that_is_elsewhere_is_for_good(beeline: Path) -> None:
    beeline.with_name("elsewhere").write_text(f"{HOME}/dt=a/hour=07")
    error = _refusal(_target((str(beeline),), f"{HOME}/dt=a/hour=7"))
    assert isinstance(error, PermanentError)
    assert error.code == "E_HIVE_LOCATION"
    assert "dt=a/hour=7 of lake.sales is hdfs://nn/lake/sales/dt=a/hour=07" in error.message


def test_a_directory_that_is_no_partition_keeps_no_other_from_its_own(beeline: Path) -> None:
    error = _refusal(_target((str(beeline),), f"{HOME}/x", f"{HOME}/dt=a/hour=7"))
    assert error.code == "E_HIVE_PATH"
    assert "`hour`='7'" in _seen(beeline)[-1][1]


def test_after_an_error_the_table_is_described_anew(beeline: Path) -> None:
    target = _target((str(beeline),), f"{HOME}/x")
    _refusal(target)
    _refusal(target)
    assert [each[1].split()[0] for each in _seen(beeline)] == ["DESCRIBE", "DESCRIBE"]


def test_newer_data_is_registered_by_its_own_transfer() -> None:
    _target(("/nonexistent",), f"{HOME}/dt=a/hour=7").deliver(replace(REPLY, code=SUPERSEDED))


def test_a_route_that_has_no_table_any_more(beeline: Path) -> None:
    error = _refusal(_target((str(beeline),)), replace(REPLY, route="other"))
    assert isinstance(error, PermanentError)
    assert error.code == "E_HIVE_ROUTE"


@pytest.mark.parametrize(
    "rows",
    [
        TABLE_ROWS.replace("# Partition Information", "# Other"),
        TABLE_ROWS.replace("Location:           ", "View:    "),
    ],
)
def test_a_table_without_partitions_and_a_view(beeline: Path, rows: str) -> None:
    beeline.with_name("table").write_text(rows.replace("Location:\tof a parameter\tNULL\n", ""))
    assert _refusal(_target((str(beeline),))).code == "E_HIVE_UNPARTITIONED"


def test_output_that_is_not_understood_is_no_success(beeline: Path) -> None:
    beeline.with_name("partition").write_text("%.0s")
    error = _refusal(_target((str(beeline),), f"{HOME}/dt=a/hour=7"))
    assert (error.code, isinstance(error, TransientError)) == ("E_HIVE_ANSWER", True)
    beeline.with_name("table").write_text("")
    assert _refusal(_target((str(beeline),), f"{HOME}/x")).code == "E_HIVE_ANSWER"


def test_a_program_that_is_not_there() -> None:
    error = _refusal(_target(("/nonexistent/beeline",)))
    assert (error.code, isinstance(error, TransientError)) == ("E_HIVE_PROGRAM", True)


def test_a_program_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "survived"
    program = _script(tmp_path, f"(sleep 30; touch {mark}) & echo waiting >&2; sleep 30")
    error = _refusal(_target((program,), limit_s=0.5))
    assert error.code == "E_HIVE_TIMEOUT"
    assert "waiting" in error.message


def test_a_program_that_asks_gets_an_empty_line_and_no_statement(tmp_path: Path) -> None:
    program = _script(
        tmp_path,
        'echo "Enter password for jdbc:x: "; read -r typed; echo "got:$typed." >&2; exit 1',
    )
    error = _refusal(_target((program,)))
    assert error.code == "E_HIVE_LOGIN"


def test_status_0_with_an_error_is_an_error(tmp_path: Path) -> None:
    program = _script(
        tmp_path, 'echo "Error: Could not open client transport with JDBC Uri: jdbc:x" >&2'
    )
    assert _refusal(_target((program,))).code == "E_HIVE_CONNECT"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("FAILED: SemanticException [Error 10001]: Table not found a.b", "E_HIVE_TABLE"),
        ("SemanticException [Error 10072]: Database does not exist: x", "E_HIVE_DATABASE"),
        ("Error: Error validating the login (state=,code=0)", "E_HIVE_LOGIN"),
        ("javax.security.sasl.SaslException: GSS initiate failed", "E_HIVE_LOGIN"),
        ("HiveAccessControlException Permission denied: user [x]", "E_HIVE_PERMISSION"),
        ("AuthorizationException: User 'x' does not have privileges to", "E_HIVE_PERMISSION"),
        ("SemanticException [Error 10248]: Cannot add partition column", "E_HIVE_VALUE"),
        ("Error connecting: TTransportException, Could not connect to h:21050", "E_HIVE_CONNECT"),
        ("MetaException(message:java.net.ConnectException: refused)", "E_HIVE_STATEMENT"),
        ("", "E_HIVE_STATEMENT"),
    ],
)
def test_what_the_words_mean(words: str, code: str) -> None:
    error = fault(f"SLF4J: bindings.\n{words}\n\tat a.b.C\n", "ended with 2", "lake.sales")
    assert error.code == code
    assert error.hint
    assert error.message.startswith("lake.sales: ")
    assert "SLF4J" not in error.message or not words
    assert "\tat" not in error.message


def test_its_words_come_without_secrets() -> None:
    error = fault("Error: jdbc:hive2://h/;password=hunter2;x=1", "ended with 1", "lake.sales")
    assert "hunter2" not in error.message


CANARY = "canaryc0ffeePASSWORD"


@pytest.mark.parametrize(
    "script",
    [
        'echo "Error: no login with $2 for etl" >&2; exit 1',
        'echo "Error: no login with $2 for etl"; exit 1',
        'echo "$2"; exit 1',
        'echo "Error: Could not open client transport with $2" >&2',
        'echo "permission denied for $2" >&2; exit 1',
        'echo "[Error 10001]: table not found: $2" >&2; exit 1',
        'printf "%4090s%s" "" "$2" >&2; exit 1',
        'printf "%4092s%s" "" "$2" >&2; exit 1',
        'printf "%985s%s" "" "$2"; exit 1',
        'echo "$2" >&2; sleep 30',
    ],
)
def test_a_password_that_the_program_itself_prints_is_in_no_error(
    tmp_path: Path, script: str
) -> None:
    program = _script(tmp_path, script)
    error = _refusal(_target((program, "-p", CANARY), limit_s=1.0))
    text = error.message + error.hint
    assert [CANARY[n : n + 5] for n in range(16) if CANARY[n : n + 5] in text] == []


def test_a_password_of_a_file_is_in_no_error(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{CANARY}\n")
    program = _script(tmp_path, 'echo "Error: no login with $(cat $2) for etl" >&2; exit 1')
    error = _refusal(_target((program, "-w", str(tmp_path / "password"))))
    assert "no login with *** for etl" in error.message
    gone = _refusal(_target((program, "-w", str(tmp_path / "none"))))
    assert "no login with" in gone.message


def test_the_tables_columns_and_place() -> None:
    lines = TABLE_ROWS.splitlines()
    assert answers.table_columns(lines) == (
        PartitionColumn(name="dt", type="string"),
        PartitionColumn(name="hour", type="int"),
    )
    assert answers.table_location(lines) == HOME


def test_older_hive_has_an_empty_line_below_the_heading() -> None:
    lines = TABLE_ROWS.replace("comment\n", "comment\n\tNULL\tNULL\n").splitlines()
    assert [one.name for one in answers.table_columns(lines)] == ["dt", "hour"]


# Impala


def test_impala_is_given_its_own_arguments_and_lists_the_partitions(beeline: Path) -> None:
    rows = [
        f"a\t7\t-1\t1\t10B\tNOT CACHED\tNOT CACHED\tTEXT\tfalse\t{HOME}/dt=a/hour=07",
        "Total\t\t-1\t1\t10B\t0B\t\t\t\t",
    ]
    beeline.with_name("listed").write_text("\n".join(rows))
    target = _target(
        (str(beeline), "-i", "host"), f"{HOME}/dt=a/hour=07", dialect=HiveDialect.IMPALA
    )
    target.deliver(REPLY)
    arguments, script, _ = _seen(beeline)[-1]
    assert arguments == ["-i", "host", "-B", "--quiet", "-f", "-"]
    assert script.splitlines()[1:] == [
        (
            "ALTER TABLE `lake`.`sales` ADD IF NOT EXISTS"
            f" PARTITION (`dt`='a', `hour`=7) LOCATION '{HOME}/dt=a/hour=07';"
        ),
        "SHOW PARTITIONS `lake`.`sales`;",
    ]


def test_a_partition_that_impala_has_elsewhere(beeline: Path) -> None:
    beeline.with_name("listed").write_text(f"a\t7\t-1\t1\t{HOME}/old\n")
    target = _target((str(beeline),), f"{HOME}/dt=a/hour=07", dialect=HiveDialect.IMPALA)
    assert _refusal(target).code == "E_HIVE_LOCATION"
    beeline.with_name("listed").write_text("")
    assert _refusal(target).code == "E_HIVE_ANSWER"
