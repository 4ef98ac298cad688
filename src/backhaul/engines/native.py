"""The native engine: one object from S3 into staging, proven. Runs inside a worker process.

Small objects: one GET, whole in memory, many at once; the time goes into the file system's close.
Medium ones: one GET, streamed. Large ones: read ahead, in parallel (`large`), written in order.
Digests are computed over the bytes as received. S3's checksum is compared with them, and with what
the target holds, in `checksum_comparison`. How often a read is tried is in `read_retries`; when a
worker that hangs is killed, in `hung_workers`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backhaul.core.checksums import (
    Digest,
    S3Checksum,
    S3Checksums,
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
from backhaul.engines.checksum_comparison import Closed, Prover, agrees_with_s3, check_received
from backhaul.engines.counter import Counter
from backhaul.engines.gate import Gate
from backhaul.engines.large import LargeReader
from backhaul.engines.object_egress import ObjectEgress
from backhaul.engines.read_retries import (
    LONGEST_SLEEP_S,
    ReadFailed,
    RetryingReader,
)
from backhaul.engines.stream_digests import StreamDigests, comparable
from backhaul.engines.tuning import MIB, Shared, Tuning


class Cancelled(Exception):
    """Another object failed, or the agent cancelled the staging call."""


@dataclass(kw_only=True)
class _Copy:
    """One object on its way into staging.

    Attributes:
        tried: How often it was copied before.
        egress: From S3 for it, over all tries.
    """

    task: StageTask
    path: str
    egress: ObjectEgress
    tried: int = 0

    @property
    def pin(self) -> Pin:
        return self.task.planned.pin


class Stager:
    """Stages objects below one directory, from many threads.

    Args:
        new_digest: Algorithm name (`core.checksums.PREFERENCE`) to an empty digest.
        shared: With the other staging calls of this process; default: nothing.

    Attributes:
        cancelled: Set: the call is given up.
        more: See `ObjectEgress`; None: all may be read.
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
        self._reader = RetryingReader(
            reader,
            shared.s3_gate,
            self._sleep,
            tries=tuning.tries,
            progress_bytes=tuning.range_bytes,
        )
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
        )
        self._prover = Prover(target=target, new_digest=new_digest, counter=counter, verify=verify)
        self._made: set[str] = {directory}
        self._making = threading.Lock()
        self.cancelled = threading.Event()
        self.more: Callable[[int], None] | None = None

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

    def copy(self, task: StageTask) -> Closed:
        """Copy one object; faults of its file, and bytes that are not S3's, are tried again.

        Raises:
            Cancelled: The whole call was given up.
            BackhaulError: What the attempt fails with.
        """
        path = f"{self._directory}/{task.planned.relative}"
        egress = ObjectEgress(task.planned.pin.size_bytes, self._counter, self.more)
        return self._copy(_Copy(task=task, path=path, egress=egress))

    def _copy(self, one: _Copy) -> Closed:
        while True:
            if self.cancelled.is_set():
                raise Cancelled
            try:
                if one.task.is_there and one.tried == 0 and (closed := self._written(one)):
                    return closed
                self._make_parents(one.task.planned.relative)
                return self._copy_once(one)
            except TargetExists as error:
                # No other try of this attempt made it, and removing it would destroy another's.
                raise staging_conflict(one.path) from error
            except (PermanentError, SourceChanged, OutageError, TargetMissing, ReadFailed):
                raise
            except (TransientError, IntegrityError) as error:
                self._clear_for_next(one.path, one.tried, error)
                one.tried += 1

    def prove(self, closed: Sequence[Closed]) -> list[StagedObject | BackhaulError]:
        """The proof of each closed file, or why there is none; see `checksum_comparison`."""
        return self._prover.prove(closed)

    def again(self, closed: Closed, error: BackhaulError) -> Closed:
        """Copy once more what was not proven.

        Raises:
            BackhaulError: `error`, when another try cannot help or none is left.
        """
        if not isinstance(error, (TransientError, IntegrityError)) or isinstance(
            error, TargetMissing
        ):
            raise error
        self._clear_for_next(closed.path, closed.tried, error)
        egress = ObjectEgress(
            closed.task.planned.pin.size_bytes,
            self._counter,
            self.more,
            bytes_read=closed.bytes_read,
            was_read=closed.was_there,
        )
        return self._copy(
            _Copy(task=closed.task, path=closed.path, egress=egress, tried=closed.tried + 1)
        )

    def _clear_for_next(self, path: str, tried: int, error: BackhaulError) -> None:
        overloaded = error.code == "E_HDFS_OVERLOADED"
        tries = self._tuning.overloaded_tries if overloaded else self._tuning.tries
        if tried + 1 == tries:
            raise error
        self._target.remove(path)
        if overloaded:
            # No fault of the object: others go first, through a gate that is narrower now.
            self._sleep(min(LONGEST_SLEEP_S, 0.5 * 2**tried))
        else:
            self.cancelled.wait(0.1 * 2**tried)

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

    # ------------------------------------------------------------ one copy

    def _copy_once(self, one: _Copy) -> Closed:
        size = one.pin.size_bytes
        if size > self._tuning.large_bytes:
            writer, digests, facts = self._write_large(one)
        elif size <= self._tuning.small_bytes:
            writer, digests, facts = self._write_small(one)
        else:
            writer, digests, facts = self._write_medium(one)
        # Closing waits for the NameNode; it needs no place at a gate, and the next one moves.
        writer.close()
        return self._closed(one, digests, facts)

    def _write_small(self, one: _Copy) -> _Written:
        size = one.pin.size_bytes
        # Before the request: S3 cuts a connection that is idle half-way.
        self._allow_whole(size)
        with self._reader.get(one.task.endpoint, one.pin, account=one.egress) as body:
            facts = body.facts
            data = body.readall()
        digests = self._digests(one, facts)
        digests.update(data)
        self._check_length(one.pin, len(data))
        with self._small_gate.entered():
            writer = self._target.create(one.path, size)
            if data:
                writer.write(data)
        self._counter.add(len(data))
        return writer, digests, facts

    def _write_medium(self, one: _Copy) -> _Written:
        size = one.pin.size_bytes
        # The file's place first, for the same reason.
        with (
            self._gate.entered(),
            self._reader.get(one.task.endpoint, one.pin, account=one.egress) as body,
        ):
            facts = body.facts
            digests = self._digests(one, facts)
            writer = self._target.create(one.path, size)
            received = 0
            while data := body.read(self._allowed(max(1, min(MIB, size - received)))):
                received += len(data)
                self._take(writer, digests, data)
        self._check_length(one.pin, received)
        return writer, digests, facts

    def _write_large(self, one: _Copy) -> _Written:
        with self._large:
            self._refuse_if_cancelled()
            facts = self._reader.head(one.task.endpoint, one.pin)
            digests = self._digests(one, facts)
            received = 0
            with self._gate.entered():
                writer = self._target.create(one.path, one.pin.size_bytes)
                for data in self._large_reader.pieces(one.task.endpoint, one.pin, one.egress):
                    received += len(data)
                    self._take(writer, digests, data)
            self._check_length(one.pin, received)
        return writer, digests, facts

    def _take(self, writer: TargetWriter, digests: StreamDigests, data: bytes) -> None:
        self._refuse_if_cancelled()
        digests.update(data)
        writer.write(data)
        self._counter.add(len(data))

    def _digests(self, one: _Copy, facts: S3Checksums) -> StreamDigests:
        expected = comparable(self._reader, one.task, facts, self._new_digest)
        return StreamDigests(expected, self._new_digest)

    @staticmethod
    def _check_length(pin: Pin, received: int) -> None:
        if received != pin.size_bytes:
            raise IntegrityError(
                "E_LENGTH",
                f"s3://{pin.bucket}/{pin.key}: source {pin.size_bytes} B, received {received} B",
            )

    def _closed(self, one: _Copy, digests: StreamDigests, facts: S3Checksums) -> Closed:
        """A closed file whose bytes, as received, have S3's checksum."""
        check_received(one.pin, digests)
        return Closed(
            task=one.task,
            path=one.path,
            received=digests.crc32c,
            expected=digests.expected,
            version_id=facts.version_id,
            bytes_read=one.egress.bytes_read,
            tried=one.tried,
        )

    # ------------------------------------------------------------ written by another engine

    def _written(self, one: _Copy) -> Closed | None:
        """A file that another engine wrote, ready for its proof; None, and no file, to copy it.

        Where S3 keeps a checksum that HDFS may keep, no byte is read: `prove` compares the two.
        Else the file is read here and compared with S3's. Where S3 has none that compares there is
        no proof without the pinned bytes.
        """
        status = self._target.status(one.path)
        if status is not None and status.is_file and status.size_bytes == one.pin.size_bytes:
            facts = self._reader.head(one.task.endpoint, one.pin)
            digests = self._digests(one, facts)
            is_compared = self._verify in {VerifyLevel.STORED, VerifyLevel.REREAD}
            is_kept = is_compared and _may_be_kept(digests.expected)
            if is_kept or self._is_s3s(one.path, digests):
                self._target.correct_mode(one.path)
                has_crc = not is_kept or one.pin.size_bytes == 0  # the CRC of no bytes is known
                return Closed(
                    task=one.task,
                    path=one.path,
                    received=digests.crc32c if has_crc else None,
                    expected=digests.expected,
                    version_id=facts.version_id,
                    bytes_read=0,
                    tried=0,
                    was_there=True,
                )
        if status is not None:
            one.egress.repeat_all()
            self._target.remove(one.path)
        return None

    def _is_s3s(self, path: str, digests: StreamDigests) -> bool:
        """Read the file; whether it holds S3's bytes, or nothing but its length is to be proven."""
        if digests.expected is None and self._verify is not VerifyLevel.SIZE:
            return False
        for data in self._target.read(path):
            self._refuse_if_cancelled()
            digests.update(data)
            self._counter.add_read_back(len(data))
        return agrees_with_s3(digests)

    # ------------------------------------------------------------ waiting

    def _allowed(self, wanted_bytes: int) -> int:
        """How much of it may be read now; waits while the rate limit lets nothing through."""
        return self._allowance.take(wanted_bytes, self._while_waiting)

    def _allow_whole(self, size_bytes: int) -> None:
        while size_bytes > 0:
            size_bytes -= self._allowed(size_bytes)

    def _while_waiting(self) -> None:
        self._refuse_if_cancelled()
        self._counter.add(0)  # not stuck: it waits for bytes of the rate limit

    def _sleep(self, seconds: float) -> None:
        self._counter.add(0)
        self.cancelled.wait(seconds)
        self._refuse_if_cancelled()

    def _refuse_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


_Written = tuple[TargetWriter, StreamDigests, S3Checksums]


def staging_conflict(path: str) -> DestinationBusy:
    """The path exists under this very epoch, from another process: two ledgers count epochs."""
    return DestinationBusy(
        "E_DST_SHARED",
        f"{path} is in staging already, and this attempt did not put it there",
        hint="where two agents with separate ledgers work, give the destination to one of them",
    )


def _may_be_kept(expected: S3Checksum | None) -> bool:
    """Whether HDFS may keep the same checksum: of the whole object, not of its parts."""
    is_known = expected is not None and expected.algorithm in {"CRC32C", "CRC32"}
    return is_known and expected is not None and not expected.part_sizes
