"""The shell scripts of deb and rpm, by themselves: on directories of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.packages.release import LINUX
from tests.packages import built

PLACES = (
    *("/opt/backhaul", "/etc/systemd", "/usr/bin", "/usr/lib", "/etc/backhaul"),
    *("/var/lib/backhaul", "/var/log/backhaul", "/run/systemd"),
)


def _here(name: str, root: Path) -> Path:
    """The script, with every place below `root`."""
    text = (LINUX / f"{name}.sh").read_text("utf-8").replace("@RELEASE@", "1.0-abc")
    for place in PLACES:
        text = text.replace(place, f"{root}{place}")
    script = root / name
    script.write_text(text, "utf-8")
    return script


@pytest.mark.parametrize("argument", ["install", "1"], ids=["deb", "rpm"])
@pytest.mark.parametrize(
    "hand_made",
    [
        "opt/backhaul/pyvenv.cfg",
        "etc/systemd/system/backhaul@.service",
        "etc/systemd/system/backhaul-dashboard.service",
    ],
)
def test_what_was_made_by_hand_is_refused(tmp_path: Path, argument: str, hand_made: str) -> None:
    script = _here("preinstall", tmp_path)
    (tmp_path / "opt/backhaul").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/backhaul.service.d").mkdir(parents=True)
    assert built.run("sh", script, argument) == "", "an empty directory, and changes of a unit"
    (tmp_path / hand_made).touch()
    said = built.run("sh", script, argument, status=1)
    assert "Nothing was changed. fix: " in said
    for upgrade in ("upgrade", "2"):
        assert built.run("sh", script, upgrade) == ""


def test_an_upgrade_removes_nothing_and_a_removal_names_what_it_keeps(tmp_path: Path) -> None:
    script = _here("postremove", tmp_path)
    release = tmp_path / "opt/backhaul/releases/1.0-abc/bin"
    ledger = tmp_path / "var/lib/backhaul/ledger.db"
    for place in (release, ledger.parent, tmp_path / "etc/backhaul"):
        place.mkdir(parents=True)
    ledger.touch()
    for upgrade in ("upgrade", "1", "abort-install", "failed-upgrade"):
        assert built.run("sh", script, upgrade) == ""
    assert release.is_dir()
    for removal in ("remove", "purge", "0"):
        said = built.run("sh", script, removal)
        assert said.startswith(f"backhaul: kept {ledger.parent}. To delete this, the ledger")
    assert ledger.is_file()
    assert not (tmp_path / "opt/backhaul").exists()


@pytest.mark.parametrize("argument", ["remove", "0"], ids=["deb", "rpm"])
def test_a_removal_ends_every_agent_and_an_upgrade_none(tmp_path: Path, argument: str) -> None:
    script = _here("preremove", tmp_path)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    called = tmp_path / "called"
    program = tmp_path / "bin/systemctl"
    program.write_text(f'#!/bin/sh\necho "$*" >>{called}\n', "utf-8")
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    for upgrade in ("upgrade", "1"):
        built.run("sh", script, upgrade, environment=environment)
    assert not called.exists()
    built.run("sh", script, argument, environment=environment)
    stopped = called.read_text("utf-8")
    assert "stop backhaul@*.service\n" in stopped
    assert "disable backhaul@.service\n" in stopped
    assert "disable --now backhaul.service" in stopped


def _python(root: Path, version: str, library: str | None) -> None:
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (root / f"usr/bin/python{version}").write_text("#!/bin/sh\n", "utf-8")
    (root / f"usr/bin/python{version}").chmod(0o755)
    if library is not None:
        (root / f"usr/{library}/python{version}/sqlite3").mkdir(parents=True)
        (root / f"usr/{library}/python{version}/sqlite3/__init__.py").touch()
    for tree in ("opt/backhaul/package", "opt/backhaul/releases/1.0-abc"):
        (root / tree / "bin").mkdir(parents=True, exist_ok=True)
        program = root / tree / "bin" / f"python{version}"
        program.write_text('#!/bin/sh\necho "$0 $*${PYTHONPATH-}"\n', "utf-8")
        program.chmod(0o755)


def test_the_newest_complete_python_is_taken(tmp_path: Path) -> None:
    script = _here("python", tmp_path)
    said = built.run("sh", script, "-m", "backhaul", status=78)
    assert said.startswith("backhaul: Python 3.11, 3.12 or 3.13 is needed, and ")
    assert "fix: apt-get install python3.11" in said
    release = tmp_path / "opt/backhaul/releases/1.0-abc/bin"
    for version, library, taken in (
        ("3.10", "lib", None),
        ("3.13", None, None),  # a minimal one
        ("3.11", "lib64", "3.11"),
        ("3.12", "lib", "3.12"),
    ):
        _python(tmp_path, version, library)
        status = 78 if taken is None else 0
        said = built.run("sh", script, "x", status=status, environment={"PYTHONPATH": "/spark"})
        assert taken is None or said == f"{release}/python{taken} -P x\n"


def test_without_the_release_the_package_itself_is_run(tmp_path: Path) -> None:
    """As after an installation that ran no scripts."""
    script = _here("python", tmp_path)
    _python(tmp_path, "3.11", "lib")
    (tmp_path / "opt/backhaul/releases").rename(tmp_path / "gone")
    said = built.run("sh", script, "x")
    assert said == f"{tmp_path}/opt/backhaul/package/bin/python3.11 -P x\n"
