"""Whatever changes bytes between S3 and the target's disk is caught, a hundred times of a hundred.

Real HDFS holds the files; S3 is the fake, which lies on order. Each kind says at which rung it has
to be caught. That nothing of it is published is the acceptance tests' part.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.datanode_checksums import DataNodeChecker
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import BackhaulError, IntegrityError, SourceChanged
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import Body, Endpoint, StageTask, TargetWriter
from backhaul.engines.checksum_comparison import Closed
from backhaul.engines.counter import Counter
from backhaul.engines.native import Stager
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import FakeClock, FakeStore, ReadFault
from backhaul.testing.servers import Hdfs

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
TIMES = 100
CHANCE = random.Random(66)
SIZE = 3000  # several chunks of 512 B, the last one short
# One try: what is wrong has to be seen at once, not repaired by copying again.
TUNING = Tuning(
    threads=50,
    small_bytes=2000,
    large_bytes=10_000,
    range_bytes=1000,
    ranges=64,
    large_at_once=32,
    tries=1,
)
ALGORITHMS = ("CRC32C", "CRC64NVME", "CRC32", "SHA256", "SHA1")


class Target(HdfsTarget):
    """Real HDFS, whose writers may flip a bit on the way: a faulty memory or network card."""

    flips = False

    def create(self, path: str, size_bytes: int) -> TargetWriter:  # type: ignore[override]
        writer = super().create(path, size_bytes)
        return _Flipping(writer) if self.flips else writer


@dataclass
class _Flipping:
    writer: TargetWriter
    is_flipped: bool = False

    def write(self, data: bytes) -> None:
        if not self.is_flipped:
            self.is_flipped = True
            data = flipped(data)
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()


class Swapping:
    """Gives each object another one's bytes, under its own headers."""

    def __init__(self, store: FakeStore, others: dict[str, Pin]) -> None:
        self._store = store
        self._others = others

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        body = self._store.get(endpoint, self._others[pin.key], byte_range=byte_range)
        body.facts = self._store.get(endpoint, pin, byte_range=byte_range).facts
        return body

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        return self._store.head(endpoint, pin)

    def check_reachable(self, endpoint: Endpoint) -> None:
        """It always answers."""

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        return self._store.parts(endpoint, pin)


def flipped(data: bytes) -> bytes:
    """One bit of it differs."""
    changed = bytearray(data)
    changed[CHANCE.randrange(len(changed))] ^= 1 << CHANCE.randrange(8)
    return bytes(changed)


class Bench:
    """A hundred objects, and a stager onto a directory of their own in real HDFS."""

    def __init__(self, hdfs: Hdfs, verify: VerifyLevel, *, sizes: Sequence[int] = (SIZE,)) -> None:
        self.hdfs = hdfs
        self.clock = FakeClock()
        self.store = FakeStore(self.clock, new_digest)
        self.target = Target(hdfs.uri, str(hdfs.conf_dir))
        self.content = DataNodeChecker(namenodes(HadoopConfiguration(), hdfs.uri))
        self.target.attach(self.content)
        self.directory = f"/corrupt-{uuid.uuid4().hex[:12]}"
        self.target.mkdirs(self.directory)
        self.pins = [
            self.store.put(
                f"k{number}",
                CHANCE.randbytes(sizes[number % len(sizes)]),
                algorithm=ALGORITHMS[number % len(ALGORITHMS)],
            )
            for number in range(TIMES)
        ]
        self.verify = verify
        self.stager = self._stager(self.store)

    def _stager(self, reader: FakeStore | Swapping) -> Stager:
        return Stager(
            reader=reader,
            target=self.target,
            new_digest=new_digest,
            tuning=TUNING,
            counter=Counter(),
            directory=self.directory,
            verify=self.verify,
        )

    def read_from(self, reader: Swapping) -> None:
        self.stager.close()
        self.stager = self._stager(reader)

    def close(self) -> None:
        self.stager.close()
        self.content.close()

    def task(self, number: int) -> StageTask:
        planned = PlannedObject(seq=number, pin=self.pins[number], relative=f"f{number}")
        return StageTask(planned=planned, endpoint=self.store.endpoint("raw"))

    def _each(self, work: Callable[[int], object]) -> list[object]:
        def caught(number: int) -> object:
            try:
                return work(number)
            except BackhaulError as error:
                return error

        with ThreadPoolExecutor(TUNING.threads) as threads:
            return list(threads.map(caught, range(TIMES)))

    def stage(self) -> list[object]:
        """What becomes of each object: its proof, or its error."""
        return self._each(lambda number: self.stager.stage(self.task(number)))

    def copy(self) -> list[Closed]:
        """Each object copied, its file closed, nothing of it proven yet."""
        closed = self._each(lambda number: self.stager.copy(self.task(number)))
        return [one for one in closed if isinstance(one, Closed)]

    def on_disk(self, suffix: str) -> list[Path]:
        """Files of the DataNode that belong to this bench's blocks, by their size and newness."""
        found = []
        for closed in self.closed_blocks():
            (path,) = (self.hdfs.directory / "data").rglob(f"{closed}{suffix}")
            found.append(path)
        return found

    def closed_blocks(self) -> Iterator[str]:
        report = self.hdfs.command("fsck", self.directory, "-files", "-blocks", "-locations").stdout
        for line in report.splitlines():
            if "blk_" in line:
                yield "blk_" + line.split("blk_", 1)[1].split("_", 1)[0]


Make = Callable[..., Bench]


@pytest.fixture
def make(hdfs: Hdfs) -> Iterator[Make]:
    made: list[Bench] = []

    def new(verify: VerifyLevel = VerifyLevel.STORED, sizes: Sequence[int] = (SIZE,)) -> Bench:
        made.append(Bench(hdfs, verify, sizes=sizes))
        return made[-1]

    yield new
    for bench in made:
        bench.close()


def codes(results: Sequence[object]) -> set[str]:
    """Error codes; a proof where an error should be fails."""
    assert len(results) == TIMES
    assert not [one for one in results if not isinstance(one, BackhaulError)]
    return {one.code for one in results if isinstance(one, BackhaulError)}


# ---------------------------------------------------------------- nothing is wrong


def test_honest_bytes_are_proven_directly_or_bridged(make: Make) -> None:
    """The neighbour of all below: without a fault each is proven, by the DataNode's word."""
    bench = make(sizes=(1000, SIZE, 25_000))
    closed = bench.copy()
    proven = bench.stager.prove(closed)

    assert len(proven) == TIMES
    for one in proven:
        assert isinstance(one, StagedObject)
        assert one.proof is (Proof.DIRECT if one.algorithm == "CRC32C" else Proof.BRIDGED)
        assert one.checksum_source == "datanode"
        assert one.content.algorithm == "CRC32C"
        assert one.target_checksum == one.content
        assert one.bytes_read == one.size_bytes


# ---------------------------------------------------------------- between S3 and here


@pytest.mark.parametrize("size", [1000, SIZE, 25_000], ids=["small", "medium", "large"])
def test_bit_flipped_on_the_wire_is_caught_against_s3(make: Make, size: int) -> None:
    bench = make(sizes=(size,))
    for pin in bench.pins:
        bench.store.spoil_read(pin.key, ReadFault.FLIP)
    assert codes(bench.stage()) == {"E_CHECKSUM"}


def test_truncated_body_is_caught_by_its_length(make: Make) -> None:
    bench = make()
    for pin in bench.pins:
        bench.store.spoil_read(pin.key, ReadFault.TRUNCATE)
    assert codes(bench.stage()) == {"E_LENGTH"}


def test_two_objects_of_equal_size_swapped_by_s3_are_caught_against_s3(make: Make) -> None:
    bench = make()
    pairs = zip(bench.pins, bench.pins[1:] + bench.pins[:1], strict=True)
    bench.read_from(Swapping(bench.store, {one.key: other for one, other in pairs}))
    assert codes(bench.stage()) == {"E_CHECKSUM"}


@pytest.mark.parametrize("size", [SIZE, 25_000], ids=["medium", "large"])
def test_object_changed_between_plan_and_read_is_a_changed_source(make: Make, size: int) -> None:
    bench = make(sizes=(size,))
    for pin in bench.pins:
        bench.store.put(pin.key, CHANCE.randbytes(pin.size_bytes))
    results = bench.stage()
    assert all(isinstance(one, SourceChanged) for one in results)


# ---------------------------------------------------------------- between here and the disk


@pytest.mark.parametrize("size", [1000, SIZE, 25_000], ids=["small", "medium", "large"])
def test_bit_flipped_in_the_stream_is_caught_by_the_datanodes_crc(make: Make, size: int) -> None:
    bench = make(sizes=(size,))
    bench.target.flips = True
    assert codes(bench.stage()) == {"E_STORED"}


def test_staged_files_of_equal_size_swapped_are_caught(make: Make) -> None:
    bench = make()
    closed = bench.copy()
    for one, other in zip(closed[::2], closed[1::2], strict=True):
        bench.target.rename(one.path, f"{one.path}.x", replace=False)
        bench.target.rename(other.path, one.path, replace=False)
        bench.target.rename(f"{one.path}.x", other.path, replace=False)
    assert codes(bench.stager.prove(closed)) == {"E_STORED"}


def test_staged_file_truncated_is_caught_by_its_length(make: Make) -> None:
    bench = make()
    closed = bench.copy()

    def shorten(one: Closed) -> None:
        data = b"".join(bench.target.read(one.path))
        bench.target.remove(one.path)
        writer = bench.target.create(one.path, len(data) - 1)
        writer.write(data[:-1])
        writer.close()

    with ThreadPoolExecutor(TUNING.threads) as threads:
        list(threads.map(shorten, closed))
    assert codes(bench.stager.prove(closed)) == {"E_LENGTH"}


def test_flipped_bit_in_a_datanodes_meta_file_is_caught(make: Make) -> None:
    """The CRCs beside the block: the direct way reads them, and so does every reader."""
    bench = make()
    closed = bench.copy()
    for path in bench.on_disk("_*.meta"):
        data = path.read_bytes()
        path.write_bytes(data[:7] + flipped(data[7:]))  # behind the header
    results = bench.stager.prove(closed)
    assert codes(results) == {"E_STORED"}
    assert all(isinstance(one, IntegrityError) for one in results)


def test_flipped_bit_in_a_datanodes_block_file_is_caught_by_reading(make: Make) -> None:
    """The CRCs of the DataNode are of what was written, and still right: only a reader sees it."""
    bench = make(VerifyLevel.REREAD)
    closed = bench.copy()
    for path in bench.on_disk(""):
        path.write_bytes(flipped(path.read_bytes()))
    codes(bench.stager.prove(closed))
