"""The metrics as a file: replaced as a whole, readable for others, and clear where it cannot be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backhaul.adapters.metrics.textfile import TextFile
from backhaul.core.errors import ConfigurationError, ExitCode


def refused(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as error:
        TextFile(path, lambda: b"a 1\n").write()
    assert error.value.code == "E_METRICS_TEXTFILE"
    assert error.value.exit_code == ExitCode.CONFIGURATION
    assert str(path.parent) in error.value.message
    return error.value


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_each_write_replaces_it_and_others_may_read(tmp_path: Path, umask: int) -> None:
    texts = [b"a 1\n", b"a 2\n"]
    file = TextFile(tmp_path / "backhaul.prom", lambda: texts.pop(0))
    before = os.umask(umask)
    try:
        file.write()
        first = os.stat(file.path)  # noqa: PTH116 - the inode of that moment
        file.write()
    finally:
        os.umask(before)
    assert file.path.read_bytes() == b"a 2\n"
    assert file.path.stat().st_ino != first.st_ino
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_draft_that_a_killed_agent_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".backhaul.prom.new").write_bytes(b"half of i")
    TextFile(tmp_path / "backhaul.prom", lambda: b"a 1\n").write()
    assert [path.name for path in tmp_path.iterdir()] == ["backhaul.prom"]


def test_a_link_that_waits_for_the_draft_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".backhaul.prom.new").symlink_to(victim)
    TextFile(tmp_path / "backhaul.prom", lambda: b"a 1\n").write()
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "backhaul.prom").read_bytes() == b"a 1\n"


def test_the_collector_reads_no_draft(tmp_path: Path) -> None:
    seen: list[str] = []
    real = os.fchmod

    def look(handle: int, mode: int) -> None:
        seen.extend(path.name for path in tmp_path.iterdir() if path.suffix == ".prom")
        real(handle, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fchmod", look)
        TextFile(tmp_path / "backhaul.prom", lambda: b"a 1\n").write()
    assert seen == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    error = refused(tmp_path / "missing" / "backhaul.prom")
    assert "there is no directory" in error.message
    assert "make it" in error.hint


def test_a_file_where_its_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "there is no directory" in refused(tmp_path / "file" / "backhaul.prom").message


def test_a_directory_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "backhaul.prom"
    path.mkdir()
    assert "name a file" in refused(path).hint
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:  # root may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    error = refused(tmp_path / "backhaul.prom")
    assert "cannot be written by user" in error.message
    assert "ReadWritePaths=" in error.hint


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "backhaul.prom"
    TextFile(path, lambda: b"a 1\n").write()
    monkeypatch.setattr(os, "fchmod", full)
    assert "No space left" in refused(path).message
    assert path.read_bytes() == b"a 1\n"
    assert list(tmp_path.iterdir()) == [path]
