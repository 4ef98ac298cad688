"""A mounted file system's errors as ours, and where symbolic links lead."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backhaul.adapters.local import LocalTarget
from backhaul.adapters.local.faults import translate
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    PermanentError,
    TargetExists,
    TargetMissing,
    TransientError,
)


@pytest.mark.parametrize(
    ("number", "cls", "code"),
    [
        (errno.ENOENT, TargetMissing, "E_DST_MISSING"),
        (errno.EEXIST, TargetExists, "E_DST_EXISTS"),
        (errno.ENOTDIR, CannotWrite, "E_DST_PARENT_FILE"),
        (errno.EACCES, CannotWrite, "E_DST_DENIED"),
        (errno.EROFS, CannotWrite, "E_DST_READONLY"),
        (errno.EXDEV, CannotWrite, "E_DST_MOUNT"),
        (errno.ENOSPC, OutageError, "E_DST_FULL"),
        (errno.ESTALE, OutageError, "E_DST_AWAY"),
        (errno.ENOTCONN, OutageError, "E_DST_AWAY"),
        (errno.ELOOP, CannotWrite, "E_DST_MOUNT"),
        (errno.ENAMETOOLONG, PermanentError, "E_DST_LIMIT"),
        (errno.EIO, TransientError, "E_DST_IO"),
    ],
)
def test_an_error_of_the_system_becomes_ours(
    number: int, cls: type[BackhaulError], code: str
) -> None:
    found = translate(OSError(number, os.strerror(number)), "/landing/f")
    assert (type(found), found.code) == (cls, code)
    assert "/landing/f" in found.message


def test_a_link_leads_elsewhere_and_a_directory_does_not(tmp_path: Path) -> None:
    real = tmp_path.resolve() / "real"
    (real / "below").mkdir(parents=True)
    (tmp_path.resolve() / "link").symlink_to(real)
    LocalTarget().check_place(str(real / "below"))
    for path in ("link", "link/below"):
        with pytest.raises(CannotWrite, match="E_DST_MOUNT") as caught:
            LocalTarget().check_place(f"{tmp_path.resolve()}/{path}")
        assert str(real) in caught.value.message
