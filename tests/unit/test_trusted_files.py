"""Whose hands the configuration, the keytab and the ledger are in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backhaul.adapters.system import trusted_files
from backhaul.adapters.system.trusted_files import (
    check_ledger_directory,
    check_trusted,
    filesystem_type,
)
from backhaul.app.start import clock_warnings
from backhaul.core.errors import ConfigurationError, ExitCode

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /dev/shm rw - tmpfs tmpfs rw
23 21 0:30 / /srv/nfs\\040share rw - nfs4 server:/x rw
24 21 0:31 / /srv rw - xfs /dev/sdb rw
25 23 0:32 / /srv/nfs\\040share/local rw - ext4 /dev/sdc rw
26 21 0:33 / /mnt rw - ext4 /dev/sdd rw
27 21 0:34 / /mnt rw - fuse.sshfs host:/ rw
malformed
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backhaul.toml"
    path.touch(0o644)
    path.chmod(0o644)
    return path


def refused(path: Path, *, is_secret: bool = False) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        check_trusted(path, "the file", is_secret=is_secret)
    assert caught.value.code == "E_CFG_PERMISSIONS"
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    assert caught.value.hint
    return caught.value


def test_a_file_of_ones_own_is_trusted(file: Path) -> None:
    check_trusted(file, "the file")
    file.chmod(0o600)
    check_trusted(file, "the file", is_secret=True)


def test_ones_own_group_may_write_and_another_may_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(0o664)
    check_trusted(file, "the file")
    monkeypatch.setattr(os, "getegid", lambda: file.stat().st_gid + 1)
    assert "0664" in refused(file).message


def test_a_file_that_all_may_write_is_refused(file: Path) -> None:
    file.chmod(0o646)
    assert "written by others" in refused(file).message


def test_a_secret_that_all_may_read_is_refused(file: Path) -> None:
    assert "read by others" in refused(file, is_secret=True).message


def test_a_file_of_somebody_else_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4242)
    if owner == 0:
        check_trusted(file, "the file")  # root's is anybody's
        os.chown(file, 4711, -1)
    assert "belongs to user" in refused(file).message


def test_a_link_is_judged_by_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    check_trusted(link, "the file")
    file.chmod(0o666)
    assert str(file) in refused(link).message


def test_a_link_out_of_the_systems_directory_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "etc"
    system.mkdir()
    monkeypatch.setattr(trusted_files, "_SYSTEM", system)
    (system / "backhaul.toml").symlink_to(file)
    assert "is a link to" in refused(system / "backhaul.toml").message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to a stranger")
@pytest.mark.parametrize("where", ["the file", "a directory on the way", "a link to a link"])
def test_a_strangers_link_is_not_followed(file: Path, tmp_path: Path, where: str) -> None:
    """In /tmp, anybody may put one in the place of a file that is about to be made."""
    link = tmp_path / "link"
    goal = file.parent if where == "a directory on the way" else file
    link.symlink_to(goal)
    os.chown(link, 4711, 4711, follow_symlinks=False)
    path = link / file.name if where == "a directory on the way" else link
    if where == "a link to a link":
        path = tmp_path / "mine"
        path.symlink_to("link")
    error = refused(path)
    assert f"{link}, on the way to {path}, is a symbolic link of 4711" in error.message
    assert f"rm {link}" in error.hint
    os.chown(link, 0, 0, follow_symlinks=False)
    check_trusted(path, "the file")


def test_a_directory_that_all_may_write_is_refused_unless_it_is_sticky(
    file: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    try:
        assert "everybody may write" in refused(file).message
        with pytest.raises(ConfigurationError, match="E_CFG_PERMISSIONS"):
            check_ledger_directory(tmp_path / "ledger.db")
        tmp_path.chmod(0o1777)
        check_trusted(file, "the file")
        check_ledger_directory(tmp_path / "ledger.db")
    finally:
        tmp_path.chmod(0o755)


def test_a_missing_file_is_not_refused_here(tmp_path: Path) -> None:
    check_trusted(tmp_path / "none", "the file")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/backhaul", "ext4"),
        ("/dev/shm/x", "tmpfs"),
        ("/srv/other", "xfs"),
        ("/srv/nfs share", "nfs4"),
        ("/srv/nfs share/deep/er", "nfs4"),
        ("/srv/nfs share/local/x", "ext4"),
        ("/srv/nfs shared", "xfs"),
        ("/mnt", "fuse.sshfs"),
    ],
)
def test_the_deepest_and_last_mount_counts(path: str, kind: str) -> None:
    assert filesystem_type(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("nfs", 78),
        ("nfs4", 78),
        ("cifs", 78),
        ("fuse.s3fs", 78),
        ("lustre", 78),
        ("tmpfs", "tmpfs"),
        ("overlay", "overlay"),
        ("ext4", ""),
        ("xfs", ""),
        ("", ""),
    ],
)
def test_the_ledgers_disk_is_refused_reported_or_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, outcome: object
) -> None:
    monkeypatch.setattr(trusted_files, "filesystem_type", lambda _path: kind)
    place = tmp_path / "not" / "yet" / "ledger.db"
    if outcome == 78:
        with pytest.raises(ConfigurationError, match="E_LEDGER_PLACE"):
            check_ledger_directory(place)
    else:
        assert check_ledger_directory(place) == outcome


@pytest.mark.parametrize(
    ("skew_s", "expected"), [(0, None), (60, None), (61, "ahead"), (-90, "behind")]
)
def test_a_clock_that_is_off_by_a_minute_is_reported(skew_s: float, expected: str | None) -> None:
    found = clock_warnings(skew_s)
    assert [one.code for one in found] == ([] if expected is None else ["W_CLOCK"])
    assert expected is None or expected in found[0].reason
