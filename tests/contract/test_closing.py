"""Closing a file of real HDFS sooner than the client does, and never too soon."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hdfs_native import Client, WriteOptions

from backhaul.adapters.hadoop.hdfs.closing import FEW, LEAST_BYTES, Closer, closer
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import LocatedBlocksProto
from backhaul.testing.servers import Hdfs
from backhaul.testing.servers.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
SIZE_BYTES = LEAST_BYTES + 12345
WAIT_S = 60
ENOUGH_POLLS = 6


class _Watched(Closer):
    """Signals when it has polled often."""

    def __init__(self, namenodes: list[tuple[str, int]]) -> None:
        super().__init__(namenodes)
        self.polls = 0
        self.ended: list[str] = []
        self.has_polled = threading.Event()

    def _located(self, path: str) -> LocatedBlocksProto | None:
        self.polls += 1
        if self.polls == ENOUGH_POLLS:
            self.has_polled.set()
        return super()._located(path)

    def _end_lease(self, path: str) -> bool:
        self.ended.append(path)
        return super()._end_lease(path)


@pytest.fixture
def client(hdfs: Hdfs) -> Client:
    return Client(hdfs.uri)


@pytest.fixture
def content() -> bytes:
    return os.urandom(SIZE_BYTES)


@pytest.fixture
def held() -> threading.Event:
    """What a client that does not return waits for."""
    return threading.Event()


@pytest.fixture
def early(hdfs: Hdfs) -> Iterator[Closer]:
    found = closer(HdfsCluster(hdfs.uri, str(hdfs.conf_dir)))
    assert found is not None
    yield found
    found.stop()


@pytest.fixture
def watched(hdfs: Hdfs) -> Iterator[_Watched]:
    found = _Watched([("127.0.0.1", int(hdfs.uri.rsplit(":", 1)[-1]))])
    yield found
    found.stop()


def read(client: Client, path: str) -> bytes:
    return b"".join(client.read(path).read_range_stream(0, client.get_file_info(path).length))


@pytest.mark.parametrize("size_bytes", [1, 16 * 1024, LEAST_BYTES - 1, SIZE_BYTES])
def test_a_file_is_closed_while_the_client_still_waits(
    early: Closer, client: Client, content: bytes, held: threading.Event, size_bytes: int
) -> None:
    path = f"/closing-early-{size_bytes}"
    content = content[:size_bytes]
    gave_up: list[str] = []
    writer = client.create(path, WriteOptions(block_size=LEAST_BYTES - 1))
    writer.write(content)

    def close() -> None:
        writer.close()
        if not held.wait(WAIT_S):
            gave_up.append(path)

    early.close(path, size_bytes, close)
    held.set()

    assert not gave_up
    assert read(client, path) == content
    # Closed, for everybody: another may write to it now.
    client.append(path).close()


def test_the_client_finds_a_file_closed_that_was_closed_for_it(
    early: Closer, client: Client, content: bytes
) -> None:
    faults = []
    for number in range(8):
        path = f"/closing-twice-{number}"
        writer = client.create(path, WriteOptions())
        writer.write(content)
        returned = threading.Event()

        def close(writer: object = writer, returned: threading.Event = returned) -> None:
            try:
                writer.close()  # type: ignore[attr-defined]
            except BaseException as error:
                faults.append(error)
                raise
            finally:
                returned.set()

        early.close(path, SIZE_BYTES, close)
        assert returned.wait(WAIT_S)
        assert client.get_file_info(path).length == SIZE_BYTES
    assert not faults


def test_a_file_whose_writer_has_not_ended_keeps_its_lease(
    watched: _Watched, client: Client, content: bytes
) -> None:
    """All bytes are with the DataNodes and can be read, but its writer has not completed it."""
    path = "/closing-not-yet"
    writer = client.create(path, WriteOptions())
    writer.write(content)
    writer.hsync()

    def close() -> None:
        assert watched.has_polled.wait(WAIT_S)
        writer.write(content)
        writer.close()

    watched.close(path, SIZE_BYTES, close)

    assert watched.ended == []
    assert read(client, path) == 2 * content


def test_a_file_that_is_full_to_the_block_keeps_its_lease(
    watched: _Watched, client: Client
) -> None:
    """Its blocks are complete, but more of it comes than they hold."""
    path = "/closing-blocks"
    too_soon: list[str] = []
    blocks = os.urandom(2 << 20)
    writer = client.create(path, WriteOptions(block_size=1 << 20))
    writer.write(blocks)

    def close() -> None:
        assert watched.has_polled.wait(WAIT_S)
        too_soon.extend(watched.ended)
        writer.write(b"and more")
        writer.close()

    watched.close(path, len(blocks) + len(b"and more"), close)

    assert not too_soon
    assert read(client, path) == blocks + b"and more"


def test_without_an_answer_the_client_closes_the_file_alone(client: Client, content: bytes) -> None:
    path = "/closing-alone"
    writer = client.create(path, WriteOptions())
    writer.write(content)

    alone = Closer([("127.0.0.1", free_ports(1)[0])])
    alone.close(path, SIZE_BYTES, writer.close)
    alone.stop()

    assert read(client, path) == content


def test_what_the_client_raises_is_raised(early: Closer) -> None:
    def close() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        early.close("/closing-nothing", SIZE_BYTES, close)


def test_many_files_at_once_are_all_whole(
    hdfs: Hdfs, early: Closer, client: Client, content: bytes
) -> None:
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    target.attach(None, closer=early)
    target.mkdirs("/closing-many")

    def write(number: int) -> None:
        writer = target.create(f"/closing-many/{number}", SIZE_BYTES)
        writer.write(content)
        writer.close()
        target.rename(f"/closing-many/{number}", f"/closing-many/done-{number}", replace=False)

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(write, range(40)))

    assert all(read(client, f"/closing-many/done-{number}") == content for number in range(40))


def test_a_small_file_among_many_is_closed_by_the_calling_thread(held: threading.Event) -> None:
    alone = Closer([])
    slow = threading.Barrier(FEW + 1)

    def close_slowly() -> None:
        slow.wait(WAIT_S)
        assert held.wait(WAIT_S)

    seen = []
    with ThreadPoolExecutor(FEW) as threads:
        for number in range(FEW):
            threads.submit(alone.close, f"/slow-{number}", 1, close_slowly)
        slow.wait(WAIT_S)
        alone.close("/small", LEAST_BYTES - 1, lambda: seen.append(threading.get_ident()))
        held.set()
    alone.close("/alone", 1, lambda: seen.append(threading.get_ident()))
    alone.close("/empty", 0, lambda: seen.append(threading.get_ident()))
    alone.stop()
    here = threading.get_ident()
    assert [one == here for one in seen] == [True, False, True]


def test_a_cluster_with_kerberos_is_left_to_the_client(tmp_path: Path) -> None:
    (tmp_path / "core-site.xml").write_text(
        "<configuration><property><name>hadoop.security.authentication</name>"
        "<value>kerberos</value></property></configuration>",
        "utf-8",
    )
    assert closer(HdfsCluster("hdfs://127.0.0.1:9000", str(tmp_path))) is None
    assert closer(HdfsCluster("hdfs://127.0.0.1:9000", None)) is not None
