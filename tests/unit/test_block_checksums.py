"""Checksums of several blocks of a file are requested at the same time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from awscrt import checksums

from backhaul.adapters.hadoop.hdfs.datanode_checksums import (
    WAVE,
    Block,
    BlockedFile,
    ChecksumUnavailable,
    DataNodeChecker,
)
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    CHECKSUM_CRC32C,
    COMPOSITE_CRC,
    BlockChecksumOptionsProto,
    BlockOpResponseProto,
    OpBlockChecksumResponseProto,
    Status,
)
from backhaul.adapters.hadoop.rpc import serialize
from backhaul.core.checksums import Checksum

BLOCKS = [b"first" * 7, b"second" * 5, b"third"]


def answer(data: bytes) -> bytes:
    """A `BlockOpResponseProto` with a COMPOSITE_CRC."""
    checksum = OpBlockChecksumResponseProto(
        blockChecksum=checksums.crc32c(data).to_bytes(4, "big"),
        crcType=CHECKSUM_CRC32C,
        blockChecksumOptions=BlockChecksumOptionsProto(blockChecksumType=COMPOSITE_CRC),
    )
    return serialize([BlockOpResponseProto(status=Status.SUCCESS, checksumResponse=checksum)])


@contextlib.contextmanager
def datanode_that_waits_for(requests: int) -> Iterator[tuple[str, int]]:
    """Answers the first; the others once all have come. A request is the number of a block."""
    all_came = threading.Barrier(requests - 1)

    def serve(connection: socket.socket) -> None:
        with connection:
            number = int(connection.recv(100))
            with contextlib.suppress(threading.BrokenBarrierError):
                if number:
                    all_came.wait(10)
                connection.sendall(answer(BLOCKS[number]))

    def accept() -> None:
        threads = []
        for _ in range(requests):
            threads.append(threading.Thread(target=serve, args=(server.accept()[0],)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield server.getsockname()
        accepting.join(15)


def file_of(blocks: Sequence[Block]) -> BlockedFile:
    return BlockedFile(
        size_bytes=sum(one.size_bytes for one in blocks),
        modified_ms=1,
        blocks=tuple(blocks),
        is_open=False,
        is_encrypted=False,
    )


def test_after_a_block_without_checksum_no_more_of_the_file_are_requested() -> None:
    def block(name: str, offset: int) -> Block:
        return Block(request=name.encode(), offset=offset, size_bytes=1, replicas=())

    class Recording(DataNodeChecker):
        requests: ClassVar[list[bytes]] = []

        def _crc(self, block: Block) -> tuple[int, int] | Exception:
            self.requests.append(block.request)
            is_known = block.request.startswith(b"good") and not block.request.endswith(b"3")
            return (2, 0) if is_known else ChecksumUnavailable("no replica")

    bad = file_of([block(f"bad{number}", number) for number in range(9)])
    good = file_of([block(f"good{number}", number) for number in range(3 * WAVE)])
    checker = Recording([("127.0.0.1", 1)])
    crcs = checker._crcs([bad.wanted_blocks, good.wanted_blocks])
    checker.close()
    first = [b"bad0", b"good0"]
    assert Recording.requests[:2] == first
    assert sorted(Recording.requests[2:]) == sorted(f"good{n}".encode() for n in range(1, WAVE + 1))
    for file in (bad, good):
        with pytest.raises(ChecksumUnavailable):
            file.checksum(crcs)


def test_blocks_of_one_file_are_requested_at_once_and_make_its_crc() -> None:
    with datanode_that_waits_for(len(BLOCKS)) as address:
        offsets = [sum(map(len, BLOCKS[:number])) for number in range(len(BLOCKS))]
        blocks = [
            Block(
                request=str(number).encode(),
                offset=offset,
                size_bytes=len(data),
                replicas=(address,),
            )
            for number, (data, offset) in enumerate(zip(BLOCKS, offsets, strict=True))
        ]
        file = file_of(blocks)
        checker = DataNodeChecker([address], timeout_s=5.0)
        crcs = checker._crcs([file.wanted_blocks])
        checker.close()
    whole = checksums.crc32c(b"".join(BLOCKS))
    assert file.checksum(crcs) == Checksum("CRC32C", f"{whole:08x}")


def test_of_open_and_encrypted_files_no_block_is_requested() -> None:
    block = Block(request=b"0", offset=0, size_bytes=1, replicas=())
    for is_open, is_encrypted in ((True, False), (False, True)):
        file = BlockedFile(
            size_bytes=1,
            modified_ms=1,
            blocks=(block,),
            is_open=is_open,
            is_encrypted=is_encrypted,
        )
        assert file.wanted_blocks == ()
