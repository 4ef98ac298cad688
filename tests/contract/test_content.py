"""What `core.ports.ContentChecker` promises, by both sources of real HDFS's checksums."""

from __future__ import annotations

import random
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from awscrt import checksums

from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.command_checksums import CommandChecker
from backhaul.adapters.hadoop.hdfs.datanode_checksums import (
    BlockedFile,
    ChecksumUnavailable,
    DataNodeChecker,
    DataNodes,
)
from backhaul.adapters.hadoop.hdfs.shell import FsShell
from backhaul.adapters.hadoop.hdfs.stored_checksums import ChecksumFallback, content_checker
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.core.ports import ContentChecker, StoredChecksum
from backhaul.testing.servers import Hdfs

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
MIB = 1 << 20
CHANCE = random.Random(6)
NAMES = [
    *("plain", "with space", "two  spaces ", " lead", 'quo"te', "apo'strophe", "st*r", "q?"),
    *(
        "b[1]",
        "b1",
        "{a,b}",
        "a,b",
        "c^d",
        "back\\slash",
        "ünïcode-日本",
        "😀",
        "tab\there",
        "100%",
    ),
    *("100%", "a+b", "#hash", "~tilde", "$HOME", "-dash", "a;b"),
]


def direct(hdfs: Hdfs) -> DataNodeChecker:
    return DataNodeChecker(namenodes(HadoopConfiguration(), hdfs.uri), timeout_s=5.0)


def by_command(hdfs: Hdfs) -> CommandChecker:
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    shell = FsShell(hdfs.bin_dir / "hdfs", target.cluster)
    return CommandChecker(shell, target.status, target.is_encrypted)


@pytest.fixture(params=[direct, by_command], ids=["datanode", "command"])
def checker(request: pytest.FixtureRequest, hdfs: Hdfs) -> Iterator[ContentChecker]:
    made: ContentChecker = request.param(hdfs)
    yield made
    made.close()


@pytest.fixture
def place(hdfs: Hdfs) -> tuple[HdfsTarget, str]:
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    directory = f"/content-{uuid.uuid4().hex[:12]}"
    target.mkdirs(directory)
    return target, directory


def write(target: HdfsTarget, path: str, data: bytes) -> str:
    """CRC32C of what was written."""
    writer = target.create(path, len(data))
    if data:
        writer.write(data)
    writer.close()
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


def test_files_of_any_size_and_name_are_told(
    checker: ContentChecker, place: tuple[HdfsTarget, str]
) -> None:
    target, directory = place
    files = {
        f"{directory}/{number}-{name}": CHANCE.randbytes(size)
        for number, (name, size) in enumerate(
            zip(NAMES, [0, 1, 511, 512, 513, 65_537, *[100] * (len(NAMES) - 6)], strict=True)
        )
    }
    sums = {path: write(target, path, data) for path, data in files.items()}

    found = checker.stored_checksums(list(files))
    assert told(found) == [(len(files[path]), "CRC32C", sums[path]) for path in files]
    for path, one in zip(files, found, strict=True):
        status = target.status(path)
        assert one is not None
        assert status is not None
        assert (one.modified_ms, one.checksum_source, one.why) == (
            status.modified_ms,
            checker.name,
            "",
        )


def test_nothing_and_directories_are_none(
    checker: ContentChecker, place: tuple[HdfsTarget, str]
) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/empty")
    target.mkdirs(f"{directory}/full/sub")
    target.mkdirs(f"{directory}/one")
    write(target, f"{directory}/one/f", b"x")
    crc = write(target, f"{directory}/f", b"there")
    asked = ["none", "none/deeper", "empty", "full", "one", "f"]

    found = checker.stored_checksums([f"{directory}/{name}" for name in asked])
    assert told(found) == [None, None, None, None, None, (5, "CRC32C", crc)]


@pytest.mark.parametrize(
    "size", [2 * MIB, pytest.param(2 * MIB + 7, marks=pytest.mark.long), 5 * MIB - 1]
)
def test_several_blocks_and_odd_chunks_make_the_crc_of_the_bytes(
    checker: ContentChecker, hdfs: Hdfs, place: tuple[HdfsTarget, str], tmp_path: Path, size: int
) -> None:
    _, directory = place
    data = CHANCE.randbytes(size)
    (tmp_path / "f").write_bytes(data)
    put = ("-put", str(tmp_path / "f"))
    blocks = f"-Ddfs.blocksize={MIB}"
    hdfs.command("dfs", blocks, "-Ddfs.bytes-per-checksum=4096", *put, f"{directory}/chunks")
    hdfs.command("dfs", blocks, "-Ddfs.checksum.type=CRC32", *put, f"{directory}/crc32")

    assert told(checker.stored_checksums([f"{directory}/chunks", f"{directory}/crc32"])) == [
        (size, "CRC32C", f"{checksums.crc32c(data):08x}"),
        (size, "CRC32", f"{checksums.crc32(data):08x}"),
    ]


def test_blocks_with_crcs_of_two_types_are_never_told_as_one(
    checker: ContentChecker, hdfs: Hdfs, place: tuple[HdfsTarget, str], tmp_path: Path
) -> None:
    """Appended to by somebody whose settings differ: no CRC of the whole can be made of them."""
    target, directory = place
    halves = CHANCE.randbytes(MIB), CHANCE.randbytes(5000)
    for half, name, how in zip(halves, ("CRC32", "CRC32C"), ("-put", "-appendToFile"), strict=True):
        (tmp_path / name).write_bytes(half)
        settings = (f"-Ddfs.blocksize={MIB}", f"-Ddfs.checksum.type={name}")
        hdfs.command("dfs", *settings, how, str(tmp_path / name), f"{directory}/mixed")
    crc = write(target, f"{directory}/plain", b"its neighbour")

    mixed, plain = checker.stored_checksums([f"{directory}/mixed", f"{directory}/plain"])
    assert mixed is not None
    assert (mixed.size_bytes, mixed.checksum) == (MIB + 5000, None)
    assert "different types" in mixed.why or checker.name == "command"
    assert told([plain]) == [(13, "CRC32C", crc)]
    assert b"".join(target.read(f"{directory}/mixed")) == b"".join(halves)


def test_open_file_is_never_told_as_whole(
    checker: ContentChecker, place: tuple[HdfsTarget, str]
) -> None:
    target, directory = place
    writer = target.create(f"{directory}/open", 2 * MIB)
    writer.write(b"x" * 1000)

    (found,) = checker.stored_checksums([f"{directory}/open"])
    assert found is None or found.checksum is None or found.size_bytes == 0
    writer.close()


# ---------------------------------------------------------------- the direct way


def test_a_dead_namenode_and_a_dead_replica_are_passed_by(
    hdfs: Hdfs, place: tuple[HdfsTarget, str]
) -> None:
    target, directory = place
    crc = write(target, f"{directory}/f", b"there")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = probe.getsockname()
    checker = DataNodeChecker([dead, *namenodes(HadoopConfiguration(), hdfs.uri)], timeout_s=2.0)
    assert told(checker.stored_checksums([f"{directory}/f"])) == [(5, "CRC32C", crc)]

    (file,) = checker.files([f"{directory}/f"])
    assert isinstance(file, BlockedFile)
    (block,) = file.blocks
    both = replace(block, replicas=(dead, *block.replicas))
    datanodes = DataNodes(2.0)
    assert f"{datanodes.crc(both)[1]:08x}" == crc
    # Known to be down, it is tried last from now on.
    assert datanodes.replicas(both)[-1] == dead
    with pytest.raises(ChecksumUnavailable, match="Connection refused"):
        datanodes.crc(replace(block, replicas=(dead,)))
    checker.close()


def test_a_block_that_is_gone_costs_its_neighbours_nothing(
    hdfs: Hdfs, place: tuple[HdfsTarget, str]
) -> None:
    target, directory = place
    sums = [write(target, f"{directory}/{number}", bytes([number]) * 9) for number in range(20)]
    report = hdfs.command("fsck", f"{directory}/7", "-files", "-blocks").stdout
    block = "blk_" + report.split("blk_", 1)[1].split("_", 1)[0]
    for path in (hdfs.directory / "data").rglob(f"{block}*"):
        path.unlink()
    checker = direct(hdfs)
    found = checker.stored_checksums([f"{directory}/{number}" for number in range(20)])
    checker.close()

    for number, one in enumerate(found):
        assert one is not None
        assert (one.checksum and one.checksum.hex) == (None if number == 7 else sums[number])


@pytest.mark.slow
def test_daemons_that_hang_or_die_are_an_answer_in_time() -> None:
    with Hdfs() as own:
        target = HdfsTarget(own.uri, str(own.conf_dir))
        target.mkdirs("/d")
        crc = write(target, "/d/f", b"there")
        checker = DataNodeChecker(namenodes(HadoopConfiguration(), own.uri), timeout_s=1.0)
        first = ChecksumFallback([checker, by_command(own)])
        assert told(first.stored_checksums(["/d/f"])) == [(5, "CRC32C", crc)]

        own.suspend_datanode()
        (found,) = checker.stored_checksums(["/d/f"])
        assert found is not None
        assert (found.size_bytes, found.checksum) == (5, None)
        assert "DataNode" in found.why
        own.resume_datanode()
        own.suspend_namenode()
        with pytest.raises(ChecksumUnavailable):
            checker.stored_checksums(["/d/f"])
        own.resume_namenode()
        assert told(checker.stored_checksums(["/d/f"])) == [(5, "CRC32C", crc)]
        checker.close()


# ---------------------------------------------------------------- who is asked


def test_what_one_way_cannot_tell_the_next_is_asked(
    hdfs: Hdfs, place: tuple[HdfsTarget, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, directory = place
    crc = write(target, f"{directory}/f", b"there")
    paths = [f"{directory}/f", f"{directory}/none"]
    monkeypatch.setenv("PATH", str(hdfs.bin_dir), prepend=":")
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    made = content_checker(target.cluster, target.status, target.is_encrypted)
    assert made is not None
    assert [one and one.checksum_source for one in made.stored_checksums(paths)] == [
        "datanode",
        None,
    ]
    made.close()

    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = probe.getsockname()
    both = ChecksumFallback([DataNodeChecker([dead], timeout_s=1.0), by_command(hdfs)])
    found, nothing = both.stored_checksums(paths)
    assert found is not None
    assert (found.checksum_source, found.checksum and found.checksum.hex, nothing) == (
        "command",
        crc,
        None,
    )


def test_a_cluster_that_encrypts_its_data_is_not_asked_directly(
    hdfs: Hdfs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    more = "<property><name>dfs.encrypt.data.transfer</name><value>true</value></property>"
    text = (hdfs.conf_dir / "hdfs-site.xml").read_text("utf-8")
    text = text.replace("</configuration>", f"{more}</configuration>")
    (tmp_path / "hdfs-site.xml").write_text(text, "utf-8")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    assert content_checker(HdfsCluster(hdfs.uri, str(tmp_path)), lambda path: None, bool) is None
