"""`[hive]` and `hive` of a route: what is taken and refused; doctor and `replies test hive`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from backhaul.app.doctor import hive
from backhaul.app.doctor.context import read_context
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.probes import SECTIONS, Section
from backhaul.app.doctor.run import examine
from backhaul.app.hive import hive_tables
from backhaul.cli import cli
from backhaul.core.errors import ConfigurationError, ExitCode
from backhaul.core.replies.hiveql import HiveDialect
from backhaul.core.replies.partitions import HiveTable
from backhaul.core.replies.reply import ReplyEvent, ReplyWish
from backhaul.settings.hive import HiveSection
from backhaul.settings.load import load_settings
from backhaul.settings.routes import make_routes
from tests.unit.test_hive_target import PARTITION_ROWS, STAND_IN, TABLE_ROWS

COMMAND = 'command = ["beeline", "-u", "jdbc:hive2://h:10000/"]'
TABLE = 'hive = { database = "lake", table = "sales" }'


@pytest.fixture
def beeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line of a `[hive]` whose stand-in knows `lake.sales`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    (tmp_path / "table").write_text(TABLE_ROWS)
    (tmp_path / "partition").write_text(PARTITION_ROWS)
    program = tmp_path / "beeline"
    program.write_text(STAND_IN % (sys.executable, str(tmp_path)))
    program.chmod(0o755)
    return f'command = ["{program}", "-u", "jdbc:x"]'


def _written(directory: Path, *hive: str, route: str = TABLE) -> Path:
    path = directory / "backhaul.toml"
    section = ["[hive]", *hive] if hive else []
    path.write_text(
        "\n".join(
            [
                *section,
                *("[[route]]", 'name = "sales"', 'source = ["s3://acme-raw/sales/"]'),
                *(f'destination = ["file://{directory}/landing/"]', route, ""),
            ]
        )
    )
    return path


def _probed(path: Path, *, is_offline: bool = False) -> list[Finding]:
    context = read_context(config=path, queue="q", region="us-east-1", is_offline=is_offline)
    section = Section("hive", hive.PROBES, needs_network=True)
    return [one for _, one in examine(context, [section])]


def test_a_route_with_a_table_wants_its_ends(tmp_path: Path) -> None:
    settings = load_settings(_written(tmp_path, COMMAND))
    (route,) = make_routes(settings, None, None)
    assert route.hive == HiveTable(database="lake", table="sales")
    assert hive_tables(settings) == {"sales": route.hive}
    assert route.reply_wishes == (ReplyWish(target="hive", events=frozenset({ReplyEvent.DONE})),)


@pytest.mark.parametrize(
    ("hive", "route"),
    [
        ((), TABLE),
        (('command = ["./beeline"]',), TABLE),
        (('command = ["beeline", "-f", "x"]',), TABLE),
        (('command = ["beeline", "-e", "x"]',), ""),
        (('command = ["beeline", "--outputformat=csv"]',), TABLE),
        (('command = ["beeline", "a\\u001bb"]',), TABLE),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, hive: tuple[str, ...], route: str) -> None:
    settings = load_settings(_written(tmp_path, *hive, route=route))
    with pytest.raises(ConfigurationError) as caught:
        make_routes(settings, None, None)
    assert caught.value.code == "E_HIVE_SETTING"
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a`b", "a b", "a;b", "", "a.b", "é"])
def test_names_of_tables_are_plain(tmp_path: Path, name: str) -> None:
    table = f'hive = {{ database = "lake", table = "{name}" }}'
    with pytest.raises(ConfigurationError) as caught:
        load_settings(_written(tmp_path, COMMAND, route=table))
    assert caught.value.code == "E_CFG_VALUE"


@pytest.mark.parametrize("name", ["hive", "lineage"])
def test_no_reply_may_have_the_name_of_a_target_of_its_own(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path, COMMAND)
    path.write_text(f'[[reply]]\nname = "{name}"\ncommand = ["/bin/true"]\n{path.read_text()}')
    with pytest.raises(ConfigurationError) as caught:
        make_routes(load_settings(path), None, None)
    assert caught.value.code == "E_REPLY_SETTING"


@pytest.mark.parametrize(
    ("section", "dialect"),
    [
        (HiveSection(command=["/usr/bin/beeline", "-u", "x"]), HiveDialect.HIVE),
        (HiveSection(command=["impala-shell", "-i", "x"]), HiveDialect.IMPALA),
        (HiveSection(command=["sudo", "-u", "x", "/opt/bin/impala-shell"]), HiveDialect.IMPALA),
        (HiveSection(command=["our-shell"]), HiveDialect.HIVE),
        (HiveSection(command=["our-shell"], dialect=HiveDialect.IMPALA), HiveDialect.IMPALA),
    ],
)
def test_the_dialect_is_known_by_the_program(section: HiveSection, dialect: HiveDialect) -> None:
    assert section.spoken is dialect


# doctor


def test_it_is_one_of_the_sections() -> None:
    assert hive.PROBES in [section.probes for section in SECTIONS]


def test_what_is_well_is_one_line(tmp_path: Path, beeline: str) -> None:
    (found,) = _probed(_written(tmp_path, beeline))
    assert (found.check, found.subject, found.state) == ("hive.table", "lake.sales", State.OK)
    assert "dt string, hour int" in found.text


def test_nothing_is_said_where_no_route_has_a_table(tmp_path: Path, beeline: str) -> None:
    assert _probed(_written(tmp_path, beeline, route="")) == []


def test_offline_nothing_is_started(tmp_path: Path, beeline: str) -> None:
    (found,) = _probed(_written(tmp_path, beeline), is_offline=True)
    assert found.state is State.SKIPPED
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(
    ("program", "check", "code"),
    [
        (None, "hive.program", "E_HIVE_SETTING"),
        ("echo 'Error: [Error 10001]: Table not found' >&2; exit 2", "hive.table", "E_HIVE_TABLE"),
        ("echo 'Error: Could not open client transport' >&2", "hive.table", "E_HIVE_CONNECT"),
        (
            "echo 'Error: Permission denied' >&2; exit 2",
            "hive.table",
            "E_HIVE_PERMISSION",
        ),
        ("echo '# nothing'", "hive.table", "E_HIVE_UNPARTITIONED"),
    ],
)
def test_a_planted_fault_is_found_with_its_fix(
    tmp_path: Path, beeline: str, program: str | None, check: str, code: str
) -> None:
    path = tmp_path / "beeline"
    path.unlink()
    if program is not None:
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
    (found,) = _probed(_written(tmp_path, beeline))
    assert (found.check, found.code, found.state) == (check, code, State.FAILED)
    assert found.fix


# replies test hive


def test_the_tables_are_looked_at_and_nothing_is_changed(tmp_path: Path, beeline: str) -> None:
    path = str(_written(tmp_path, beeline))
    done = CliRunner().invoke(cli, ["replies", "test", "hive", "--config", path])
    assert "hive: lake.sales; connected in" in done.output
    assert "ALTER" not in (tmp_path / "seen").read_text()
    done = CliRunner().invoke(
        cli, ["replies", "test", "hive", "--config", path, "--json"], standalone_mode=False
    )
    found = json.loads(done.output)
    assert found["tables"] == ["lake.sales"]
    assert (found["kind"], found["is_sent"], found["code"]) == ("hive", False, "")


def test_a_table_that_is_not_there_is_the_test_s_end(tmp_path: Path, beeline: str) -> None:
    (tmp_path / "beeline").write_text(
        "#!/bin/sh\necho 'Error: [Error 10001]: Table not found' >&2; exit 2\n"
    )
    path = str(_written(tmp_path, beeline))
    done = CliRunner().invoke(
        cli, ["replies", "test", "hive", "--config", path], standalone_mode=False
    )
    assert "E_HIVE_TABLE" in done.output
    assert done.return_value == ExitCode.BAD_INPUT
