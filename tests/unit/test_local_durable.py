"""A mounted target: on the disk before it counts, and read back from there."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from pathlib import Path

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.local import LocalTarget
from backhaul.adapters.local import target as local_target
from backhaul.engines.counter import Counter
from backhaul.engines.operations import TargetOperations
from backhaul.testing.fakes import FakeClock, FakeStore

MIB = 1 << 20


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Path and size of what was fsynced, in order; the calls are really made."""
    found: list[tuple[str, int]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        real(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        found.append((str(path), 0 if path.is_dir() else path.stat().st_size))

    monkeypatch.setattr(local_target.os, "fsync", fsync)  # type: ignore[attr-defined]
    return found


def operations(target: LocalTarget) -> TargetOperations:
    return TargetOperations(
        target, new_digest, Counter(), lambda: FakeStore(FakeClock(), new_digest)
    )


def write(target: LocalTarget, path: Path, data: bytes) -> None:
    writer = target.create(str(path), len(data))
    writer.write(data)
    writer.close()


def test_a_closed_file_is_on_the_disk_with_all_of_its_bytes(
    tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    write(LocalTarget(), tmp_path / "f", b"x" * 1000)
    assert synced == [(str(tmp_path / "f"), 1000)]


def test_a_published_name_is_on_the_disk(tmp_path: Path, synced: list[tuple[str, int]]) -> None:
    target = LocalTarget()
    staged = tmp_path / ".backhaul" / "1"
    staged.mkdir(parents=True)
    write(target, staged / "f", b"x")
    synced.clear()
    assert operations(target).publish_tree(str(staged), str(tmp_path / "out"))
    assert (tmp_path / "out" / "f").exists()
    assert (str(tmp_path), 0) in synced

    write(target, tmp_path / "g", b"x")
    synced.clear()
    pair = (str(tmp_path / "g"), str(tmp_path / "out" / "g"))
    operations(target).publish_files([pair], replace=False)
    assert (str(tmp_path / "out"), 0) in synced


def resident(path: Path) -> float:
    """The part of a file that the kernel has in memory, 0 to 1."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = len(mapped) // mmap.PAGESIZE
        pages_in_memory = (ctypes.c_ubyte * pages)()
        begin = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(
            ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(len(mapped)), pages_in_memory
        )
        del begin
        assert failed == 0, os.strerror(ctypes.get_errno())
        return sum(one & 1 for one in pages_in_memory) / pages


def test_a_file_is_read_back_from_the_disk_and_not_from_memory(tmp_path: Path) -> None:
    target = LocalTarget()
    data = random.Random(68).randbytes(64 * MIB)
    write(target, tmp_path / "f", data)
    with (tmp_path / "f").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(tmp_path / "f") > 0.5:
        pytest.skip("this file system is memory")
    (tmp_path / "f").read_bytes()
    assert resident(tmp_path / "f") > 0.9, "as a file is that was just written"

    chunks = target.read(str(tmp_path / "f"))
    first = next(chunks)
    assert resident(tmp_path / "f") < 0.5
    assert first + b"".join(chunks) == data
