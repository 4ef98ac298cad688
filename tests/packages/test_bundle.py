"""`install.sh` of the offline bundle: into a directory of one's own, again, and its refusals."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.packages.release import PYTHONS
from tests.children import child
from tests.packages import built
from tests.packages.built import Packages
from tests.packages.pythons import real_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first one builds
MARK = ".backhaul-bundle"


@pytest.fixture(scope="module")
def unpacked(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpack(packages.bundle, tmp_path_factory.mktemp("bundle"))


def _unpack(bundle: Path, into: Path) -> Path:
    built.run("tar", "-C", into, "-xzf", bundle)
    (place,) = into.iterdir()
    return place


@pytest.fixture(scope="module")
def prefix(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, made without a network where this may be tried."""
    place = tmp_path_factory.mktemp("bundle-prefix") / "backhaul"
    alone = ["unshare", "--map-root-user", "--net"]
    may = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    said = built.run(*(alone if may else []), unpacked / "install.sh", "--prefix", place)
    assert f" is installed: {place}/bin/backhaul\n" in said
    return place


def _everything(place: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in place.rglob("*")}


def test_it_runs_and_its_units_name_it(prefix: Path) -> None:
    assert built.run(prefix / "bin" / "backhaul", "--version").startswith("backhaul, version ")
    for unit in (prefix / "share" / "systemd").glob("*.service"):
        assert f"\nExecStart={prefix}/bin/backhaul " in unit.read_text("utf-8")
        assert "/opt/backhaul" not in unit.read_text("utf-8")
    for name in ("man/backhaul.1", "completions/_backhaul", "doc/sbom.json", "doc/LICENSE"):
        assert (prefix / "share" / name).is_file()


def test_a_second_run_repairs_and_otherwise_changes_no_release(
    prefix: Path, unpacked: Path
) -> None:
    before = _everything(prefix / "releases")
    said = built.run(unpacked / "install.sh", "--prefix", prefix)
    assert "was installed already" in said
    assert _everything(prefix / "releases") == before
    (prefix / "bin" / "backhaul").unlink()
    built.run(unpacked / "install.sh", "--prefix", prefix)
    assert built.run(prefix / "bin" / "backhaul", "--version").startswith("backhaul, version ")


def test_a_damaged_bundle_is_refused_before_anything_is_changed(
    unpacked: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(unpacked, damaged, copy_function=_link)
    wheel = next((damaged / "wheels").glob("click-*.whl"))
    content = wheel.read_bytes()
    wheel.unlink()
    wheel.write_bytes(content[:-1] + b"x")
    said = built.run(damaged / "install.sh", "--prefix", tmp_path / "new", status=1)
    assert f"the bundle is damaged: wheels/{wheel.name}" in said
    wheel.unlink()
    said = built.run(damaged / "install.sh", "--prefix", tmp_path / "new", status=1)
    assert "the bundle is damaged: " in said
    assert not (tmp_path / "new").exists()


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def test_it_refuses_what_it_did_not_make_and_what_is_newer(unpacked: Path, tmp_path: Path) -> None:
    place = tmp_path / "backhaul"
    place.mkdir()
    (place / "mine").touch()
    said = built.run(unpacked / "install.sh", "--prefix", place, status=1)
    assert f"{place} exists, and this script did not make it" in said
    assert [one.name for one in place.iterdir()] == ["mine"]
    (place / "mine").unlink()
    (place / MARK).write_text("99.0.0\n", "utf-8")
    said = built.run(unpacked / "install.sh", "--prefix", place, status=1)
    assert f"{place} has Backhaul 99.0.0, which is newer" in said
    assert [one.name for one in place.iterdir()] == [MARK]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--prefix",), 64, "usage: ./install.sh"),
        (("--prefix", ""), 64, "usage: ./install.sh"),
        (("--unknown",), 64, "usage: ./install.sh"),
        (("--prefix", "/tmp/with blank"), 64, "has characters other than"),
        (("--python", "/bin/false"), 78, "is not a complete Python"),
        (("--help",), 0, "needs no root"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_arguments_are_named(
    unpacked: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    where = () if "--prefix" in arguments else ("--prefix", str(tmp_path / "new"))
    said = built.run(unpacked / "install.sh", *where, *arguments, status=status)
    assert words in said
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("python", PYTHONS)
def test_it_installs_on_each_python_and_upgrades(
    unpacked: Path, packages: Packages, python: str, tmp_path: Path
) -> None:
    program = real_python(python)
    if program is None:
        pytest.skip(f"no Python {python} here")
    place = tmp_path / "prefix"
    built.run(unpacked / "install.sh", "--prefix", place, "--python", program)
    (first,) = (place / "releases").iterdir()
    # As an interruption leaves it.
    (first / "complete").unlink()
    (first / "bin" / "backhaul").unlink()
    said = built.run(unpacked / "install.sh", "--prefix", place, "--python", program)
    assert f" is installed: {place}/bin/backhaul\n" in said
    assert (first / "lib" / f"python{python}" / "site-packages" / "backhaul").is_dir()
    wheel = built.wheel_of_version("99.3.0", tmp_path)
    (tmp_path / "later").mkdir()
    later = _unpack(built.build(wheel, tmp_path / "packages").bundle, tmp_path / "later")

    # A process of the first release keeps it; as long as it runs.
    python_of_first = str(first / "bin" / "python")
    with child([python_of_first, "-c", "input()"], stdin=subprocess.PIPE) as agent:
        said = built.run(later / "install.sh", "--prefix", place, "--python", program)
        assert "An agent runs, and goes on with the release it was started from" in said
        assert first.is_dir()
        agent.communicate(b"\n")
    built.run(later / "install.sh", "--prefix", place, "--python", program)
    assert not first.exists()
    assert built.run(place / "bin" / "backhaul", "--version") == "backhaul, version 99.3.0\n"
    said = built.run(unpacked / "install.sh", "--prefix", place, status=1)
    assert "has Backhaul 99.3.0, which is newer" in said
