"""A cluster without COMPOSITE_CRC: files are read back, and the evidence has the reason.

The NameNode and the files are real. The DataNode's checksum port is one that answers as those did
before HDFS-13056, with an MD5 of MD5s and no word of a mode; so does the command.
"""

from __future__ import annotations

import hashlib
import socketserver
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.command_checksums import CommandChecker
from backhaul.adapters.hadoop.hdfs.datanode_checksums import DataNodeChecker
from backhaul.adapters.hadoop.hdfs.shell import FsShell
from backhaul.adapters.hadoop.hdfs.stored_checksums import ChecksumFallback
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    CHECKSUM_CRC32C,
    BlockOpResponseProto,
    OpBlockChecksumResponseProto,
    Status,
)
from backhaul.adapters.hadoop.rpc import serialize
from backhaul.core.errors import IntegrityError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import PlannedObject, Proof
from backhaul.core.ports import StageTask
from backhaul.engines.counter import Counter
from backhaul.engines.native import Stager
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import FakeClock, FakeStore
from backhaul.testing.servers import Hdfs

pytestmark = [pytest.mark.integration, pytest.mark.hdfs]
MD5 = hashlib.md5(b"of MD5s").digest()  # noqa: S324 - as HDFS had it


class OldDataNode(socketserver.BaseRequestHandler):
    """One response to any request, as Hadoop 2 and 3.0 gave it."""

    def handle(self) -> None:
        self.request.recv(1 << 16)
        checksum = OpBlockChecksumResponseProto(blockChecksum=MD5, crcType=CHECKSUM_CRC32C)
        response = BlockOpResponseProto(status=Status.SUCCESS, checksumResponse=checksum)
        self.request.sendall(serialize([response]))


class OldChecker(DataNodeChecker):
    """Calls the old DataNode, whichever the NameNode names."""

    def __init__(self, hdfs: Hdfs, old: tuple[str, int]) -> None:
        super().__init__(namenodes(HadoopConfiguration(), hdfs.uri), timeout_s=5.0)
        self._datanodes.replicas = lambda block: [old]  # type: ignore[method-assign]


@pytest.fixture
def ways(hdfs: Hdfs, tmp_path: Path) -> Iterator[ChecksumFallback]:
    program = tmp_path / "hdfs"
    program.write_text(
        "#!/bin/sh\nshift 3\nfor each; do\n"
        f"printf '%s\\tMD5-of-0MD5-of-512CRC32C\\t{'0' * 8}{MD5.hex()}\\n' \"$each\"\ndone\n",
        "utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldDataNode) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        made = ChecksumFallback(
            [
                OldChecker(hdfs, (str(host), port)),
                CommandChecker(
                    FsShell(program, target.cluster), target.status, target.is_encrypted
                ),
            ]
        )
        yield made
        made.close()
        server.shutdown()


def test_what_an_old_cluster_cannot_tell_is_read_back_and_the_note_says_why(
    hdfs: Hdfs, ways: ChecksumFallback
) -> None:
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    target.attach(ways)
    directory = f"/old-{uuid.uuid4().hex[:12]}"
    target.mkdirs(directory)
    store = FakeStore(FakeClock(), new_digest)
    stager = Stager(
        reader=store,
        target=target,
        new_digest=new_digest,
        tuning=Tuning(threads=2, tries=1),
        counter=Counter(),
        directory=directory,
        verify=VerifyLevel.STORED,
    )

    def task(name: str) -> StageTask:
        pin = store.put(name, b"an old cluster's " * 1000, algorithm="CRC32C")
        planned = PlannedObject(seq=0, pin=pin, relative=name)
        return StageTask(planned=planned, endpoint=store.endpoint("raw"))

    proven = stager.stage(task("a"))
    assert (proven.proof, proven.checksum_source) == (Proof.REREAD, "read")
    assert "it knows no COMPOSITE_CRC" in proven.note
    assert "hdfs printed no CRC of it" in proven.note

    closed = stager.copy(task("b"))
    target.remove(closed.path)
    writer = target.create(closed.path, closed.task.planned.pin.size_bytes)
    writer.write(b"AN old cluster's " * 1000)
    writer.close()
    (caught,) = stager.prove([closed])
    assert isinstance(caught, IntegrityError)
    assert caught.code == "E_STORED"
    stager.close()
