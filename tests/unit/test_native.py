"""One object from S3 into staging: sizes, checksums, liars, retries, limits."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.checksums import Checksum
from backhaul.core.errors import (
    BackhaulError,
    DestinationBusy,
    IntegrityError,
    OutageError,
    SourceChanged,
    TargetMissing,
    TransientError,
)
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import StageTask
from backhaul.engines.counter import Counter
from backhaul.engines.gate import Gate
from backhaul.engines.native import Cancelled, Stager
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import (
    FakeClock,
    FakeContent,
    FakeEvent,
    FakeStore,
    FakeTarget,
    Fault,
    Faults,
    ReadFault,
)
from tests.world import eventually

TUNING = Tuning(small_bytes=10, large_bytes=100, range_bytes=32, ranges=4, large_at_once=2, tries=3)
SIZES = {"empty": 0, "small": 10, "medium": 100, "large": 1000}


class Bench:
    """A stager between a fake S3 and a fake file system."""

    def __init__(
        self,
        verify: VerifyLevel = VerifyLevel.STREAM,
        tuning: Tuning = TUNING,
        *,
        content: bool = False,
    ) -> None:
        self.clock = FakeClock()
        self.faults = Faults()
        self.store = FakeStore(self.clock, new_digest, faults=self.faults)
        kept = FakeContent(new_digest=new_digest) if content else None
        self.target = FakeTarget(self.clock, faults=self.faults, content=kept)
        self.target.mkdirs("/s/1")
        self.counter = Counter()
        self.stager = Stager(
            reader=self.store,
            target=self.target,
            new_digest=new_digest,
            tuning=tuning,
            counter=self.counter,
            directory="/s/1",
            verify=verify,
        )
        self.stager.cancelled = FakeEvent(self.clock)

    def stage(self, pin: Pin, relative: str = "f", seq: int = 0) -> StagedObject:
        planned = PlannedObject(seq=seq, pin=pin, relative=relative)
        return self.stager.stage(StageTask(planned=planned, endpoint=self.store.endpoint("raw")))

    def put(self, size: int, algorithm: str | None = "CRC32C", etag: str | None = None) -> Pin:
        return self.store.put("k", content(size), algorithm=algorithm, etag=etag)

    @property
    def staged(self) -> dict[str, bytes]:
        return self.target.files("/s/1")


def content(size: int) -> bytes:
    return bytes(n % 251 for n in range(size))


def crc32c(data: bytes) -> str:
    digest = new_digest("CRC32C")
    digest.update(data)
    return digest.digest().hex()


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def new(
        verify: VerifyLevel = VerifyLevel.STREAM, tuning: Tuning = TUNING, *, content: bool = False
    ) -> Bench:
        made.append(Bench(verify, tuning, content=content))
        return made[-1]

    yield new
    for bench in made:
        bench.stager.close()


Make = Callable[..., Bench]


# ---------------------------------------------------------------- what is proven


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("algorithm", ["CRC32C", "CRC64NVME", "CRC32", "SHA256", "SHA1"])
def test_bytes_arrive_and_match_s3s_checksum(make: Make, size: int, algorithm: str) -> None:
    bench = make()
    pin = bench.put(size, algorithm)
    proof = bench.stage(pin, seq=7)

    assert bench.staged == {"/s/1/f": content(size)}
    assert (proof.seq, proof.size_bytes, proof.proof) == (7, size, Proof.STREAM)
    assert (proof.algorithm, proof.content.hex) == (algorithm, crc32c(content(size)))
    assert proof.checksum is not None
    digest = new_digest(algorithm)
    digest.update(content(size))
    assert base64.b64decode(proof.checksum) == digest.digest()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_etag_serves_where_it_is_an_md5(make: Make, size: int) -> None:
    bench = make()
    proof = bench.stage(bench.put(size, None))

    assert (proof.algorithm, proof.proof) == ("MD5", Proof.STREAM)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(
    ("verify", "proof"),
    [
        (VerifyLevel.STREAM, Proof.RECEIVED),
        (VerifyLevel.STORED, Proof.RECEIVED),
        (VerifyLevel.REREAD, Proof.RECEIVED),
        (VerifyLevel.SIZE, Proof.SIZE),
    ],
)
def test_without_a_checksum_the_target_is_read_back(
    make: Make, size: int, verify: VerifyLevel, proof: Proof
) -> None:
    bench = make(verify)
    found = bench.stage(bench.put(size, None, etag="no-md5-2"))

    assert (found.proof, found.algorithm, found.checksum) == (proof, None, None)
    assert bench.faults.count("target.read") == (verify is not VerifyLevel.SIZE)


@pytest.mark.parametrize("reported", ["checksums", "sizes", "nothing"])
@pytest.mark.parametrize("algorithm", ["CRC32C", "CRC64NVME", "CRC32", "SHA256", "SHA1"])
@pytest.mark.parametrize("size", [50, 100, 990], ids=["medium", "even", "large"])
def test_composite_checksum_is_rebuilt_from_what_s3_tells_of_the_parts(
    make: Make, algorithm: str, reported: str, size: int
) -> None:
    bench = make(VerifyLevel.STORED, content=True)
    pin = bench.store.put_parts("k", content(size), 25, algorithm=algorithm, reported=reported)
    proof = bench.stage(pin)

    if reported == "nothing":
        assert (proof.proof, proof.algorithm, proof.checksum) == (Proof.RECEIVED, None, None)
        return
    is_direct = algorithm == "CRC32C" and reported == "checksums"
    assert proof.proof is (Proof.DIRECT if is_direct else Proof.BRIDGED)
    assert (proof.algorithm, proof.checksum_type) == (algorithm, "COMPOSITE")
    assert proof.checksum is not None
    assert proof.checksum.endswith(f"-{-(-size // 25)}")


@pytest.mark.parametrize("reported", ["checksums", "sizes"])
@pytest.mark.parametrize("algorithm", ["CRC32C", "SHA256"])
def test_composite_checksum_catches_a_flipped_bit(
    make: Make, algorithm: str, reported: str
) -> None:
    bench = make(VerifyLevel.STORED, content=True)
    pin = bench.store.put_parts("k", content(90), 25, algorithm=algorithm, reported=reported)
    bench.store.spoil_read("k", ReadFault.FLIP, times=9)
    with pytest.raises(IntegrityError) as caught:
        bench.stage(pin)
    assert caught.value.code == "E_CHECKSUM"
    assert ", S3's is " in caught.value.message


def test_stored_reads_back_although_the_stream_matched(make: Make) -> None:
    bench = make(VerifyLevel.STORED)

    assert bench.stage(bench.put(50)).proof is Proof.REREAD
    assert bench.faults.count("target.read") == 1


def test_stored_asks_the_target_and_reads_nothing_where_it_keeps_checksums(make: Make) -> None:
    bench = make(VerifyLevel.STORED, content=True)
    direct, bridged = bench.stage(bench.put(50)), None
    bench.target.remove("/s/1/f")
    bridged = bench.stage(bench.put(50, "SHA256"))

    assert (direct.proof, bridged.proof) == (Proof.DIRECT, Proof.BRIDGED)
    assert direct.target_checksum == direct.content == Checksum("CRC32C", crc32c(content(50)))
    assert (direct.checksum_source, bench.faults.count("target.read")) == ("datanode", 0)


def test_file_that_the_target_cannot_tell_about_is_read(make: Make) -> None:
    bench = make(VerifyLevel.STORED, content=True)
    assert bench.target._content is not None
    bench.target._content.silent.add("f")
    proof = bench.stage(bench.put(50))

    assert (proof.proof, proof.checksum_source, proof.note) == (
        Proof.REREAD,
        "read",
        "the fake keeps none of it",
    )


def test_checksum_that_says_no_is_believed_although_the_bytes_read_well(make: Make) -> None:
    """As some do with a bit flipped in the DataNode's meta file."""
    bench = make(VerifyLevel.STORED, content=True)
    assert bench.target._content is not None
    bench.target._content.wrong.add("f")
    with pytest.raises(IntegrityError) as caught:
        bench.stage(bench.put(50))
    assert caught.value.code == "E_STORED"
    assert bench.faults.count("target.read") == 0


def test_file_kept_with_another_crc_compares_with_s3s_own_or_is_read(make: Make) -> None:
    bench = make(VerifyLevel.STORED, content=True)
    assert bench.target._content is not None
    bench.target._content.algorithm = "CRC32"
    assert bench.stage(bench.put(50, "CRC32")).proof is Proof.DIRECT
    bench.target.remove("/s/1/f")
    assert bench.stage(bench.put(50, "SHA256")).proof is Proof.REREAD


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_reread_reads_whatever_the_target_keeps(make: Make, size: int) -> None:
    bench = make(VerifyLevel.REREAD, content=True)
    assert bench.stage(bench.put(size)).proof is Proof.REREAD
    assert (bench.faults.count("target.stored_checksums"), bench.faults.count("target.read")) == (
        0,
        1,
    )


def test_target_that_changes_bytes_is_caught_by_reading_back(make: Make) -> None:
    bench = make(VerifyLevel.STORED)

    def rot(call: str) -> None:
        if call == "target.close":
            bench.target._nodes["/s/1/f"].data[0] ^= 1

    bench.faults.after_effect = rot
    with pytest.raises(IntegrityError) as caught:
        bench.stage(bench.put(50))
    assert caught.value.code == "E_STORED"


def test_target_that_loses_bytes_is_caught_by_length(make: Make) -> None:
    bench = make()

    def cut(call: str) -> None:
        if call == "target.close":
            del bench.target._nodes["/s/1/f"].data[-1:]

    bench.faults.after_effect = cut
    with pytest.raises(IntegrityError) as caught:
        bench.stage(bench.put(50))
    assert caught.value.code == "E_LENGTH"
    assert "source 50 B, staged 49 B" in caught.value.message


def test_file_gone_right_after_its_close_is_missing(make: Make) -> None:
    bench = make()

    def fence(call: str) -> None:
        if call == "target.close":
            bench.target._drop("/s/1")

    bench.faults.after_effect = fence
    with pytest.raises(TargetMissing):
        bench.stage(bench.put(50))


# ---------------------------------------------------------------- liars


@pytest.mark.parametrize("size", [5, 50, 500])
@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (ReadFault.FLIP, "E_CHECKSUM"),
        (ReadFault.TRUNCATE, "E_LENGTH"),
        (ReadFault.BREAK, "E_S3_BODY"),
    ],
)
def test_liar_is_asked_again_and_believed_only_when_right(
    make: Make, size: int, lie: ReadFault, code: str
) -> None:
    bench = make()
    pin = bench.put(size)
    bench.store.spoil_read("k", lie, times=2)
    bench.stage(pin)
    assert bench.staged == {"/s/1/f": content(size)}
    bench.target.remove("/s/1/f")
    bench.store.spoil_read("k", lie, times=100)

    with pytest.raises(BackhaulError) as caught:
        bench.stage(pin)
    assert caught.value.code == code


def test_changed_object_is_not_asked_for_again(make: Make) -> None:
    bench = make()
    pin = bench.put(50)
    bench.put(51)

    with pytest.raises(SourceChanged):
        bench.stage(pin)
    assert bench.faults.count("store.get") == 1


@pytest.mark.parametrize("size", [50, 500])
def test_outage_is_not_waited_for_here(make: Make, size: int) -> None:
    bench = make()
    bench.faults.always("store.get", OutageError.of("s3", "E_S3_UNREACHABLE", "down"))

    with pytest.raises(OutageError):
        bench.stage(bench.put(size))
    # Of a large object so many ranges are under way at once.
    assert bench.faults.count("store.get") <= TUNING.ranges * TUNING.tries


@pytest.mark.parametrize("call", ["target.create", "target.write", "target.close", "target.status"])
def test_fault_of_the_target_is_tried_again_on_a_clean_file(make: Make, call: str) -> None:
    bench = make()
    for fault in (Fault.FAIL, Fault.LOST):
        bench.faults.at(call, 1, fault)
        bench.stage(bench.put(50), fault.name)

    assert set(bench.staged.values()) == {content(50)}


def test_large_object_changed_between_its_ranges_is_never_mixed(make: Make) -> None:
    bench = make()
    pin = bench.put(1000)

    def overwrite(call: str) -> None:
        if call == "target.write" and bench.faults.count("target.write") == 2:
            bench.store.put("k", content(1000)[::-1])

    bench.faults.after_effect = overwrite
    with pytest.raises(SourceChanged):
        bench.stage(pin)


# ---------------------------------------------------------------- directories


def test_directories_are_made_once_and_synced_deepest_first(make: Make) -> None:
    bench = make()
    for name in ("a/b/x", "a/b/y", "a/z"):
        bench.stage(bench.put(5), name)
    assert bench.faults.count("target.mkdir") == 2
    synced: list[str] = []
    bench.target.sync_directory = synced.append  # type: ignore[method-assign,assignment]
    bench.stager.sync_directories()

    assert synced == ["/s/1/a/b", "/s/1/a", "/s/1"]


def test_fenced_staging_is_never_made_again(make: Make) -> None:
    bench = make()
    bench.target.remove("/s/1")

    for relative in ("f", "sub/f"):
        with pytest.raises(TargetMissing):
            bench.stage(bench.put(5), relative)
    assert bench.target.status("/s/1") is None


# ---------------------------------------------------------------- limits


def test_ranges_in_memory_are_bounded_over_all_large_objects(make: Make) -> None:
    bench = make(tuning=replace(TUNING, ranges=3, large_at_once=4))
    pins = [bench.store.put(f"k{n}", content(2000)) for n in range(6)]

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda pin: bench.stage(pin, pin.key), pins))
    assert bench.staged == {f"/s/1/k{n}": content(2000) for n in range(6)}
    assert bench.store.most_open_bytes <= 3 * TUNING.range_bytes


def test_open_files_are_bounded(make: Make) -> None:
    bench = make(tuning=replace(TUNING, open_files=2))
    pins = [bench.store.put(f"k{n}", content(50)) for n in range(30)]
    inside = threading.Semaphore(2)

    def check(call: str) -> None:
        if call == "target.create":
            assert inside.acquire(blocking=False), "more than two between create and the last write"
        elif call == "target.write":
            inside.release()

    bench.faults.after_effect = check
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda pin: bench.stage(pin, pin.key), pins))
    assert len(bench.staged) == 30


def test_a_large_object_that_closes_keeps_no_other_waiting(make: Make) -> None:
    bench = make(tuning=replace(TUNING, large_at_once=1))
    pins = [bench.store.put(f"k{n}", content(2000)) for n in range(2)]
    closing = threading.Barrier(2)

    def meet(call: str) -> None:
        if call == "target.close":
            closing.wait(10)

    bench.faults.after_effect = meet
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda pin: bench.stage(pin, pin.key), pins))
    assert bench.staged == {f"/s/1/k{n}": content(2000) for n in range(2)}


def overloaded(gate: Gate) -> None:
    with pytest.raises(TransientError), gate.entered():
        raise TransientError("E_HDFS_OVERLOADED", "could only be written to 0 of the 1")


def test_gate_halves_when_hdfs_is_overloaded_and_grows_back() -> None:
    gate = Gate(8)
    overloaded(gate)
    assert gate.limit == 4
    for _ in range(50):
        with gate.entered():
            pass
    assert gate.limit == 8


def test_gate_never_closes() -> None:
    gate = Gate(4)
    for _ in range(10):
        overloaded(gate)

    with gate.entered():
        assert gate.limit == 1


def test_other_failures_leave_the_gate_as_it_is() -> None:
    gate = Gate(4)
    with pytest.raises(TransientError), gate.entered():
        raise TransientError("E_S3_BODY", "broke")

    assert gate.limit == 4
    assert gate._inside == 0


def test_gate_that_grows_lets_more_of_those_in_who_wait() -> None:
    gate = Gate(8)
    for _ in range(3):
        overloaded(gate)
    hold, go_on = gate.entered(), threading.Event()
    hold.__enter__()
    entered = threading.Semaphore(0)

    def wait() -> None:
        with gate.entered():
            entered.release()
            go_on.wait(10)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(gate._changed._waiters) == 4)  # type: ignore[attr-defined]
    hold.__exit__(None, None, None)  # the limit is 2 now, and nobody is inside

    assert entered.acquire(timeout=5)
    assert entered.acquire(timeout=5)
    assert not entered.acquire(timeout=0.05)
    go_on.set()
    for thread in threads:
        thread.join()


# ---------------------------------------------------------------- cancelling


def test_cancelled_stager_takes_nothing_up(make: Make) -> None:
    bench = make()
    pin = bench.put(50)
    bench.stager.cancelled.set()

    with pytest.raises(Cancelled):
        bench.stage(pin)
    assert bench.faults.count("store.get") == 0


@pytest.mark.parametrize("size", [100, 1000])
def test_cancel_stops_an_object_under_way(make: Make, size: int) -> None:
    bench = make()

    def cancel(call: str) -> None:
        if call in {"target.create", "target.write"}:
            bench.stager.cancelled.set()

    bench.faults.after_effect = cancel
    with pytest.raises(Cancelled):
        bench.stage(bench.put(size))
    assert bench.staged["/s/1/f"] != content(size)


# ---------------------------------------------------------------- two ledgers, one staging


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_file_of_another_agent_in_staging_is_left_and_come_back_to(make: Make, size: int) -> None:
    """Both ledgers counted to the same epoch: who comes second tries again under a higher one."""
    bench = make()
    pin = bench.put(size)
    bench.target.put("/s/1/f", b"theirs")

    with pytest.raises(DestinationBusy) as caught:
        bench.stage(pin)
    assert caught.value.code == "E_DST_SHARED"
    assert "/s/1/f" in caught.value.message
    assert bench.staged == {"/s/1/f": b"theirs"}
