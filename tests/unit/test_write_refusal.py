"""Whether a directory takes new names, known without making one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.adapters.local import LocalTarget
from backhaul.core.model import Location
from backhaul.core.ports import WriteRefusal
from backhaul.core.transfer.write_access import cannot_write, hdfs_permission_hint

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others may enter; pytest's own is closed."""
    made = Path(tempfile.mkdtemp(prefix="backhaul-access-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def unprivileged(place: Path) -> Iterator[None]:
    """The effective user of the test; the directory is the root user's."""
    assert place.stat().st_uid == 0
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)
    os.setegid(0)


def test_a_directory_of_ones_own_refuses_nothing_and_stays_as_it_is(place: Path) -> None:
    before = place.stat().st_mtime_ns
    assert LocalTarget().write_refusal(str(place)) is None
    assert list(place.iterdir()) == []
    assert place.stat().st_mtime_ns == before


@pytest.mark.usefixtures("unprivileged")
def test_the_effective_user_counts(place: Path) -> None:
    found = LocalTarget().write_refusal(str(place))
    assert found is not None
    assert found.user == "nobody"
    assert found.why == f"{place} has mode 0755 and belongs to root:root"
    assert not found.is_readonly


@pytest.mark.usefixtures("unprivileged")
def test_a_directory_reports_a_refusal_with_what_it_gives(place: Path) -> None:
    refused = LocalTarget().write_refusal(str(place))
    (found,) = LocalTarget().inherited([str(place)])
    assert found is not None
    assert refused is not None
    assert found.refused == refused


def test_a_mount_point_is_distinguished_from_a_directory(place: Path) -> None:
    found = LocalTarget().inherited(["/", "/proc", str(place)])
    assert [one and one.is_mount for one in found] == [False, True, False]


def test_a_read_only_mount_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    real = os.statvfs(place)

    class ReadOnly:
        f_flag = real.f_flag | os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly)
    found = LocalTarget().write_refusal(str(place))
    assert found is not None
    assert found.is_readonly
    here = Location(scheme="file", authority="", path=str(place))
    error = cannot_write(here, here, found)
    assert error is not None
    assert error.code == "E_DST_READONLY"
    assert f"ReadWritePaths={place}" in error.hint


@pytest.mark.parametrize(
    ("scheme", "existing", "hint"),
    [
        ("file", "/data/in put", "chown etl '/data/in put', or setfacl -m u:etl:rwx"),
        ("file", "/data", "install -d -o etl '/data/in put'"),
        ("hdfs", "/data/in put", "hdfs dfs -chown etl '/data/in put', or hdfs dfs -setfacl"),
        ("hdfs", "/data", "hdfs dfs -mkdir -p '/data/in put' && hdfs dfs -chown etl"),
    ],
)
def test_the_hint_is_a_command_for_a_shell(scheme: str, existing: str, hint: str) -> None:
    def at(path: str) -> Location:
        return Location(scheme=scheme, authority="ns1" if scheme == "hdfs" else "", path=path)

    refused = WriteRefusal(user="etl", why="because")
    error = cannot_write(at("/data/in put"), at(existing), refused)
    assert error is not None
    assert (error.code, hint in error.hint) == ("E_DST_DENIED", True), error.hint
    assert ("cannot be made in" in error.message) is (existing == "/data")
    assert cannot_write(at("/data"), at("/data"), None) is None


def test_the_namenodes_sentence_gives_user_and_path_to_the_hint() -> None:
    words = 'Permission denied: user=bob, access=WRITE, inode="/a/b c":etl:etl:drwxr-xr-x'
    assert "hdfs dfs -chown bob '/a/b c'" in hdfs_permission_hint(words)
    assert "write permission" in hdfs_permission_hint("Permission denied")
