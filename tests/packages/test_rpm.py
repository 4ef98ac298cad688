"""The RPM by Debian's `rpm`, which knows no other package: dependencies are never met."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.packages import built, machine
from tests.packages.built import Packages

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
NEXT = "99.2.0"
AGENT_ENV = "etc/backhaul/agent.env"


@pytest.fixture(scope="module")
def later(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    work = tmp_path_factory.mktemp("later")
    return built.build(built.wheel_of_version(NEXT, work), work / "packages")


def test_an_upgrade_keeps_the_edited_file_and_what_is_installed_verifies(
    packages: Packages, later: Packages, tmp_path: Path
) -> None:
    built.need("rpm")
    rpm = ("rpm", "--root", tmp_path)
    built.run("rpm", "-K", "--nosignature", packages.rpm)
    built.run(*rpm, "-i", "--nodeps", "--noscripts", packages.rpm)
    assert built.run(*rpm, "-V", "--nodeps", "backhaul") == ""
    assert stat.S_IMODE((tmp_path / AGENT_ENV).stat().st_mode) == 0o600
    with (tmp_path / AGENT_ENV).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    built.run(*rpm, "-U", "--nodeps", "--noscripts", later.rpm)
    assert built.run(*rpm, "-q", "backhaul").startswith(f"backhaul-{NEXT}-1.")
    assert (tmp_path / AGENT_ENV).read_text("utf-8").endswith("# edited\n")
    changed = built.run(*rpm, "-V", "--nodeps", "backhaul", status=1)
    assert [line.split()[-1] for line in changed.splitlines()] == [f"/{AGENT_ENV}"]
    (tmp_path / "var/lib/backhaul").mkdir(parents=True)
    (tmp_path / "var/lib/backhaul/ledger.db").write_bytes(b"ledger")
    built.run(*rpm, "-e", "--nodeps", "--noscripts", "backhaul")
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("backhaul*")]
    assert {str(path.parent) for path in left} == {"etc", "var/lib"}, left
    assert (tmp_path / f"{AGENT_ENV}.rpmsave").read_text("utf-8").endswith("# edited\n")
    assert (tmp_path / "var/lib/backhaul/ledger.db").exists()


def test_its_scripts_do_what_those_of_the_deb_do(
    packages: Packages, later: Packages, tmp_path: Path
) -> None:
    """In a small Debian, with the rpm program and libraries of this one."""
    built.need("rpm")
    here = machine.make(tmp_path / "root")
    rpm = ("rpm", "--root", here.root)
    (here.root / "opt/backhaul").mkdir()
    (here.root / "opt/backhaul/mine").touch()
    said = built.run(*rpm, "-i", "--nodeps", packages.rpm, status=1)
    assert "/opt/backhaul holds an installation that this package did not make." in said
    assert [one.name for one in (here.root / "opt/backhaul").iterdir()] == ["mine"]
    (here.root / "opt/backhaul/mine").unlink()

    here.sh("mknod -m 666 /dev/null c 1 3 || true")
    built.run(*rpm, "-i", "--nodeps", packages.rpm)
    assert here.run("backhaul", "--version").startswith("backhaul, version ")
    assert stat.S_IMODE(here.path("/var/lib/backhaul").stat().st_mode) == 0o750
    (first,) = here.path("/opt/backhaul/releases").iterdir()
    here.path("/var/lib/backhaul/ledger.db").write_bytes(b"ledger")

    built.run(*rpm, "-U", "--nodeps", later.rpm)
    assert here.run("backhaul", "--version") == f"backhaul, version {NEXT}\n"
    assert not first.exists()

    said = built.run(*rpm, "-e", "--nodeps", "backhaul")
    assert "backhaul: kept /var/lib/backhaul." in said
    assert not here.path("/opt/backhaul").exists()
    assert here.path("/var/lib/backhaul/ledger.db").read_bytes() == b"ledger"
