"""For link attacks: a route's directory, what is outside it, and a thread that swaps."""

from __future__ import annotations

import contextlib
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backhaul.adapters.digests import new_digest
from backhaul.adapters.local import LocalTarget
from backhaul.core.errors import BackhaulError
from backhaul.engines.counter import Counter
from backhaul.engines.operations import TargetOperations
from backhaul.testing.fakes import FakeClock, FakeStore

SECRET = b"a stranger's data"
HASH = "0123abcd"  # the name of one destination's root in `.backhaul`; anybody can compute it
STRANGER = 65534


def is_refused(work: Callable[[], object]) -> bool:
    """Whether a call ends with one of Backhaul's errors; any other error escapes."""
    try:
        work()
    except BackhaulError:
        return True
    return False


def names(directory: Path) -> list[str]:
    """What is in it."""
    return sorted(path.name for path in directory.iterdir())


def descriptors() -> int:
    """How many this process has open."""
    return len(names(Path("/proc/self/fd")))


def snapshot(directory: Path) -> dict[str, object]:
    """It and everything below: kind, mode, owner, content, time of change."""
    found: dict[str, object] = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        one = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(one.st_mode) else b""
        found[str(path)] = (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns, content)
    return found


@dataclass(frozen=True, kw_only=True)
class Ground:
    """`route` is where Backhaul may write; `outside` is not, and looks like staging of its own."""

    base: Path
    target: LocalTarget

    @property
    def route(self) -> Path:
        return self.base / "route"

    @property
    def outside(self) -> Path:
        return self.base / "outside"

    @property
    def staging(self) -> Path:
        """The directory of epoch 3."""
        return self.root / "3"

    @property
    def root(self) -> Path:
        return self.route / ".backhaul" / HASH

    @property
    def operations(self) -> TargetOperations:
        """A worker's, in the calling thread alone."""
        reader = FakeStore(FakeClock(), new_digest)
        return TargetOperations(self.target, new_digest, Counter(), lambda: reader, parallel=1)

    def lay_out(self) -> None:
        self.route.mkdir()
        self.outside.mkdir()
        for below in (self.outside, self.outside / HASH):
            for name in ("1", "2", "sub"):
                (below / name).mkdir(parents=True)
                (below / name / "f").write_bytes(SECRET)
        (self.outside / "f").write_bytes(SECRET)
        (self.outside / "empty").mkdir()

    def stage(self, relative: str = "f", data: bytes = b"new") -> Path:
        """A file in staging, as a transfer leaves it there."""
        self.target.mkdirs(str(self.staging))
        path = self.staging / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(path, data)
        return path

    def write(self, path: Path, data: bytes = b"new") -> None:
        writer = self.target.create(str(path), len(data))
        writer.write(data)
        writer.close()

    def snapshot(self) -> dict[str, object]:
        return snapshot(self.outside)


@contextmanager
def swapping(directory: Path, goal: Path, *, every_s: float = 0) -> Iterator[None]:
    """Meanwhile a thread replaces a directory by a link to `goal` and back, all the time."""
    away = directory.with_name(f"{directory.name}.away")
    fresh = directory.with_name(f"{directory.name}.link")
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.wait(every_s):
            # What Backhaul makes or removes meanwhile gets in the way of a turn now and then.
            with contextlib.suppress(OSError):
                fresh.symlink_to(goal)
            with contextlib.suppress(OSError):
                directory.rename(away)
            with contextlib.suppress(OSError):
                fresh.rename(directory)
            is_over.wait(every_s)
            if directory.is_symlink():
                with contextlib.suppress(OSError):
                    directory.unlink()
            with contextlib.suppress(OSError):
                away.rename(directory)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        for left in (fresh, directory):
            if left.is_symlink():
                left.unlink()
        if away.is_dir() and not directory.exists():
            away.rename(directory)
