"""Places that this user may not look at: a sentence with the directory in the way, no traceback."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul import cli
from backhaul.adapters.hadoop.configuration import directory as hadoop_directory
from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.system.trusted_files import check_ledger_directory
from backhaul.core.errors import ConfigurationError, ExitCode
from tests.unit.test_hadoop_configuration import XINCLUDE, write

NOBODY = 65534


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of root with mode 0700, while the effective user of the test is another."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    above = Path(tempfile.mkdtemp(prefix="backhaul-private-"))
    above.chmod(0o755)
    made = above / "private"
    (made / "etc" / "hadoop").mkdir(parents=True)
    write(made / "core-site.xml", "")
    made.chmod(0o700)
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME"):
        monkeypatch.delenv(name, raising=False)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    yield made
    os.seteuid(0)
    os.setegid(0)
    shutil.rmtree(above)


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HADOOP_CONF_DIR", "conf"), ("HADOOP_CONF_DIR", "etc/hadoop"), ("HADOOP_HOME", ".")],
)
def test_a_directory_of_hadoop_below_a_private_one_is_refused_with_its_reason(
    private: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    monkeypatch.setenv(variable, str(private / below))
    with pytest.raises(ConfigurationError) as caught:
        hadoop_conf_dir()
    assert caught.value.code == "E_CFG_HADOOP"
    assert f"({variable})" in caught.value.message
    assert f"{private} has mode 0700 and belongs to root:root" in caught.value.message


def test_the_default_directory_is_not_passed_over_where_it_cannot_be_seen(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hadoop_directory, "SYSTEM_DIRECTORY", private)
    with pytest.raises(ConfigurationError, match="the default") as caught:
        hadoop_conf_dir()
    assert caught.value.code == "E_CFG_HADOOP"


def test_a_name_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", "/" + "x" * 5000)
    with pytest.raises(ConfigurationError, match="File name too long") as caught:
        hadoop_conf_dir()
    assert caught.value.code == "E_CFG_HADOOP"


def test_a_private_directory_with_site_files_is_refused_with_its_reason(private: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HadoopConfiguration.load(private)
    assert caught.value.code == "E_CFG_CORE_SITE"
    assert f"{private} has mode 0700 and belongs to root:root" in caught.value.message


def test_an_included_file_in_a_private_directory_is_refused_with_its_reason(private: Path) -> None:
    os.seteuid(0)
    conf = private.parent / "conf"
    include = f'<xi:include href="{private}/core-site.xml"><xi:fallback/></xi:include>'
    write(conf / "core-site.xml", include, attributes=XINCLUDE)
    os.seteuid(NOBODY)
    with pytest.raises(ConfigurationError) as caught:
        HadoopConfiguration.load(conf)
    assert caught.value.code == "E_CFG_CORE_SITE"
    assert f"{private} has mode 0700 and belongs to root:root" in caught.value.message


def test_the_last_handler_names_the_directory_that_is_in_the_way(
    private: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = private / "demo"

    def refuse(*_: object, **__: object) -> None:
        place.mkdir()

    monkeypatch.setattr(cli.cli, "main", refuse)
    assert cli._run([]) is ExitCode.UNAVAILABLE
    printed = capsys.readouterr().err
    assert printed.startswith(f"backhaul: E_SYSTEM: {place} cannot be written by user nobody")
    assert f"{private} has mode 0700 and belongs to root:root" in printed


def test_the_last_handler_reports_the_reason_where_the_place_cannot_be_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> tuple[str, str]:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(cli, "refusal", refuse)
    error = cli._of_the_machine(PermissionError(errno.EACCES, "Permission denied", "/x"))
    assert str(error) == "E_SYSTEM: /x: Permission denied (EACCES)"


def test_a_ledger_below_a_private_directory_ends_in_no_traceback(private: Path) -> None:
    check_ledger_directory(private / "state" / "ledger.db")
