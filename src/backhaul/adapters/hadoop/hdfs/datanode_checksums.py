"""Checksums of files from the DataNodes themselves: no JVM, no byte of the file moved.

A DataNode keeps a CRC of every few hundred bytes beside each block, checked when they were
written. For a COMPOSITE_CRC request it combines them to the CRC of the whole block; the blocks'
combine to the file's, which equals the plain CRC of its bytes whatever its blocks and chunks are.
Of an erasure-coded file a block is a group over several DataNodes: any one of them queries the
others and makes the group's CRC, also where one of them is down.

    request:   version 28 in 2 bytes, operation in 1, OpBlockChecksumProto or -GroupChecksumProto
    response:  BlockOpResponseProto; each message has its length before it

For clusters without Kerberos and encrypted data transfer. A checksum that cannot be had is reported
with its reason, never guessed; `stored_checksums` then tries another source.

Source: HDFS-13056 (COMPOSITE_CRC).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

from awscrt import checksums

from backhaul.adapters.hadoop.hdfs.file_status import files_with_blocks
from backhaul.adapters.hadoop.protocol.common_pb2 import TokenProto
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    COMPOSITE_CRC,
    BaseHeaderProto,
    BlockChecksumOptionsProto,
    BlockOpResponseProto,
    DatanodeInfosProto,
    ErasureCodingPolicyProto,
    HdfsFileStatusProto,
    LocatedBlockProto,
    OpBlockChecksumProto,
    OpBlockGroupChecksumProto,
    Status,
)
from backhaul.adapters.hadoop.rpc import (
    ActiveNameNode,
    MalformedResponse,
    NoActiveNameNode,
    RemoteError,
    parse,
    serialize,
    text,
)
from backhaul.core.checksums import Checksum
from backhaul.core.ports import StoredChecksum

NAME = "datanode"
PARALLEL = 16  # requests to DataNodes at once
WAVE = 64  # blocks of one file, before the next are requested
TIMEOUT_S = 10.0
AVOIDED_S = 60.0  # a DataNode that did not answer is tried last for this long
MAX_RESPONSE_BYTES = 1 << 20

_TRANSFER_VERSION = 28
_BLOCK_CHECKSUM = 85
_BLOCK_GROUP_CHECKSUM = 90
_CRC_TYPES: dict[int, tuple[str, Callable[[int, int, int], int]]] = {
    1: ("CRC32", checksums.combine_crc32),
    2: ("CRC32C", checksums.combine_crc32c),
}
_CODECS = {1: "rs", 2: "rs", 3: "rs-legacy", 4: "xor", 5: "rs"}  # of the policies of Hadoop's own
_NO_TOKEN = TokenProto(identifier=b"", password=b"", kind="", service="")
_OPTIONS = BlockChecksumOptionsProto(blockChecksumType=COMPOSITE_CRC)

BlockCrc = tuple[int, int] | Exception  # CRC type and CRC, or why there is none


class ChecksumUnavailable(Exception):
    """The checksum cannot be had like this; the text has the reason."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A located block, or a group of them.

    Attributes:
        request: As it goes to a DataNode.
        replicas: DataNodes that can answer, in the NameNode's order.
    """

    request: bytes
    offset: int
    size_bytes: int
    replicas: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class BlockedFile:
    """A file of HDFS with its blocks."""

    size_bytes: int
    modified_ms: int
    blocks: tuple[Block, ...]
    is_open: bool
    is_encrypted: bool
    codec: str = ""

    @property
    def wanted_blocks(self) -> tuple[Block, ...]:
        """Those whose CRCs make the file's; none where they would not."""
        return () if self.is_open or self.is_encrypted else self.blocks

    def checksum(self, crcs: Mapping[bytes, BlockCrc]) -> Checksum:
        """Of the whole file.

        Args:
            crcs: Of each wanted block, by its request.

        Raises:
            ChecksumUnavailable: It cannot be made of them.
        """
        if self.is_open:
            raise ChecksumUnavailable("still open")
        kind: int | None = None
        whole = end = 0
        for block in self.blocks:
            if block.offset != end:
                raise ChecksumUnavailable("the NameNode left a block out")
            found = crcs[block.request]
            if isinstance(found, Exception):
                raise ChecksumUnavailable(str(found)) from found
            if found[0] not in _CRC_TYPES:
                raise ChecksumUnavailable(f"a block without CRCs (type {found[0]})")
            if kind is not None and found[0] != kind:
                raise ChecksumUnavailable("blocks with CRCs of different types")
            kind = found[0]
            whole = _CRC_TYPES[kind][1](whole, found[1], block.size_bytes)
            end += block.size_bytes
        if end != self.size_bytes:
            raise ChecksumUnavailable(f"blocks of {end} B for a file of {self.size_bytes} B")
        # An empty file has no block; either CRC of nothing is 0.
        return Checksum(_CRC_TYPES[kind or 2][0], f"{whole:08x}")


class DataNodeChecker:
    """Implements `ports.ContentChecker` for one file system.

    Args:
        namenodes: Addresses of the NameNodes of the file system; one of them is active.
        by_hostname: Reach DataNodes by name (`dfs.client.use.datanode.hostname`).
    """

    name = NAME

    def __init__(
        self,
        namenodes: Sequence[tuple[str, int]],
        *,
        by_hostname: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._namenode = ActiveNameNode(namenodes, timeout_s)
        self._by_hostname = by_hostname
        self._datanodes = DataNodes(timeout_s)
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="checksum")

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Length, time and CRC of each file; None where there is no file.

        Raises:
            ChecksumUnavailable: No NameNode answers.
        """
        files = self.files(paths)
        crcs = self._crcs([file.wanted_blocks for file in files if isinstance(file, BlockedFile)])
        return [_checksum(file, crcs) for file in files]

    def codec(self, path: str) -> str | None:
        """A file's erasure codec: `rs`, `xor` and so on; empty: it has none; None: unknown."""
        with contextlib.suppress(ChecksumUnavailable):
            (file,) = self.files([path])
            if isinstance(file, BlockedFile):
                return file.codec
        return None

    def files(self, paths: Sequence[str]) -> list[BlockedFile | RemoteError | None]:
        """With their blocks; None where there is no file.

        Raises:
            ChecksumUnavailable: No NameNode answers.
        """
        try:
            statuses = files_with_blocks(self._namenode, paths)
        except NoActiveNameNode as error:
            raise ChecksumUnavailable(str(error)) from error
        return [blocked_file(status, by_hostname=self._by_hostname) for status in statuses]

    def close(self) -> None:
        self._namenode.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _crcs(self, files: Sequence[tuple[Block, ...]]) -> dict[bytes, BlockCrc]:
        """Of each block, by its request; blocks of a file at once, too.

        A DataNode combines the CRCs of 512 bytes each, which keeps a core busy for a while. So
        first comes one block of each file, then `WAVE` of each at a time, and after a failure no
        more of that file.
        """
        crcs: dict[bytes, BlockCrc] = {}
        wave = 1
        while files := [blocks for blocks in files if blocks]:
            wanted = [block for blocks in files for block in blocks[:wave]]
            if len(wanted) > 1:
                found = list(self._threads.map(self._crc, wanted))
            else:
                found = [self._crc(wanted[0])]
            crcs |= {block.request: crc for block, crc in zip(wanted, found, strict=True)}
            files = [
                blocks[wave:]
                for blocks in files
                if not any(isinstance(crcs[each.request], Exception) for each in blocks[:wave])
            ]
            wave = WAVE
        return crcs

    def _crc(self, block: Block) -> BlockCrc:
        try:
            return self._datanodes.crc(block)
        except ChecksumUnavailable as error:
            return error


def _checksum(
    file: BlockedFile | RemoteError | None, crcs: Mapping[bytes, BlockCrc]
) -> StoredChecksum | None:
    if file is None:
        return None
    if isinstance(file, RemoteError):
        return StoredChecksum(size_bytes=None, modified_ms=0, why=str(file))
    if file.is_encrypted:
        return StoredChecksum.of_ciphertext(file.size_bytes, file.modified_ms)
    try:
        checksum = file.checksum(crcs)
    except ChecksumUnavailable as error:
        return StoredChecksum(
            size_bytes=file.size_bytes, modified_ms=file.modified_ms, why=str(error)
        )
    return StoredChecksum(
        size_bytes=file.size_bytes,
        modified_ms=file.modified_ms,
        checksum=checksum,
        checksum_source=NAME,
    )


# ---------------------------------------------------------------- the NameNode's answer


def blocked_file(
    status: HdfsFileStatusProto | RemoteError | None, *, by_hostname: bool = False
) -> BlockedFile | RemoteError | None:
    """From the NameNode's listing."""
    if isinstance(status, RemoteError):
        return None if status.java == "FileNotFoundException" else status
    if status is None:
        return None
    located = status.locations
    policy = None
    for holder in (status, located):
        if holder.HasField("ecPolicy"):
            policy = holder.ecPolicy
    return BlockedFile(
        size_bytes=status.length,
        modified_ms=status.modification_time,
        blocks=tuple(_block(each, policy, by_hostname=by_hostname) for each in located.blocks),
        is_open=located.underConstruction,
        is_encrypted=any(each.HasField("fileEncryptionInfo") for each in (status, located)),
        codec=_codec(policy) if policy else "",
    )


def _codec(policy: ErasureCodingPolicyProto) -> str:
    """The policies that Hadoop brings have only a number here."""
    return text(policy.schema.codecName) or _CODECS.get(policy.id, "unknown")


def _block(
    block: LocatedBlockProto, policy: ErasureCodingPolicyProto | None, *, by_hostname: bool
) -> Block:
    header = BaseHeaderProto(block=block.b, token=block.blockToken)
    operation = _BLOCK_CHECKSUM
    request: OpBlockChecksumProto | OpBlockGroupChecksumProto = OpBlockChecksumProto(
        header=header, blockChecksumOptions=_OPTIONS
    )
    if policy is not None:
        operation = _BLOCK_GROUP_CHECKSUM
        request = OpBlockGroupChecksumProto(
            header=header,
            datanodes=DatanodeInfosProto(datanodes=block.locs),
            blockTokens=block.blockTokens or [_NO_TOKEN] * len(block.blockIndices),
            ecPolicy=policy,
            blockIndices=block.blockIndices,
            requestedNumBytes=block.b.numBytes,
            blockChecksumOptions=_OPTIONS,
        )
    return Block(
        request=struct.pack(">hb", _TRANSFER_VERSION, operation) + serialize([request]),
        offset=block.offset,
        size_bytes=block.b.numBytes,
        replicas=tuple(
            (text(each.id.hostName if by_hostname else each.id.ipAddr), each.id.xferPort)
            for each in block.locs
        ),
    )


# ---------------------------------------------------------------- the DataNodes


class DataNodes:
    """Requests CRCs of blocks; safe to use from several threads.

    A DataNode closes the connection after each BLOCK_CHECKSUM, so none is kept.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._avoided_until_s: dict[tuple[str, int], float] = {}

    def crc(self, block: Block) -> tuple[int, int]:
        """CRC type and CRC of one block, from the first replica that has it.

        Raises:
            ChecksumUnavailable: None has, each with its reason.
        """
        refusals = []
        for address in self.replicas(block):
            try:
                return crc_in(self._exchange(address, block.request))
            except (OSError, UnicodeError, MalformedResponse) as error:  # or its name is no host's
                refusals.append(f"DataNode {address[0]}:{address[1]}: {error}")
                with self._lock:
                    self._avoided_until_s[address] = time.monotonic() + AVOIDED_S
            except ChecksumUnavailable as error:
                refusals.append(f"DataNode {address[0]}:{address[1]}: {error}")
        raise ChecksumUnavailable("; ".join(refusals) or "a block without a replica")

    def replicas(self, block: Block) -> list[tuple[str, int]]:
        """Where the block is; those that did not answer lately come last."""
        now_s = time.monotonic()
        with self._lock:
            return sorted(
                block.replicas, key=lambda each: self._avoided_until_s.get(each, 0.0) > now_s
            )

    def _exchange(self, address: tuple[str, int], request: bytes) -> BlockOpResponseProto:
        """One response. Few calls into the kernel: after each a busy process waits for its turn."""
        with socket.create_connection(address, timeout=self._timeout_s) as connection:
            connection.sendall(request)
            data = b""
            while True:
                part = connection.recv(1 << 16)
                if not part:
                    raise ConnectionResetError("closed by the other side")
                data += part
                with contextlib.suppress(MalformedResponse):  # not all of it yet
                    return parse(BlockOpResponseProto, BytesIO(data))
                if len(data) > MAX_RESPONSE_BYTES:
                    raise MalformedResponse(f"a response of more than {MAX_RESPONSE_BYTES} B")


def crc_in(response: BlockOpResponseProto) -> tuple[int, int]:
    """CRC type and CRC.

    Raises:
        ChecksumUnavailable: The DataNode refuses, or knows no COMPOSITE_CRC.
    """
    if response.status != Status.SUCCESS:
        lines = text(response.message).splitlines()
        raise ChecksumUnavailable(f"status {response.status} {lines[0] if lines else ''}".rstrip())
    checksum = response.checksumResponse
    if checksum.blockChecksumOptions.blockChecksumType != COMPOSITE_CRC:
        raise ChecksumUnavailable("it knows no COMPOSITE_CRC")
    value = checksum.blockChecksum
    if len(value) != 4:  # noqa: PLR2004 - a CRC32
        raise ChecksumUnavailable(f"a CRC of {len(value)} B")
    return checksum.crcType, int.from_bytes(value, "big")
