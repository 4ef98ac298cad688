"""Files published on a mounted target are as mkdir(2) and open(2) at that place make them.

`cp -r` makes the same but for directories below a default ACL: it applies the umask to them itself.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.landing import STAGING, LocalLanding

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to any group"),
]

FILES = {"a.csv": b"a,b,c", "_SUCCESS": b"", "sub/b.csv": b"b" * 70_000, "sub/deep/c": b"c"}
ETL, FINANCE = 4711, 4712
ACLS = ("system.posix_acl_access", "system.posix_acl_default")
# user::rwx, user:1234:r-x, group::rwx, mask::rwx, other::---, as acl(5) keeps it.
USER_OBJ, USER, GROUP_OBJ, MASK, OTHER, NOBODY = 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF
DEFAULT_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (USER_OBJ, 7, NOBODY),
        (USER, 5, 1234),
        (GROUP_OBJ, 7, NOBODY),
        (MASK, 7, NOBODY),
        (OTHER, 0, NOBODY),
    )
)


def plain(path: Path) -> None:
    path.mkdir()


def setgid(path: Path) -> None:
    path.mkdir()
    os.chown(path, -1, FINANCE)
    path.chmod(0o2770)


def default_acl(path: Path) -> None:
    path.mkdir()
    os.setxattr(path, ACLS[1], DEFAULT_ACL)


def setgid_and_acl(path: Path) -> None:
    setgid(path)
    default_acl_of(path)


def default_acl_of(path: Path) -> None:
    os.setxattr(path, ACLS[1], DEFAULT_ACL)


def another_group_further_down(path: Path) -> None:
    setgid(path)
    (path / "sub").mkdir()
    os.chown(path / "sub", -1, ETL)
    (path / "sub").chmod(0o2750)


def an_acl_further_down(path: Path) -> None:
    plain(path)
    (path / "sub" / "deep").mkdir(parents=True)
    default_acl_of(path / "sub" / "deep")


def setgid_above_and_not_below(path: Path) -> None:
    setgid(path)
    (path / "sub").mkdir()
    (path / "sub").chmod(0o755)
    os.chown(path / "sub", -1, 0)
    (path / "sub").chmod(0o0755)


PLACES = [
    plain,
    setgid,
    default_acl,
    setgid_and_acl,
    another_group_further_down,
    an_acl_further_down,
    setgid_above_and_not_below,
]


@pytest.fixture(params=[0o022, 0o027, pytest.param(0o007, marks=pytest.mark.long)], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def acl_of(path: Path, name: str) -> bytes:
    try:
        return os.getxattr(path, name)
    except OSError:
        return b""


def shown(directory: Path) -> dict[str, object]:
    """It and all below: mode, owner, group, both ACLs, content."""
    return {
        str(path.relative_to(directory)): (
            stat.filemode(path.stat().st_mode),
            path.stat().st_uid,
            path.stat().st_gid,
            *(acl_of(path, name) for name in ACLS),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [directory, *directory.rglob("*")]
    }


def test_published_files_are_as_any_program_makes_them_there(
    local: Installation, tmp_path: Path, umask: int
) -> None:
    """Into a directory that exists, file by file, and as a new directory in it, by one rename."""
    assert isinstance(local.landing, LocalLanding)
    landing, written = local.landing.path, tmp_path / "written"
    for relative, data in FILES.items():
        local.put(f"p/{relative}", data)
    for base in (landing, written):
        base.mkdir()
        for place in PLACES:
            place(base / place.__name__)
    for place in PLACES:
        for below in (place.__name__, f"{place.__name__}/new"):
            for relative, data in FILES.items():
                path = written / below / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    # The new directories first: they are not there while the others are looked at.
    for below in [f"{place.__name__}/new" for place in PLACES]:
        local.ask_for("p/", below)
    local.drained()
    for place in PLACES:
        local.ask_for("p/", place.__name__)
    local.drained()
    assert local.dead_letters() == []
    assert not list(landing.rglob(STAGING))
    for place in PLACES:
        name = place.__name__
        assert shown(landing / name) == shown(written / name), (name, oct(umask))
