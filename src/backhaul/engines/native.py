"""The native engine: one object from S3 into staging, proven. Runs inside a worker process.

Small objects: one GET, whole in memory, many at once; what costs there is the file system's close.
Medium ones: one GET, streamed. Large ones: read ahead, in parallel (`large`), written in order.
Digests are computed over the bytes as received, so what S3 vouches for is compared with what was
written. Which process does this, and when it is killed, is `pool`'s and `serve`'s affair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from backhaul.core.checksums import (
    Checksum,
    Digest,
    S3Checksum,
    S3Checksums,
    composite_in,
    matches,
    of_parts,
)
from backhaul.core.errors import (
    BackhaulError,
    DestinationBusy,
    IntegrityError,
    OutageError,
    PermanentError,
    SourceChanged,
    TargetExists,
    TargetMissing,
    TransientError,
)
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import Pin, StagedObject
from backhaul.core.ports import (
    SourceReader,
    StageTask,
    TargetFs,
    TargetWriter,
)
from backhaul.core.rate_limit import Allowance, Unlimited
from backhaul.engines.adaptive_limit import Gate
from backhaul.engines.large import LargeReader, LargeTuning
from backhaul.engines.paced import LONGEST_NAP_S, THROTTLED, PacedReader
from backhaul.engines.proving import Closed, Counter, Prover

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How much one worker does at once.

    Attributes:
        threads: Objects under way; for HDFS mostly waiting in close (about 0.5 s each).
        open_files: Files between create and close-called; adapts downwards when HDFS refuses.
        open_small_files: The same for files up to `small_bytes`: those are open for a moment only,
            and with fewer the gate, not HDFS, is what they wait for.
        small_bytes: Up to here an object is read whole before its file is created.
        large_bytes: From here it is read by parallel ranges.
        stream_bytes: From here the rest of such an object may be read as one answer instead.
        range_bytes: Size of one range.
        ranges: Ranges in memory over all large objects of this worker: the memory bound.
        large_at_once: Large objects moving; one that closes is no longer counted.
        tries: Times one object is tried within an attempt, for faults of its own requests.
        patience: The same where HDFS has too many files open: about half a minute.
    """

    threads: int = 256
    open_files: int = 24
    open_small_files: int = 64
    small_bytes: int = 256 * 1024
    large_bytes: int = 16 * MIB
    stream_bytes: int = 32 * MIB
    range_bytes: int = 8 * MIB
    ranges: int = 12
    large_at_once: int = 3
    tries: int = 4
    patience: int = 10

    @property
    def of_large(self) -> LargeTuning:
        """The part of it that says how large objects are read."""
        return LargeTuning(
            range_bytes=self.range_bytes,
            ranges=self.ranges,
            piece_bytes=min(MIB, self.range_bytes),
            stream_bytes=self.stream_bytes,
            tries=self.tries,
        )


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What outlives one staging call of a process.

    Attributes:
        allowance: Asked before bytes are read from S3.
        s3_gate: What S3 bears at once is learned once.
    """

    allowance: Allowance
    s3_gate: Gate

    @classmethod
    def of(cls, tuning: Tuning, allowance: Allowance | None = None) -> Self:
        """No limit by default; as many at once as a worker would ever ask, until S3 says less."""
        return cls(
            allowance=allowance or Unlimited(),
            s3_gate=Gate(tuning.threads + tuning.ranges, refusal=THROTTLED),
        )


class Cancelled(Exception):
    """Another object failed, or the agent asked to stop."""


@dataclass(kw_only=True)
class Tally:
    """Bytes that one object's requests brought so far."""

    size_bytes: int = 0


class PartsDigest:
    """The checksum of the parts' checksums over a stream, as S3 makes COMPOSITE ones."""

    def __init__(
        self, new_digest: Callable[[str], Digest], algorithm: str, sizes: Sequence[int]
    ) -> None:
        self.algorithm = algorithm
        self._new_digest = new_digest
        self._over = new_digest(algorithm)
        self._part = new_digest(algorithm)
        self._sizes = iter(sizes)
        self._left = next(self._sizes, 0)

    def update(self, data: bytes) -> None:
        while len(data) >= self._left > 0:
            self._part.update(data[: self._left])
            data = data[self._left :]
            self._over.update(self._part.digest())
            self._part = self._new_digest(self.algorithm)
            self._left = next(self._sizes, 0)
        if data:
            self._part.update(data)
            self._left -= len(data)

    def digest(self) -> bytes:
        return self._over.digest()

    def append(self, checksum: bytes, size_bytes: int) -> bool:
        del checksum, size_bytes
        return False


@dataclass(kw_only=True)
class _Sums:
    """Digests over one pass of the bytes: CRC32C always, S3's algorithm where it is another."""

    crc: Digest
    other: Digest | None

    def update(self, data: bytes) -> None:
        self.crc.update(data)
        if self.other is not None:
            self.other.update(data)

    @property
    def crc32c(self) -> Checksum:
        return Checksum("CRC32C", self.crc.digest().hex())

    @property
    def comparable(self) -> bytes:
        """In S3's algorithm."""
        return (self.other or self.crc).digest()


class Stager:
    """Stages objects below one directory, from many threads.

    Args:
        new_digest: Algorithm name (`core.verification.PREFERENCE`) to an empty digest.
        shared: With the other stagings of this process; default: nothing.
    """

    def __init__(
        self,
        *,
        reader: SourceReader,
        target: TargetFs,
        new_digest: Callable[[str], Digest],
        tuning: Tuning,
        counter: Counter,
        directory: str,
        verify: VerifyLevel,
        shared: Shared | None = None,
    ) -> None:
        shared = shared or Shared.of(tuning)
        self._allowance = shared.allowance
        self._reader = PacedReader(reader, shared.s3_gate, self._nap)
        self._target = target
        self._new_digest = new_digest
        self._tuning = tuning
        self._counter = counter
        self._directory = directory
        self._verify = verify
        self._gate = Gate(tuning.open_files)
        self._small_gate = Gate(tuning.open_small_files)
        self._large = threading.BoundedSemaphore(tuning.large_at_once)
        self._large_reader = LargeReader(
            reader=self._reader,
            tuning=tuning.of_large,
            allowed=self._allowed,
            heartbeat=lambda: counter.add(0),
            refuse_if_cancelled=self._refuse_if_cancelled,
            is_cancelled=self._is_cancelled,
        )
        self._prover = Prover(target=target, new_digest=new_digest, counter=counter, verify=verify)
        self._made: set[str] = {directory}
        self._making = threading.Lock()
        self.cancelled = threading.Event()

    def close(self) -> None:
        """Wait for range reads that are still under way."""
        self._large_reader.close()
        self._prover.close()

    @property
    def is_batched(self) -> bool:
        """Whether proving many closed files together costs less than one by one."""
        return self._prover.is_batched

    def sync_directories(self) -> None:
        """Make every name in staging durable, deepest first."""
        for path in sorted(self._made, key=len, reverse=True):
            self._target.sync_directory(path)
            self._counter.add(0)

    def stage(self, task: StageTask) -> StagedObject:
        """Copy one object and prove it; what is wrong with it alone is tried again.

        Raises:
            Cancelled: The whole call was given up.
            BackhaulError: What the attempt fails with.
        """
        closed = self.copy(task)
        while True:
            (proven,) = self.prove([closed])
            if isinstance(proven, StagedObject):
                return proven
            closed = self.again(closed, proven)

    def copy(self, task: StageTask, *, turn: int = 0, bytes_read: int = 0) -> Closed:
        """Copy one object; faults of its own requests are tried again.

        Args:
            turn: How often it was tried before.
            bytes_read: What those tries read.

        Raises:
            Cancelled: The whole call was given up.
            BackhaulError: What the attempt fails with.
        """
        path = f"{self._directory}/{task.planned.relative}"
        while True:
            if self.cancelled.is_set():
                raise Cancelled
            tally = Tally(size_bytes=bytes_read)
            try:
                if task.is_there and turn == 0 and (closed := self._there(task, path)):
                    return closed
                self._make_parents(task.planned.relative)
                return self._copy(task, path, turn, tally)
            except TargetExists as error:
                # No other try of ours made it, and removing it would spoil theirs.
                raise shared(path) from error
            except (PermanentError, SourceChanged, OutageError, TargetMissing):
                raise
            except (TransientError, IntegrityError) as error:
                bytes_read = tally.size_bytes
                self._clear_for_next(path, turn, error)
                turn += 1

    def prove(self, closed: Sequence[Closed]) -> list[StagedObject | BackhaulError]:
        """What is proven of each closed file, or why it is not; see `proving`."""
        return self._prover.prove(closed)

    def again(self, closed: Closed, error: BackhaulError) -> Closed:
        """Copy once more what was not proven.

        Raises:
            BackhaulError: `error`, when another try cannot help or the tries are used up.
        """
        if not isinstance(error, (TransientError, IntegrityError)) or isinstance(
            error, TargetMissing
        ):
            raise error
        self._clear_for_next(closed.path, closed.turn, error)
        return self.copy(closed.task, turn=closed.turn + 1, bytes_read=closed.bytes_read)

    def _clear_for_next(self, path: str, turn: int, error: BackhaulError) -> None:
        overloaded = error.code == "E_HDFS_OVERLOADED"
        if turn + 1 == (self._tuning.patience if overloaded else self._tuning.tries):
            raise error
        self._target.remove(path)
        if overloaded:
            # No fault of the object: others go first, through a gate that is narrower now.
            self._nap(min(LONGEST_NAP_S, 0.5 * 2**turn))
        else:
            self.cancelled.wait(0.1 * 2**turn)

    def _make_parents(self, relative: str) -> None:
        """Directories below staging, one level at a time: never staging itself (S6)."""
        parts = relative.split("/")[:-1]
        path = self._directory
        for part in parts:
            path = f"{path}/{part}"
            if path in self._made:
                continue
            with self._making:
                if path not in self._made:
                    self._target.mkdir(path)
                    self._made.add(path)

    def _copy(self, task: StageTask, path: str, turn: int, tally: Tally) -> Closed:
        size = task.planned.pin.size_bytes
        if size > self._tuning.large_bytes:
            return self._copy_large(task, path, turn, tally)
        if size <= self._tuning.small_bytes:
            # Before the request: a connection that waits for its turn half-way is cut by S3.
            self._allow_whole(size)
            with self._reader.get(task.endpoint, task.planned.pin) as body:
                facts = body.facts
                data = body.readall()
            tally.size_bytes += len(data)
            expected = self._comparable(task, facts)
            sums = self._sums(expected)
            sums.update(data)
            self._check_length(task.planned.pin, len(data))
            with self._small_gate.entered():
                writer = self._target.create(path, size)
                if data:
                    writer.write(data)
            self._counter.add(len(data))
        else:
            # The file's place first, for the same reason.
            with (
                self._gate.entered(),
                self._reader.get(task.endpoint, task.planned.pin) as body,
            ):
                facts = body.facts
                expected = self._comparable(task, facts)
                sums = self._sums(expected)
                writer = self._target.create(path, size)
                received = 0
                while data := body.read(self._allowed(max(1, min(MIB, size - received)))):
                    received += len(data)
                    tally.size_bytes += len(data)
                    self._take(writer, sums, data)
            self._check_length(task.planned.pin, received)
        # Closing waits for the NameNode; it needs no place at the gate.
        writer.close()
        return self._closed(task, path, turn, tally, expected, sums, facts)

    def _copy_large(self, task: StageTask, path: str, turn: int, tally: Tally) -> Closed:
        pin = task.planned.pin
        with self._large:
            self._refuse_if_cancelled()
            facts = self._reader.head(task.endpoint, pin)
            expected = self._comparable(task, facts)
            sums = self._sums(expected)
            received = 0
            with self._gate.entered():
                writer = self._target.create(path, pin.size_bytes)
                for data in self._large_reader.pieces(task.endpoint, pin):
                    received += len(data)
                    tally.size_bytes += len(data)
                    self._take(writer, sums, data)
            self._check_length(pin, received)
        # Meanwhile the next large object moves.
        writer.close()
        return self._closed(task, path, turn, tally, expected, sums, facts)

    def _take(self, writer: TargetWriter, sums: _Sums, data: bytes) -> None:
        self._refuse_if_cancelled()
        sums.update(data)
        writer.write(data)
        self._counter.add(len(data))

    def _allowed(self, wanted_bytes: int) -> int:
        """How much of it may be read now; waits while the limit lets nothing through."""
        return self._allowance.take(wanted_bytes, self._while_waiting)

    def _allow_whole(self, size_bytes: int) -> None:
        while size_bytes > 0:
            size_bytes -= self._allowed(size_bytes)

    def _while_waiting(self) -> None:
        self._refuse_if_cancelled()
        self._counter.add(0)  # not stuck: it waits for its turn

    def _nap(self, seconds: float) -> None:
        self._counter.add(0)
        self.cancelled.wait(seconds)
        self._refuse_if_cancelled()

    def _is_cancelled(self) -> bool:
        return self.cancelled.is_set()

    def _refuse_if_cancelled(self) -> None:
        if self._is_cancelled():
            raise Cancelled

    # ------------------------------------------------------------ proof

    def _there(self, task: StageTask, path: str) -> Closed | None:
        """A file that another engine wrote, ready for its proof; None, and no file, to copy it.

        Where S3 keeps a sum that HDFS may keep, no byte is read: `prove` compares the two. Else
        the file is read here for S3's own sum. Where S3 has none that compares there is no proof
        without the pinned bytes.
        """
        pin = task.planned.pin
        status = self._target.status(path)
        if status is not None and status.is_file and status.size_bytes == pin.size_bytes:
            facts = self._reader.head(task.endpoint, pin)
            expected = self._comparable(task, facts)
            is_compared = self._verify in {VerifyLevel.STORED, VerifyLevel.REREAD}
            is_kept = is_compared and _may_be_kept(expected)
            nothing = Checksum("CRC32C", "00000000") if pin.size_bytes == 0 else None
            received = nothing if is_kept else self._crc32c_there(path, expected)
            if is_kept or received is not None:
                self._target.correct_mode(path)
                return Closed(
                    task=task,
                    path=path,
                    received=received,
                    expected=expected,
                    version_id=facts.version_id,
                    bytes_read=0,
                    turn=0,
                    was_there=True,
                )
        if status is not None:
            self._target.remove(path)
        return None

    def _crc32c_there(self, path: str, expected: S3Checksum | None) -> Checksum | None:
        """The file's CRC32C, by reading it; None when its bytes are not S3's."""
        if expected is None and self._verify is not VerifyLevel.SIZE:
            return None
        sums = self._sums(expected)
        for data in self._target.read(path):
            self._refuse_if_cancelled()
            sums.update(data)
            self._counter.add(len(data))
        if expected is not None and not matches(expected, sums.comparable):
            return None
        return sums.crc32c

    def _comparable(self, task: StageTask, facts: S3Checksums) -> S3Checksum | None:
        """S3's checksum that compares with the bytes; of the parts where there is no better one."""
        pin = task.planned.pin
        best = facts.best(pin.size_bytes)
        composite = composite_in(facts.checksums) if best is None else None
        if composite is None:
            return best
        parts = self._reader.parts(task.endpoint, pin)
        return of_parts(composite, parts, pin.size_bytes, self._new_digest) if parts else None

    def _sums(self, expected: S3Checksum | None) -> _Sums:
        algorithm = expected.algorithm if expected else "CRC32C"
        other = self._new_digest(algorithm) if algorithm != "CRC32C" else None
        if expected is not None and expected.part_sizes:
            other = PartsDigest(self._new_digest, algorithm, expected.part_sizes)
        return _Sums(crc=self._new_digest("CRC32C"), other=other)

    @staticmethod
    def _check_length(pin: Pin, received: int) -> None:
        if received != pin.size_bytes:
            raise IntegrityError(
                "E_LENGTH",
                f"s3://{pin.bucket}/{pin.key}: source {pin.size_bytes} B, received {received} B",
            )

    def _closed(
        self,
        task: StageTask,
        path: str,
        turn: int,
        tally: Tally,
        expected: S3Checksum | None,
        sums: _Sums,
        facts: S3Checksums,
    ) -> Closed:
        """The first half of every proof: what was received is what S3 vouches for."""
        pin = task.planned.pin
        if expected is not None and not matches(expected, sums.comparable):
            raise IntegrityError(
                "E_CHECKSUM",
                f"s3://{pin.bucket}/{pin.key}: {expected.algorithm} of the bytes received is "
                f"{sums.comparable.hex()}, S3 says {expected.value}",
                hint="a faulty network, proxy or disk changes bytes; nothing was published",
            )
        return Closed(
            task=task,
            path=path,
            received=sums.crc32c,
            expected=expected,
            version_id=facts.version_id,
            bytes_read=tally.size_bytes,
            turn=turn,
        )


def shared(path: str) -> DestinationBusy:
    """Something of this very epoch stands there, and not by us: two ledgers count epochs here."""
    return DestinationBusy(
        "E_DST_SHARED",
        f"{path} is in staging already, and this attempt did not put it there",
        hint="where two agents with separate ledgers work, give the destination to one of them",
    )


def _may_be_kept(expected: S3Checksum | None) -> bool:
    """A sum that HDFS may keep, too: of the whole object, not of its parts."""
    is_known = expected is not None and expected.algorithm in {"CRC32C", "CRC32"}
    return is_known and expected is not None and not expected.part_sizes
