"""The byte-rate governor: one bucket and one limit for all processes that share a ledger.

Three small files beside the ledger. `LEDGER.limit` holds what `backhaul limit` set, replaced as a
whole; every process looks at it twice a second at most, and only while it reads. `LEDGER.rate`
holds one number, the moment until which everything granted is paid for, under a lock of the
kernel's: a process that is killed gives the lock back and has taken a tenth of a second with it at
most. `LEDGER.reserved` holds what YARN applications were given, by tag. What is granted to whom is
`core.bandwidth`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backhaul.access import distrust, distrust_of, link_of_others, refusal
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.rate_limit import (
    HIGHEST_BYTES_PER_S,
    LEASE_S,
    LOWEST_BYTES_PER_S,
    ByHand,
    InForce,
    Reservation,
    Schedule,
    for_application,
    for_this_node,
    grant,
    in_force,
    reserved,
)

LOOK_EVERY_S = 0.5
LONGEST_NAP_S = 0.1
MAX_RESERVED = 1000  # entries that are kept, over ones among them
_MOMENT = struct.Struct("=d")
# Of a file that is damaged or was edited by hand.
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class GovernorSpec:
    """What a process needs to read under the same limit as the others; pickles.

    Attributes:
        ledger: The file beside which the governor keeps its two.
    """

    ledger: str
    schedule: Schedule

    def open(self) -> Governor:
        """For this process."""
        return Governor(self)


class LimitFile:
    """What was set by hand; `LEDGER.limit`."""

    def __init__(self, ledger: Path) -> None:
        self._named = ledger
        self._ledger = _real(ledger)
        self.path = self._ledger.with_name(f"{self._ledger.name}.limit")

    def read(self) -> ByHand | None:
        """None when nothing is set.

        Raises:
            ConfigurationError: E_LIMIT_FILE: it cannot be read. E_CFG_PERMISSIONS: others may
                write it.
        """
        try:
            self._refuse_untrusted()
            found = json.loads(_read_trusted(self.path, self._ledger))
            rate, until = found["bytes_per_s"], found["until"]
            return ByHand(
                bytes_per_s=None if rate is None else _limit(rate),
                until=None if until is None else datetime.fromisoformat(until).astimezone(UTC),
            )
        except FileNotFoundError:
            return None
        except PermissionError as exc:
            raise self._denied("read") from exc
        except (OSError, *_DAMAGED) as exc:
            raise ConfigurationError(
                "E_LIMIT_FILE",
                f"{self.path}: {type(exc).__name__}: {exc}",
                hint="set the limit again: backhaul limit RATE, or backhaul limit default",
            ) from exc

    def write(self, by_hand: ByHand | None) -> None:
        """Replace it; None: the configuration decides again.

        Raises:
            ConfigurationError: E_LIMIT_FILE: not writable. E_CFG_PERMISSIONS: what is there was
                put there by somebody else.
        """
        try:
            self._refuse_untrusted()
            if by_hand is None:
                self.path.unlink(missing_ok=True)
                return
            until = by_hand.until.isoformat() if by_hand.until else None
            content = json.dumps({"bytes_per_s": by_hand.bytes_per_s, "until": until})
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace_for_owner(self.path, content + "\n")
        except OSError as exc:
            if exc.errno in {errno.EACCES, errno.EROFS}:
                raise self._denied("written") from exc
            raise ConfigurationError(
                "E_LIMIT_FILE",
                f"{self.path}: {type(exc).__name__}: {exc.strerror}",
                hint="the limit is kept beside the ledger: check that disk",
            ) from exc

    def _refuse_untrusted(self) -> None:
        owners = _owners(self._ledger)
        _refuse(link_of_others(self._named, owners) or distrust(self.path, owners))

    def _denied(self, verb: str) -> ConfigurationError:
        message, hint = refusal(self.path, verb)
        return ConfigurationError("E_LIMIT_FILE", message, hint=hint)


class Reservations:
    """What YARN applications may take of the limit, by tag; `LEDGER.reserved`.

    A damaged file counts as none, and a damaged entry is passed over: what runs is entered again
    when it is looked at, and what ran before cannot be told from what is over.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = _real(ledger)
        self.path = self._ledger.with_name(f"{self._ledger.name}.reserved")
        self._stamp: object = None
        self._found: dict[str, Reservation] = {}

    def total(self) -> int:
        """Of all that may run now, bytes per second."""
        return reserved(self._look().values(), time.time())

    def put(self, tag: str, rate: Callable[[int], int]) -> None:
        """Enter one.

        Args:
            rate: Given what all others may take, what this one may.
        """
        now_s = time.time()
        with self._alone() as found:
            others = {name: one for name, one in found.items() if name != tag}
            mine = rate(reserved(others.values(), now_s))
            found |= {tag: Reservation(bytes_per_s=mine, until_s=now_s + LEASE_S)}

    def renew(self, tag: str) -> None:
        """Let it count on; nothing where it is not entered, or was renewed lately."""
        now_s = time.time()
        mine = self._look().get(tag)
        if mine is not None and mine.until_s < now_s + LEASE_S / 2:
            with self._alone() as found:
                found |= {tag: replace(mine, until_s=now_s + LEASE_S)}

    def drop(self, tag: str) -> None:
        """It counts no more; should it be seen to run all the same, it counts again."""
        mine = self._look().get(tag)
        if mine is not None and mine.until_s > 0:
            with self._alone() as found:
                found |= {tag: replace(mine, until_s=0)}

    def _look(self) -> dict[str, Reservation]:
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            # In this order: another thread that looks meanwhile reads it itself.
            self._found, self._stamp = self._read(), stamp
        return self._found

    def _read(self) -> dict[str, Reservation]:
        found: dict[str, Reservation] = {}
        with contextlib.suppress(OSError, ConfigurationError, *_DAMAGED):
            for tag, entry in json.loads(_read_trusted(self.path, self._ledger)).items():
                with contextlib.suppress(*_DAMAGED):
                    found[tag] = _reservation(*entry)
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[dict[str, Reservation]]:
        """Change what is entered while no other process does."""
        lock_path = self.path.with_name(f"{self.path.name}.lock")
        try:
            flags = os.O_RDWR | os.O_CREAT
            with _opened(lock_path, flags, self._ledger) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                found = self._read()
                yield found
                newest = sorted(found.items(), key=lambda item: item[1].until_s)[-MAX_RESERVED:]
                told = {tag: [one.bytes_per_s, one.until_s] for tag, one in newest}
                fresh = self.path.with_name(f"{self.path.name}.new")
                _write_new(fresh, json.dumps(told))
                fresh.replace(self.path)
        except OSError as exc:
            raise _unusable(self.path, exc) from exc


class Governor:
    """Implements `core.rate_limit`'s ports; one in each process, for all threads."""

    def __init__(self, spec: GovernorSpec) -> None:
        ledger = _real(Path(spec.ledger))
        self._schedule = spec.schedule
        self._file = LimitFile(ledger)
        self._reservations = Reservations(ledger)
        self._bucket = _Bucket(ledger)
        self._by_hand: ByHand | None = None
        self._stamp: object = ()
        self._limit: int | None = None
        self._looked_s = float("-inf")
        self._turn = threading.Lock()

    def limit(self) -> InForce:
        """What is in force now, looked at afresh."""
        with contextlib.suppress(ConfigurationError):
            # Damaged: `backhaul limit` says so; here what was read before goes on.
            self._by_hand = self._look()
        return in_force(self._schedule, self._by_hand, datetime.now(UTC).astimezone())

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """See the port. One thread at a time waits for the bucket, the others for their turn."""
        if self._current() is None:
            return wanted_bytes
        while not self._turn.acquire(timeout=LONGEST_NAP_S):
            waiting()
        try:
            while (limit := self._current()) is not None:
                size, wait_s = self._bucket.ask(wanted_bytes, limit)
                if size:
                    return size
                waiting()
                time.sleep(min(wait_s, LONGEST_NAP_S))
        finally:
            self._turn.release()
        return wanted_bytes

    def reserve(self, tag: str, rate: Callable[[int | None], int]) -> None:
        """See the port."""
        limit = self.limit().bytes_per_s

        def share(others: int) -> int:
            return rate(None if limit is None else for_application(limit, others))

        self._reservations.put(tag, share)

    def keep(self, tag: str) -> None:
        """See the port."""
        self._reservations.renew(tag)

    def free(self, tag: str) -> None:
        """See the port."""
        self._reservations.drop(tag)

    def _current(self) -> int | None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            limit = self.limit().bytes_per_s
            if limit is not None:
                limit = for_this_node(limit, self._reservations.total())
            # In this order: another thread that asks meanwhile looks for itself.
            self._limit, self._looked_s = limit, now_s
        return self._limit

    def _look(self) -> ByHand | None:
        stamp = _stamp(self._file.path)
        if stamp == self._stamp:
            return self._by_hand
        found = self._file.read()
        self._stamp = stamp
        return found


def _real(ledger: Path) -> Path:
    """One set of files for a ledger, whatever link names it."""
    return Path(os.path.realpath(ledger))


def _limit(rate: object) -> int:
    """A limit as `backhaul limit` sets it."""
    found = int(rate)  # type: ignore[call-overload]  # what is none raises, and is reported
    if not LOWEST_BYTES_PER_S <= found <= HIGHEST_BYTES_PER_S:
        raise ValueError(f"bytes_per_s must be {LOWEST_BYTES_PER_S:,} or more, and below 2^63")
    return int(found)


def _reservation(rate: float, until_s: float) -> Reservation:
    found = Reservation(bytes_per_s=int(rate), until_s=float(until_s))
    if not 0 <= found.bytes_per_s <= HIGHEST_BYTES_PER_S or not math.isfinite(found.until_s):
        raise ValueError("no rate, or no moment")
    return found


def _owners(ledger: Path) -> set[int]:
    """Who may own the files beside it; before there is a ledger, also who owns its directory."""
    owners = {0, os.geteuid()}
    with contextlib.suppress(OSError):
        owners.add((ledger if ledger.exists() else ledger.parent).stat().st_uid)
    return owners


def _refuse(refused: tuple[str, str] | None) -> None:
    if refused is not None:
        message, hint = refused
        raise ConfigurationError("E_CFG_PERMISSIONS", message, hint=hint)


def _open_trusted(path: Path, flags: int, ledger: Path) -> int:
    """Open a file beside the ledger that only its owner, the ledger's or root may change.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        _refuse(distrust_of(os.fstat(descriptor), path, _owners(ledger)))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _opened(path: Path, flags: int, ledger: Path) -> Iterator[int]:
    descriptor = _open_trusted(path, flags, ledger)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_trusted(path: Path, ledger: Path) -> str:
    with open(_open_trusted(path, os.O_RDONLY, ledger), encoding="utf-8") as file:
        return file.read()


def _replace_for_owner(path: Path, content: str) -> None:
    """Replace a file as a whole, readable by the directory's owner also when root does it.

    Root does this in a directory of the agent's user, who may put links there and swap the
    directory itself: the new file has a name that nobody knows ahead, it is made where nothing is,
    and its directory, whose owner gets it, is opened once.
    """
    fresh = f"{path.name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = os.open(fresh, flags, 0o600, dir_fd=directory)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write(content)
                file.flush()
                if os.geteuid() == 0:
                    owner = os.fstat(directory)
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                os.fchmod(descriptor, 0o640)  # whatever root's umask
                os.fsync(descriptor)
            os.replace(fresh, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=directory)
            raise
    finally:
        os.close(directory)


def _write_new(path: Path, content: str) -> None:
    """Written and synced under a name that nobody else may have made."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # Readable for whoever may enter the directory, as the umask says; writable for nobody else.
    with open(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _stamp(path: Path) -> object:
    """Another one once the file is another."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _unusable(path: Path, error: OSError) -> OutageError:
    return OutageError.of(
        "ledger",
        "E_RATE_FILE",
        f"{path}: {type(error).__name__}: {error.strerror}",
        hint="the limit is counted beside the ledger; check that disk and its permissions",
    )


class _Bucket:
    """The shared moment, `CLOCK_MONOTONIC` of this machine, in a file of eight bytes."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._path = ledger.with_name(f"{ledger.name}.rate")
        self._fd = -1

    def ask(self, wanted_bytes: int, bytes_per_s: int) -> tuple[int, float]:
        """Bytes granted, and seconds until it is worth asking again.

        Raises:
            OutageError: `ledger` E_RATE_FILE.
            ConfigurationError: E_CFG_PERMISSIONS.
        """
        try:
            if self._fd < 0:
                flags = os.O_RDWR | os.O_CREAT
                self._fd = _open_trusted(self._path, flags, self._ledger)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0, 0.001  # another process is asking right now
            try:
                found = os.pread(self._fd, _MOMENT.size, 0)
                paid_until_s = _MOMENT.unpack(found)[0] if len(found) == _MOMENT.size else 0.0
                given = grant(
                    paid_until_s=paid_until_s,
                    now_s=time.monotonic(),
                    wanted_bytes=wanted_bytes,
                    bytes_per_s=bytes_per_s,
                )
                if given.size_bytes:
                    os.pwrite(self._fd, _MOMENT.pack(given.paid_until_s), 0)
                return given.size_bytes, given.wait_s
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as exc:
            raise _unusable(self._path, exc) from exc
