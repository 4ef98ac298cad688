"""Erasure coding, encryption zones and replicas that are down: what is written, and what is proven.

On real HDFS with five DataNodes and a key server; both sources of checksums.
"""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from awscrt import checksums

from backhaul.adapters.digests import new_digest
from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.closing import closer
from backhaul.adapters.hadoop.hdfs.command_checksums import CommandChecker
from backhaul.adapters.hadoop.hdfs.datanode_checksums import DataNodeChecker
from backhaul.adapters.hadoop.hdfs.file_status import files_with_blocks
from backhaul.adapters.hadoop.hdfs.shell import FsShell
from backhaul.adapters.hadoop.hdfs.stored_checksums import ChecksumFallback
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import HdfsFileStatusProto
from backhaul.adapters.hadoop.rpc import ActiveNameNode
from backhaul.core.checksums import Checksum
from backhaul.core.errors import BackhaulError, CannotWrite, OutageError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import PlannedObject, Proof, StagedObject
from backhaul.core.ports import ContentChecker, StageTask, StoredChecksum
from backhaul.engines.counter import Counter
from backhaul.engines.native import Stager
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import FakeClock, FakeStore
from backhaul.testing.servers import Hdfs
from testbed import Kms

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
MIB = 1 << 20
CHANCE = random.Random(61)
PROVIDER = "hadoop.security.key.provider.path"


def direct(hdfs: Hdfs) -> DataNodeChecker:
    return DataNodeChecker(namenodes(HadoopConfiguration(), hdfs.uri), timeout_s=5.0)


def by_command(hdfs: Hdfs) -> CommandChecker:
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    shell = FsShell(hdfs.bin_dir / "hdfs", target.cluster)
    return CommandChecker(shell, target.status, target.is_encrypted)


@pytest.fixture(params=[direct, by_command], ids=["datanode", "command"])
def checker(request: pytest.FixtureRequest, wide_hdfs: Hdfs) -> Iterator[ContentChecker]:
    made: ContentChecker = request.param(wide_hdfs)
    yield made
    made.close()


@pytest.fixture
def target(wide_hdfs: Hdfs) -> Iterator[HdfsTarget]:
    made = HdfsTarget(wide_hdfs.uri, str(wide_hdfs.conf_dir))
    checker = direct(wide_hdfs)
    early = closer(made.cluster)
    assert early is not None
    made.attach(None, codec=checker.codec, closer=early)
    yield made
    early.stop()
    checker.close()


def new_directory(target: HdfsTarget, above: str) -> str:
    directory = f"{above}/{uuid.uuid4().hex[:12]}"
    target.mkdir(directory)
    return directory


def write(target: HdfsTarget, path: str, data: bytes) -> None:
    writer = target.create(path, len(data))
    if data:
        writer.write(data)
    writer.close()


def content(target: HdfsTarget, path: str) -> bytes:
    return b"".join(target.read(path))


def crc32c(data: bytes) -> str:
    return f"{checksums.crc32c(data):08x}"


def told(
    found: list[StoredChecksum | None],
) -> list[tuple[int | None, str | None, str | None] | None]:
    def of(one: StoredChecksum) -> tuple[int | None, str | None, str | None]:
        checksum = one.checksum
        if checksum is None:
            return one.size_bytes, None, None
        return one.size_bytes, checksum.algorithm, checksum.hex

    return [None if one is None else of(one) for one in found]


def holders(hdfs: Hdfs, path: str) -> list[int]:
    """Numbers of the DataNodes that hold the file's first block, as the NameNode lists them.

    Of an erasure-coded file: those of its group, data before parity.
    """
    namenode = ActiveNameNode(namenodes(HadoopConfiguration(), hdfs.uri), 5.0)
    (status,) = files_with_blocks(namenode, [path])
    namenode.close()
    assert isinstance(status, HdfsFileStatusProto)
    block = status.locations.blocks[0]
    numbers = {hdfs.datanode_address(each)[1]: each for each in range(5)}
    found = [numbers[each.id.xferPort] for each in block.locs]
    indices = block.blockIndices or bytes(range(len(found)))
    return [one for _, one in sorted(zip(indices, found, strict=True))]


class Down:
    """A DataNode that is killed in the block and back after it."""

    def __init__(self, hdfs: Hdfs, *numbers: int) -> None:
        self._hdfs = hdfs
        self._numbers = numbers

    def __enter__(self) -> None:
        for each in self._numbers:
            self._hdfs.kill_datanode(each)

    def __exit__(self, *_: object) -> None:
        for each in self._numbers:
            self._hdfs.start_datanode(each)


@contextmanager
def staging_in(
    directory: str, hdfs: Hdfs, target: HdfsTarget, store: FakeStore
) -> Iterator[Stager]:
    """Copies into this directory, with the sources of checksums that a worker has."""
    both = ChecksumFallback([direct(hdfs), by_command(hdfs)])
    target.attach(both, codec=both.codec)
    made = Stager(
        reader=store,
        target=target,
        new_digest=new_digest,
        tuning=Tuning(threads=2, tries=1),
        counter=Counter(),
        directory=directory,
        verify=VerifyLevel.STORED,
    )
    yield made
    made.close()
    both.close()


def task(store: FakeStore, data: bytes) -> StageTask:
    pin = store.put("k", data, algorithm="CRC32C")
    planned = PlannedObject(seq=0, pin=pin, relative="f")
    return StageTask(planned=planned, endpoint=store.endpoint("raw"))


# ---------------------------------------------------------------- erasure coding


def test_erasure_coded_files_are_told_as_the_crc_of_their_bytes(
    checker: ContentChecker, wide_hdfs: Hdfs, target: HdfsTarget, tmp_path: Path
) -> None:
    """Less than a cell, whole cells, a stripe and more; several groups; both types of CRC."""
    directory = new_directory(target, "/ec")
    sizes = [0, 1, 1000, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB + 7]
    files = {f"{directory}/{size}": CHANCE.randbytes(size) for size in sizes}
    for path, data in files.items():
        write(target, path, data)
    expected = [(len(data), "CRC32C", crc32c(data)) for data in files.values()]
    data = CHANCE.randbytes(5 * MIB - 3)
    (tmp_path / "f").write_bytes(data)
    put = (f"-Ddfs.blocksize={MIB}", "-Ddfs.checksum.type=CRC32", "-put", str(tmp_path / "f"))
    wide_hdfs.command("dfs", *put, f"{directory}/groups")
    expected.append((len(data), "CRC32", f"{checksums.crc32(data):08x}"))

    found = checker.stored_checksums([*files, f"{directory}/groups"])
    assert told(found) == expected
    assert {one.checksum_source for one in found if one is not None} == {checker.name}
    assert all(content(target, path) == data for path, data in files.items())
    report = wide_hdfs.command("fsck", f"{directory}/1000", "-files").stdout
    assert "erasure-coded: policy=RS-3-2-1024k" in report


def test_an_erasure_coded_file_is_proven_without_two_of_its_datanodes(
    wide_hdfs: Hdfs, target: HdfsTarget
) -> None:
    """HDFS makes up what Backhaul wrote, and Hadoop's own client reads it: the parity is right."""
    store = FakeStore(FakeClock(), new_digest)
    data = b"sixteen letters." * (4 * MIB // 16) + b"more"
    with staging_in(new_directory(target, "/ec"), wide_hdfs, target, store) as staging:
        closed = staging.copy(task(store, data))
        with Down(wide_hdfs, *holders(wide_hdfs, closed.path)[:2]):
            for way in (direct(wide_hdfs), by_command(wide_hdfs)):
                assert told(way.stored_checksums([closed.path])) == [
                    (len(data), "CRC32C", crc32c(data))
                ]
                way.close()
            (proven,) = staging.prove([closed])
            assert content(target, closed.path) == data
            assert wide_hdfs.command("dfs", "-cat", closed.path).stdout.encode() == data
        assert isinstance(proven, StagedObject)
        assert (proven.proof, proven.checksum_source) == (Proof.DIRECT, "datanode")


@pytest.mark.parametrize("above", ["/xor", "/ec"])
def test_a_policy_of_another_codec_or_of_an_unknown_one_is_refused(
    wide_hdfs: Hdfs, target: HdfsTarget, above: str
) -> None:
    """XOR's parity the client writes wrong: HDFS would make up other bytes than were written."""
    directory = new_directory(target, above)
    if above == "/ec":
        target.attach(None)
    with pytest.raises(CannotWrite) as caught:
        write(target, f"{directory}/f", b"x")
    assert caught.value.code == "E_DST_EC"
    assert ("xor" in caught.value.message) is (above == "/xor")
    del wide_hdfs


# ---------------------------------------------------------------- replicas that are down


def test_a_dead_replica_is_passed_by(wide_hdfs: Hdfs, target: HdfsTarget, tmp_path: Path) -> None:
    directory = new_directory(target, "/plain")
    data = CHANCE.randbytes(100_000)
    (tmp_path / "f").write_bytes(data)
    two = ("-Ddfs.replication=2", "-put", str(tmp_path / "f"))
    wide_hdfs.command("dfs", *two, f"{directory}/f")
    first, second = holders(wide_hdfs, f"{directory}/f")
    assert first != second

    for down in (first, second):
        ways = (direct(wide_hdfs), by_command(wide_hdfs))
        with Down(wide_hdfs, down):
            for way in ways:
                (found,) = way.stored_checksums([f"{directory}/f"])
                assert found is not None
                assert (found.checksum and found.checksum.hex, found.checksum_source) == (
                    crc32c(data),
                    way.name,
                )
            assert content(target, f"{directory}/f") == data
        ways[0].close()


def test_without_a_live_replica_nothing_is_proven(wide_hdfs: Hdfs, target: HdfsTarget) -> None:
    directory = new_directory(target, "/plain")
    store = FakeStore(FakeClock(), new_digest)
    with staging_in(directory, wide_hdfs, target, store) as staging:
        closed = staging.copy(task(store, CHANCE.randbytes(100_000)))
        (only,) = holders(wide_hdfs, closed.path)
        with Down(wide_hdfs, only):
            for way in (direct(wide_hdfs), by_command(wide_hdfs)):
                (found,) = way.stored_checksums([closed.path])
                assert found is not None
                assert (found.size_bytes, found.checksum) == (100_000, None)
                assert found.why
                way.close()
            (result,) = staging.prove([closed])
            assert isinstance(result, BackhaulError)
            assert closed.path in result.message
        (result,) = staging.prove([closed])
        assert isinstance(result, StagedObject)


# ---------------------------------------------------------------- encryption zones


def test_files_of_an_encryption_zone_are_never_told_by_their_ciphertext(
    checker: ContentChecker, target: HdfsTarget
) -> None:
    directory, plain = new_directory(target, "/zone"), new_directory(target, "/plain")
    for path in (f"{directory}/f", f"{plain}/f"):
        write(target, path, b"secret" * 1000)
    write(target, f"{directory}/empty", b"")

    found = checker.stored_checksums([f"{directory}/f", f"{plain}/f", f"{directory}/none"])
    crc = crc32c(b"secret" * 1000)
    assert told(found) == [(6000, None, None), (6000, "CRC32C", crc), None]
    assert found[0] is not None
    assert found[0].is_final
    assert "ciphertext" in found[0].why
    (empty,) = checker.stored_checksums([f"{directory}/empty"])
    assert empty is not None
    assert (empty.size_bytes, empty.checksum) in {(0, None), (0, Checksum("CRC32C", "00000000"))}


def test_what_is_written_to_a_zone_is_what_others_read_and_not_what_is_on_disk(
    wide_hdfs: Hdfs, target: HdfsTarget
) -> None:
    path = f"{new_directory(target, '/zone')}/f"
    data = b"nobody reads this on a disk\n" * 50_000
    write(target, path, data)

    assert content(target, path) == data
    assert wide_hdfs.command("dfs", "-cat", path).stdout.encode() == data
    on_disk = [one for one in wide_hdfs.directory.rglob("blk_*") if one.suffix != ".meta"]
    assert not any(b"nobody reads this" in one.read_bytes() for one in on_disk)


def test_an_object_in_a_zone_is_proven_by_reading_it_back(
    wide_hdfs: Hdfs, target: HdfsTarget
) -> None:
    store = FakeStore(FakeClock(), new_digest)
    directory = new_directory(target, "/zone")
    with staging_in(directory, wide_hdfs, target, store) as staging:
        for _ in range(3):  # being asked about zones silences no way
            target.remove(f"{directory}/f")
            proven = staging.stage(task(store, CHANCE.randbytes(100_000)))
            assert (proven.proof, proven.checksum_source) == (Proof.REREAD, "read")
            assert "encryption zone" in proven.note
        write(target, f"{new_directory(target, '/plain')}/f", b"x")
    with staging_in(new_directory(target, "/plain"), wide_hdfs, target, store) as staging:
        assert staging.stage(task(store, b"plain")).checksum_source == "datanode"


@pytest.mark.parametrize("provider", ["", "jceks://file/etc/keys.jceks"])
def test_without_a_key_server_a_zone_is_refused_and_other_places_are_not(
    wide_hdfs: Hdfs, target: HdfsTarget, tmp_path: Path, provider: str
) -> None:
    shutil.copytree(wide_hdfs.conf_dir, tmp_path / "conf")
    core = tmp_path / "conf" / "core-site.xml"
    text = core.read_text("utf-8")
    start = text.index("<value>", text.index(PROVIDER)) + len("<value>")
    core.write_text(f"{text[:start]}{provider}{text[text.index('</value>', start) :]}", "utf-8")
    keyless = HdfsTarget(wide_hdfs.uri, str(tmp_path / "conf"))
    directory = new_directory(target, "/zone")
    write(target, f"{directory}/there", b"before")

    for attempt in (
        lambda: write(keyless, f"{directory}/f", b"never in the clear"),
        lambda: content(keyless, f"{directory}/there"),
    ):
        with pytest.raises(CannotWrite) as caught:
            attempt()
        assert caught.value.code == "E_DST_NO_KMS"
        assert PROVIDER in caught.value.hint
    assert target.names(directory) == ["there"]
    plain = f"{new_directory(target, '/plain')}/f"
    write(keyless, plain, b"plain")
    assert content(keyless, plain) == b"plain"


def test_a_user_whom_the_key_server_refuses_writes_nothing(
    wide_hdfs: Hdfs, target: HdfsTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = new_directory(target, "/zone")
    wide_hdfs.command("dfs", "-chmod", "777", directory)
    monkeypatch.setenv("HADOOP_USER_NAME", "mallory")
    mallory = HdfsTarget(wide_hdfs.uri, str(wide_hdfs.conf_dir))
    with pytest.raises(CannotWrite) as caught:
        write(mallory, f"{directory}/f", b"x")
    assert caught.value.code == "E_DST_KEY"
    assert target.names(directory) == []


def test_a_key_server_that_is_down_is_an_outage(
    wide_hdfs: Hdfs, target: HdfsTarget, kms: Kms
) -> None:
    directory = new_directory(target, "/zone")
    write(target, f"{directory}/there", b"before")
    fresh = HdfsTarget(wide_hdfs.uri, str(wide_hdfs.conf_dir))
    kms.kill()
    try:
        for attempt in (
            lambda: write(fresh, f"{directory}/f", b"x"),
            lambda: content(fresh, f"{directory}/there"),
        ):
            with pytest.raises(OutageError) as caught:
                attempt()
            assert caught.value.code == "E_HDFS_KMS"
        assert fresh.is_encrypted(f"{directory}/there")  # asks the NameNode alone
    finally:
        kms.start()
    assert target.names(directory) == ["there"]
    assert content(fresh, f"{directory}/there") == b"before"


def test_a_zone_is_not_left_or_entered_by_a_rename(wide_hdfs: Hdfs, target: HdfsTarget) -> None:
    zone, plain = new_directory(target, "/zone"), new_directory(target, "/plain")
    write(target, f"{zone}/f", b"x")
    write(target, f"{plain}/f", b"x")
    for source, goal in ((f"{zone}/f", f"{plain}/g"), (f"{plain}/f", f"{zone}/g")):
        with pytest.raises(CannotWrite) as caught:
            target.rename(source, goal, replace=False)
        assert caught.value.code == "E_DST_EZ"
    assert (target.names(zone), target.names(plain)) == (["f"], ["f"])
