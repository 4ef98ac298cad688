"""Several blocks of a file are asked for at the same time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from awscrt import checksums

from backhaul.adapters.hadoop.hdfs_datanode import (
    WAVE,
    ChecksumUnavailable,
    DataNodeChecker,
    _Block,
    _crc,
    _File,
    _wanted,
)
from backhaul.adapters.hadoop.protobuf_wire import delimited, message

BLOCKS = [b"first" * 7, b"second" * 5, b"third"]


def answer(data: bytes) -> bytes:
    """A `BlockOpResponseProto` with a COMPOSITE_CRC."""
    crc = checksums.crc32c(data).to_bytes(4, "big")
    told = message((3, crc), (4, 2), (5, message((1, 2))))
    return delimited(message((1, 0), (3, told)))


@contextlib.contextmanager
def datanode_that_waits_for(questions: int) -> Iterator[tuple[str, int]]:
    """Answers the first; then nobody before all have asked. A question is the number of a block."""
    all_asked = threading.Barrier(questions - 1)

    def serve(connection: socket.socket) -> None:
        with connection:
            number = int(connection.recv(100))
            with contextlib.suppress(threading.BrokenBarrierError):
                if number:
                    all_asked.wait(10)
                connection.sendall(answer(BLOCKS[number]))

    def accept() -> None:
        threads = []
        for _ in range(questions):
            threads.append(threading.Thread(target=serve, args=(server.accept()[0],)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield server.getsockname()
        accepting.join(15)


def file_of(blocks: Sequence[_Block]) -> _File:
    return _File(
        size_bytes=sum(one.size_bytes for one in blocks),
        modified_ms=1,
        blocks=tuple(blocks),
        is_open=False,
        is_encrypted=False,
    )


def test_of_a_file_whose_first_block_nobody_tells_no_other_is_asked_for() -> None:
    def block(name: str, offset: int) -> _Block:
        return _Block(question=name.encode(), offset=offset, size_bytes=1, replicas=())

    class Asked(DataNodeChecker):
        asked: ClassVar[list[bytes]] = []

        def _ask(self, block: _Block) -> tuple[int, int] | Exception:
            self.asked.append(block.question)
            is_told = block.question.startswith(b"good") and not block.question.endswith(b"3")
            return (2, 0) if is_told else ChecksumUnavailable("nobody")

    bad = file_of([block(f"bad{number}", number) for number in range(9)])
    good = file_of([block(f"good{number}", number) for number in range(3 * WAVE)])
    checker = Asked([("127.0.0.1", 1)])
    told = checker._told([_wanted(bad), _wanted(good)])
    checker.close()
    first = [b"bad0", b"good0"]
    assert Asked.asked[:2] == first
    assert sorted(Asked.asked[2:]) == sorted(f"good{n}".encode() for n in range(1, WAVE + 1))
    for file in (bad, good):
        with pytest.raises(ChecksumUnavailable):
            _crc(file, told)


def test_blocks_of_one_file_are_asked_at_once_and_make_its_crc() -> None:
    with datanode_that_waits_for(len(BLOCKS)) as address:
        offsets = [sum(map(len, BLOCKS[:number])) for number in range(len(BLOCKS))]
        blocks = [
            _Block(
                question=str(number).encode(),
                offset=offset,
                size_bytes=len(data),
                replicas=(address,),
            )
            for number, (data, offset) in enumerate(zip(BLOCKS, offsets, strict=True))
        ]
        file = file_of(blocks)
        checker = DataNodeChecker([address], timeout_s=5.0)
        told = checker._told([_wanted(file)])
        checker.close()
    assert _crc(file, told) == ("CRC32C", checksums.crc32c(b"".join(BLOCKS)))


def test_of_open_and_encrypted_files_no_datanode_is_asked() -> None:
    block = _Block(question=b"0", offset=0, size_bytes=1, replicas=())
    for is_open, is_encrypted in ((True, False), (False, True)):
        file = _File(
            size_bytes=1,
            modified_ms=1,
            blocks=(block,),
            is_open=is_open,
            is_encrypted=is_encrypted,
        )
        assert _wanted(file) == ()
    assert _wanted(None) == ()
    assert _wanted(ValueError()) == ()
