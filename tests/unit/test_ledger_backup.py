"""`backhaul ledger backup`: one moment of the ledger, complete and sound, or nothing at all."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.adapters.ledger.upkeep import copying
from backhaul.adapters.ledger.upkeep.copying import copy_ledger
from backhaul.cli import cli, main
from backhaul.core.errors import BackhaulError, CannotWrite, LedgerLocked
from tests.contract.test_ledger import T0
from tests.ledgers import bring

TRANSFERS = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "ledger.db"
    with closing(open_ledger(path, create=True)) as ledger:
        for number in range(TRANSFERS):
            bring(ledger, f"t{number}", T0)
    return path


def ids(path: Path) -> list[str]:
    with closing(open_reader(path)) as reader:
        return sorted(one.id for one in reader.history(100_000))


def left(directory: Path) -> set[str]:
    return {one.name for one in directory.iterdir()} - {"state"}


def refusal(path: Path, file: Path, code: str, **how: bool) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        copy_ledger(path, file, **how)
    assert caught.value.code == code
    return caught.value


def test_the_copy_is_the_ledger_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)

    copy = copy_ledger(path, tmp_path / "copy.db")

    assert (copy.transfers, copy.objects) == (TRANSFERS, 3 * TRANSFERS)
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o600
    assert copy.size_bytes == copy.path.stat().st_size == path.stat().st_size
    assert ids(copy.path) == ids(path)
    assert left(tmp_path) == {"copy.db"}
    with closing(open_ledger(copy.path, create=False)) as restored:
        bring(restored, "later", T0)


def test_beside_a_writer_each_copy_is_of_one_moment(path: Path, tmp_path: Path) -> None:
    """A transfer and its objects are brought in one transaction each: none is ever half there."""
    is_over = threading.Event()

    def write() -> None:
        with closing(open_ledger(path, create=False)) as ledger:
            number = 0
            while not is_over.is_set():
                bring(ledger, f"w{number:05}", T0)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = []
        for number in range(3):
            copy = copy_ledger(path, tmp_path / f"{number}.db")
            sizes.append(copy.transfers)
            with closing(sqlite3.connect(copy.path)) as connection:
                unplanned = connection.execute(
                    "SELECT count(*) FROM transfers t WHERE objects_planned <>"
                    " (SELECT count(*) FROM objects o WHERE o.transfer_id = t.id)"
                ).fetchone()
                assert unplanned == (0,)
    finally:
        is_over.set()
        writer.join()
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_writer_waits_while_the_file_is_read(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BYTES_AT_ONCE", 4096)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as writer:
        refused = []

        def commit(*_: int) -> None:
            try:
                writer.execute("DELETE FROM nonces")
            except sqlite3.OperationalError as error:
                refused.append(error.sqlite_errorcode)

        monkeypatch.setattr(copying, "_progress", commit)
        copy_ledger(path, tmp_path / "copy.db")
    assert len(refused) == path.stat().st_size / 4096
    assert set(refused) == {sqlite3.SQLITE_BUSY}


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.ENOSYS])
def test_where_the_kernel_cannot_copy_the_process_does(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(copying, "BYTES_AT_ONCE", 10_000)
    copy = copy_ledger(path, tmp_path / "copy.db")
    assert copy.path.read_bytes() == path.read_bytes()


def test_an_earlier_file_stays_unless_it_is_to_be_replaced(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    file.write_text("of yesterday")

    error = refusal(path, file, "E_BACKUP_EXISTS")

    assert "--overwrite" in error.hint
    assert file.read_text() == "of yesterday"
    copy_ledger(path, file, replaces=True)
    assert ids(file) == ids(path)
    assert left(tmp_path) == {"copy.db"}


def test_a_file_that_comes_meanwhile_stays(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "copy.db"
    monkeypatch.setattr(copying, "_progress", lambda *_: file.write_text("of another"))
    refusal(path, file, "E_BACKUP_EXISTS")
    assert file.read_text() == "of another"
    assert left(tmp_path) == {"copy.db"}


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-journal", "ledger.db.lock", "link"])
def test_the_ledger_is_never_replaced_by_its_copy(path: Path, name: str) -> None:
    (path.parent / "link").symlink_to(path)
    before = path.read_bytes()
    refusal(path, path.parent / name, "E_BACKUP_EXISTS", replaces=True)
    assert path.read_bytes() == before


def test_a_directory_and_a_missing_one_are_refused(path: Path, tmp_path: Path) -> None:
    error = refusal(path, tmp_path / "state", "E_BACKUP_WRITE")
    assert error.hint.endswith("state/ledger.db")
    error = refusal(path, tmp_path / "none" / "copy.db", "E_BACKUP_WRITE")
    assert error.hint == f"mkdir -p {tmp_path / 'none'}"
    error = refusal(path, tmp_path / ("x" * 300), "E_BACKUP_WRITE")
    assert "File name too long" in error.message


def test_without_room_nothing_is_begun(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SimpleNamespace(f_bavail=3, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    error = refusal(path, tmp_path / "copy.db", "E_BACKUP_WRITE")
    assert "12.0 KiB are free" in error.message
    assert left(tmp_path) == set()


def _full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_leaves_nothing_and_the_earlier_copy(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "copy.db"
    copy_ledger(path, file)
    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", _full)
    error = refusal(path, file, "E_BACKUP_WRITE", replaces=True)
    assert isinstance(error, CannotWrite)
    assert "No space left" in error.message
    assert file.read_bytes() == before
    assert left(tmp_path) == {"copy.db"}


def test_a_damaged_ledger_does_not_replace_a_sound_copy(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    copy_ledger(path, file)
    before = file.read_bytes()
    with path.open("r+b") as ledger:
        ledger.seek(path.stat().st_size - 3 * 4096)
        ledger.write(b"\xff" * 2 * 4096)
    error = refusal(path, file, "E_BACKUP_DAMAGED", replaces=True)
    assert "ledger check" in error.hint
    assert file.read_bytes() == before
    assert left(tmp_path) == {"copy.db"}


def test_what_a_killed_backup_left_is_used_again_and_one_at_work_is_not_disturbed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "copy.db"
    (tmp_path / ".copy.db.partial").write_bytes(b"half" * 100_000)
    errors: list[BackhaulError] = []

    def second(*_: int) -> None:
        monkeypatch.setattr(copying, "_progress", lambda *_: None)
        errors.append(refusal(path, file, "E_BACKUP_BUSY"))

    monkeypatch.setattr(copying, "_progress", second)
    copy_ledger(path, file)
    assert [type(one) for one in errors] == [LedgerLocked]
    assert ids(file) == ids(path)
    assert left(tmp_path) == {"copy.db"}


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_the_command_leaves_a_line_in_the_journal_also_where_it_fails(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "copy.db"
    arguments = ("ledger", "backup", str(file), "--ledger", str(path))

    code, out, _ = run(*arguments, capsys=capsys)
    assert code == 0
    assert out.startswith(f"{file}: ")
    assert "3 transfers, 9 objects; checked" in out
    code, out, err = run(*arguments, capsys=capsys)
    assert (code, out) == (73, "")
    assert "E_BACKUP_EXISTS" in err
    code, out, _ = run(*arguments, "--overwrite", "--json", capsys=capsys)
    assert json.loads(out)["transfers"] == TRANSFERS

    shown = CliRunner().invoke(
        cli, ["journal", "--action", "backup", "--json", "--ledger", str(path)]
    )
    lines = [json.loads(line) for line in shown.output.splitlines()]
    assert [one["subject"] for one in lines] == [str(file)] * 3
    assert [one["outcome"].partition(":")[0] for one in lines] == [
        "done",
        "E_BACKUP_EXISTS",
        "done",
    ]
    assert lines[0]["transfers"] == TRANSFERS
