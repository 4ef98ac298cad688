"""What is in deb, rpm and bundle, and what must not be."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

from scripts.packages.release import GLIBC_NEWEST, LINUX, PYTHONS
from tests.packages import built
from tests.packages.built import ROOT, Entry, Packages
from tests.packages.pythons import real_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first one builds
TREE = "/opt/backhaul/package"
UNITS = "/usr/lib/systemd/system"
THEIRS = (f"{TREE}/lib/", "/wheels/")  # files that others wrote
EXTENSIONS = """
import _awscrt, _cffi_backend, awscrt.checksums, google._upb._message, hdfs_native
import markupsafe._speedups, pydantic_core._pydantic_core, sqlalchemy.util.cython
import cryptography.hazmat.bindings._rust
import backhaul.app.ports, backhaul.dashboard.application, backhaul.worker
import sys; print(sys.version_info[1], backhaul.__file__)
"""


def _rpm(packages: Packages, *query: str) -> str:
    built.need("rpm")
    return built.run("rpm", "-q", *query, "-p", packages.rpm)


# ---------------------------------------------------------------- what is in them


def test_the_deb_places_the_program_its_units_and_its_papers(deb: dict[str, Entry]) -> None:
    assert deb["/usr/bin/backhaul"].content == b"/opt/backhaul/bin/backhaul"
    for name in ("backhaul", "python"):
        assert deb[f"/opt/backhaul/bin/{name}"].mode == 0o755
    for python in PYTHONS:
        assert deb[f"{TREE}/bin/python{python}"].content == f"/usr/bin/python{python}".encode()
        assert f"{TREE}/lib/python{python}/site-packages/shared.pth" in deb
    assert f"{TREE}/lib/shared/backhaul/cli/__init__.py" in deb
    for unit in (ROOT / "packaging" / "systemd").glob("backhaul*.*"):
        assert deb[f"{UNITS}/{unit.name}"].content == unit.read_bytes()
    for place in (
        "/usr/lib/sysusers.d/backhaul.conf",
        "/usr/lib/tmpfiles.d/backhaul.conf",
        "/usr/share/bash-completion/completions/backhaul",
        "/usr/share/zsh/vendor-completions/_backhaul",
        "/usr/share/fish/vendor_completions.d/backhaul.fish",
        "/usr/share/man/man1/backhaul.1",
        "/usr/share/man/man1/backhaul-run.1",
        "/usr/share/doc/backhaul/LICENSE",
        "/usr/share/doc/backhaul/NOTICE",
        "/usr/share/doc/backhaul/copyright",
        "/usr/share/doc/backhaul/THIRD-PARTY.txt",
        "/usr/share/backhaul/prometheus/backhaul.rules.yml",
    ):
        assert deb[place].mode == 0o644, place
    parts = json.loads(deb["/usr/share/doc/backhaul/sbom.json"].content)["components"]
    assert {"boto3", "hdfs-native"} <= {one["name"] for one in parts}


def test_files_are_roots_and_nobody_else_may_write_them(deb: dict[str, Entry]) -> None:
    for name, entry in deb.items():
        assert entry.owner == "root:root", name
        assert entry.mode == 0o777 or not entry.mode & 0o7022, name  # 0777: a link
    assert deb["/etc/backhaul/agent.env"].mode == 0o600, "it may hold keys of AWS"


def test_the_rpm_has_the_files_of_the_deb(packages: Packages, deb: dict[str, Entry]) -> None:
    ours = {
        re.sub("site-functions", "vendor-completions", one) for one in _rpm(packages, "-l").split()
    }
    theirs = {name for name, entry in deb.items() if not name.endswith("/")}
    assert ours <= theirs
    # Directories that are the distribution's are in no rpm.
    assert {one for one in theirs - ours if deb[one].content} == set()


def test_configuration_is_marked_as_such_and_is_the_agents_environment_alone(
    packages: Packages,
) -> None:
    """A backhaul.toml is not shipped: `backhaul init` writes it, and refuses to replace one."""
    built.need("dpkg-deb")
    assert built.run("dpkg-deb", "-I", packages.deb, "conffiles").split() == [
        "/etc/backhaul/agent.env"
    ]
    assert _rpm(packages, "-c").split() == ["/etc/backhaul/agent.env"]
    flags = _rpm(packages, "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]")
    assert "/etc/backhaul/agent.env cn\n" in flags, "noreplace"


def test_one_of_three_pythons_is_needed(packages: Packages) -> None:
    built.need("dpkg-deb")
    needed = built.run("dpkg-deb", "-f", packages.deb, "Depends").strip()
    assert needed == "python3.13 | python3.12 | python3.11"
    assert "(/usr/bin/python3.13 or /usr/bin/python3.12 or /usr/bin/python3.11)" in _rpm(
        packages, "--requires"
    )


def test_the_ledgers_directory_is_no_file_of_a_package(deb: dict[str, Entry]) -> None:
    """Otherwise a removal of the package would try to remove it."""
    assert not [name for name in deb if name.startswith("/var")]
    tmpfiles = deb["/usr/lib/tmpfiles.d/backhaul.conf"].content.decode()
    assert "d /var/lib/backhaul 0750 backhaul backhaul -" in tmpfiles


def test_the_bundle_has_wheels_for_each_python_and_the_hash_of_every_file(
    bundle: dict[str, Entry],
) -> None:
    lines = bundle["/SHA256SUMS"].content.decode().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    files = {name[1:]: entry for name, entry in bundle.items() if entry.content}
    assert set(sums) == set(files) - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256(files[name].content).hexdigest() == digest
    for python in PYTHONS:
        tag = f"-cp{python.replace('.', '')}-"
        assert [name for name in files if name.startswith("wheels/pydantic_core") and tag in name]
    assert bundle["/install.sh"].mode == 0o755


# ---------------------------------------------------------------- what must not be


def test_nothing_that_is_linked_needs_a_newer_glibc(deb: dict[str, Entry]) -> None:
    libraries = {name: entry.content for name, entry in deb.items() if ".so" in Path(name).name}
    assert len(libraries) > 10
    for name, content in libraries.items():
        needed = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", content)}
        assert max(needed, default=0) <= GLIBC_NEWEST, name


def test_no_file_shows_where_it_was_built(
    packages: Packages, deb: dict[str, Entry], bundle: dict[str, Entry]
) -> None:
    places = [str(ROOT).encode(), *(host.encode() for host in _hosts_of_this_machine())]
    control = {"control": Entry(0, "", _control(packages), 0)}
    for name, entry in {**deb, **bundle, **control}.items():
        assert not [place for place in places if place in entry.content], name
    assert _rpm(packages, "--qf", "%{BUILDHOST} %{PACKAGER}") == "localhost The Backhaul authors"


def _control(packages: Packages) -> bytes:
    built.need("dpkg-deb")
    return subprocess.check_output(["dpkg-deb", "--ctrl-tarfile", str(packages.deb)])


def _hosts_of_this_machine() -> set[str]:
    """Of package indexes and proxies that this machine is set to use; not the public index."""
    told = [
        value for name, value in os.environ.items() if name.upper().endswith(("_PROXY", "_URL"))
    ]
    told += built.run(sys.executable, "-m", "pip", "config", "list").split("'")
    for path in Path("/etc/apt").rglob("*"):
        if path.is_file() and path.suffix in {".list", ".sources", ".conf"}:
            told += path.read_text("utf-8", "replace").split()
    hosts = {urllib.parse.urlsplit(one).hostname for one in told if "://" in one}
    public = {"pypi.org", "localhost", "deb.debian.org", "security.debian.org", None}
    return {str(one) for one in hosts - public if one and not re.fullmatch(r"[\d.]+", one)}


SECRETS = re.compile(
    rb"AKIA[0-9A-Z]{16}|PRIVATE KEY-----\n|\naws_secret_access_key *=|\nAWS_SECRET"
)


def test_our_files_name_no_index_no_home_and_hold_no_secret(
    deb: dict[str, Entry], bundle: dict[str, Entry]
) -> None:
    index = re.compile(rb"pypi\.(org|python)|pythonhosted|npmjs|maven\.org|/simple/")
    for name, entry in {**deb, **bundle}.items():
        if name.startswith(THEIRS) and "/backhaul" not in name.removeprefix(TREE):
            continue
        if name.endswith(".whl"):
            continue
        assert not SECRETS.search(entry.content), name
        if not name.startswith(f"{TREE}/lib/shared/backhaul/"):
            assert not index.search(entry.content), name
            assert not re.search(rb"/root/|/home/\w", entry.content), name


def test_every_library_has_its_licence_named(deb: dict[str, Entry]) -> None:
    text = deb["/usr/share/doc/backhaul/THIRD-PARTY.txt"].content.decode()
    named = re.findall(r"^(\S+) \S+: (.+)$", text, re.MULTILINE)
    locked = re.findall(
        r"^([\w-]+)==", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE
    )
    flat = {name.lower().replace("_", "-") for name, _ in named}
    assert flat == set(locked)
    assert [name for name, licence in named if "not stated" in licence] == []
    for place in re.findall(r"^  (\S+)$", text, re.MULTILINE):
        assert f"{TREE}/lib/{place}" in deb


def test_no_script_starts_or_restarts_a_service(packages: Packages) -> None:
    built.need("rpm")
    hint = "until you restart it: systemctl restart backhaul"
    scripts = _rpm(packages, "--scripts")
    assert hint in scripts
    assert not re.search(
        r"systemctl.*(?<!-)\b(start|restart|enable|reload)\b", scripts.replace(hint, "")
    )


def test_shellcheck_finds_nothing() -> None:
    program = Path(sys.executable).with_name("shellcheck")
    built.run(program, *sorted(LINUX.glob("*.sh")))


# ---------------------------------------------------------------- the same again


def test_a_second_build_has_the_same_bytes(packages: Packages, tmp_path: Path) -> None:
    """With another umask, time zone, language and home."""
    (wheel,) = (ROOT / "build" / "package-wheel").glob("*.whl")
    time_s = int(built.deb_entries(packages.deb)["/usr/bin/backhaul"].time_s)
    again = built.build(
        *(wheel, tmp_path / "again"),
        umask=0o077,
        TZ="Asia/Kolkata",
        LC_ALL="C",
        HOME=str(tmp_path),
        SOURCE_DATE_EPOCH=str(time_s),
    )
    for one in ("deb", "rpm", "bundle"):
        first, second = getattr(packages, one), getattr(again, one)
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes(), one


# ---------------------------------------------------------------- the tree on each Python


@pytest.fixture(scope="module")
def tree(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built.need("dpkg-deb")
    place = tmp_path_factory.mktemp("tree")
    built.run("dpkg-deb", "-x", packages.deb, place)
    return place / TREE[1:]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_tree_serves_this_python(tree: Path, python: str, tmp_path: Path) -> None:
    program = real_python(python)
    if program is None:
        pytest.skip(f"no Python {python} here")
    (tmp_path / "lib").symlink_to(tree / "lib")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / f"python{python}").symlink_to(program)
    home = str(program.parent)
    text = (tree / "pyvenv.cfg").read_text("utf-8")
    (tmp_path / "pyvenv.cfg").write_text(text.replace("/usr/bin", home), "utf-8")
    here = tmp_path / "bin" / f"python{python}"
    printed = built.run(here, "-B", "-P", "-c", EXTENSIONS)
    assert printed.split() == [
        python.partition(".")[2],
        str(tmp_path / "lib/shared/backhaul/__init__.py"),
    ]
    assert built.run(here, "-B", "-P", "-m", "backhaul", "--version").startswith(
        "backhaul, version "
    )
