"""A rename that never replaces, on file systems that lack one way to do it or another."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.local import LocalTarget, renaming
from backhaul.core.errors import CannotWrite, TargetExists


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def refused(*_arguments: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(renaming.os, name, refused)  # type: ignore[attr-defined]


@pytest.fixture(params=["as the kernel does it", "without renameat2"])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalTarget:
    if request.param == "without renameat2":
        monkeypatch.setattr(renaming, "rename_exclusively", lambda *_: False)
    return LocalTarget()


def test_a_file_moves_and_never_replaces(target: LocalTarget, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(TargetExists):
        target.rename(f"{tmp_path}/a", f"{tmp_path}/there", replace=False)
    target.rename(f"{tmp_path}/a", f"{tmp_path}/b", replace=False)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {
        "b": b"new",
        "there": b"old",
    }


def test_a_directory_moves_and_never_replaces(target: LocalTarget, tmp_path: Path) -> None:
    (tmp_path / "a" / "below").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TargetExists):
        target.rename(f"{tmp_path}/a", f"{tmp_path}/empty", replace=False)
    target.rename(f"{tmp_path}/a", f"{tmp_path}/b", replace=False)
    assert (tmp_path / "b" / "below").is_dir()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links_the_kernels_own_rename_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, "link", number)
    (tmp_path / "a").write_bytes(b"new")
    LocalTarget().rename(f"{tmp_path}/a", f"{tmp_path}/b", replace=False)
    assert (tmp_path / "b").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_with_neither_the_error_names_the_option_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, "link", number)
    monkeypatch.setattr(renaming, "rename_exclusively", lambda *_: False)
    (tmp_path / "a").write_bytes(b"new")
    with pytest.raises(CannotWrite, match="E_DST_NO_LINKS") as caught:
        LocalTarget().rename(f"{tmp_path}/a", f"{tmp_path}/b", replace=False)
    assert f"{tmp_path}/b" in caught.value.message
    assert "on_exists" in (caught.value.hint or "")
    LocalTarget().rename(f"{tmp_path}/a", f"{tmp_path}/b", replace=True)
    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_directory_that_may_not_be_written_is_no_lack_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "link", errno.EACCES)
    monkeypatch.setattr(renaming, "rename_exclusively", lambda *_: False)
    (tmp_path / "a").write_bytes(b"new")
    with pytest.raises(CannotWrite, match="E_DST_DENIED"):
        LocalTarget().rename(f"{tmp_path}/a", f"{tmp_path}/b", replace=False)
