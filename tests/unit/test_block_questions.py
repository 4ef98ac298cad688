"""Several blocks of a file are asked for at the same time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from awscrt import checksums

from backhaul.adapters.hdfs_datanode import DataNodeChecker, _Block, _crc, _File, _wanted
from backhaul.adapters.protobuf_wire import delimited, message

BLOCKS = [b"first" * 7, b"second" * 5, b"third"]


def answer(data: bytes) -> bytes:
    """A `BlockOpResponseProto` with a COMPOSITE_CRC."""
    crc = checksums.crc32c(data).to_bytes(4, "big")
    told = message((3, crc), (4, 2), (5, message((1, 2))))
    return delimited(message((1, 0), (3, told)))


@contextlib.contextmanager
def datanode_that_waits_for(questions: int) -> Iterator[tuple[str, int]]:
    """Answers nobody before so many have asked. A question is the number of a block."""
    all_asked = threading.Barrier(questions)

    def serve(connection: socket.socket) -> None:
        with connection:
            number = int(connection.recv(100))
            with contextlib.suppress(threading.BrokenBarrierError):
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


def test_blocks_of_one_file_are_asked_at_once_and_make_its_crc() -> None:
    with datanode_that_waits_for(len(BLOCKS)) as address:
        offsets = [sum(map(len, BLOCKS[:number])) for number in range(len(BLOCKS))]
        file = _File(
            size_bytes=sum(map(len, BLOCKS)),
            modified_ms=1,
            blocks=tuple(
                _Block(
                    question=str(number).encode(),
                    offset=offset,
                    size_bytes=len(data),
                    replicas=(address,),
                )
                for number, (data, offset) in enumerate(zip(BLOCKS, offsets, strict=True))
            ),
            is_open=False,
            is_encrypted=False,
        )
        checker = DataNodeChecker([address], timeout_s=5.0)
        told = checker._told(_wanted(file))
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
