"""What HDFS holds, told by the DataNodes themselves: no JVM, no byte of the file moved.

A DataNode keeps a CRC of every few hundred bytes beside each block, checked when they were
written. Asked for a COMPOSITE_CRC it combines them to the CRC of the whole block; the blocks'
combine to the file's, which equals the plain CRC of its bytes whatever its blocks and chunks are.
Of an erasure-coded file a block is a group over several DataNodes: one of them, whichever, asks the
others and makes the group's CRC, also where one of them is down.

For unsecured clusters: neither SASL nor encryption is spoken here. What cannot be told is said
with its reason, never guessed; `hdfs_content` then asks another way.

Source: Hadoop's datatransfer.proto (OpBlockChecksumProto, OpBlockGroupChecksumProto), HDFS-13056
(COMPOSITE_CRC).
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

from awscrt import checksums

from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.namenode_rpc import (
    ActiveNameNode,
    NoNameNode,
    RemoteError,
    file_question,
    file_status,
)
from backhaul.adapters.hadoop.protobuf_wire import (
    Fields,
    Malformed,
    delimited,
    fields_of,
    many,
    message,
    number,
    octets,
    read_delimited,
)
from backhaul.core.checksums import Checksum
from backhaul.core.ports import StoredChecksum

NAME = "datanode"
PARALLEL = 16  # questions to DataNodes at once
WAVE = 64  # blocks of one file, before it is looked whether any was told
TIMEOUT_S = 10.0
AVOIDED_S = 60.0  # a DataNode that did not answer is asked last for this long
MAX_RESPONSE_BYTES = 1 << 20

_TRANSFER_VERSION = 28
_BLOCK_CHECKSUM = 85
_BLOCK_GROUP_CHECKSUM = 90
_COMPOSITE_CRC = 2
_CRC_TYPES: dict[int, tuple[str, Callable[[int, int, int], int]]] = {
    1: ("CRC32", checksums.combine_crc32),
    2: ("CRC32C", checksums.combine_crc32c),
}
_Told = tuple[int, int] | Exception  # CRC type and CRC
_CODECS = {1: "rs", 2: "rs", 3: "rs-legacy", 4: "xor", 5: "rs"}
_NO_TOKEN = message((1, b""), (2, b""), (3, b""), (4, b""))


class ChecksumUnavailable(Exception):
    """The checksum cannot be had like this; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A located block, or a group of them.

    Attributes:
        question: As it goes to a DataNode.
        replicas: Who can be asked, in the NameNode's order.
    """

    question: bytes
    offset: int
    size_bytes: int
    replicas: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class _File:
    size_bytes: int
    modified_ms: int
    blocks: tuple[_Block, ...]
    is_open: bool
    is_encrypted: bool
    codec: str = ""


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
        self._datanodes = _DataNodes(timeout_s)
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="checksum")

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Length, time and CRC of each file; None where there is no file.

        Raises:
            Untold: No NameNode answers.
        """
        files = self._files(paths)
        told = self._told([_wanted(file) for file in files])
        return [self._held(file, told) for file in files]

    def codec(self, path: str) -> str | None:
        """How a file is erasure-coded: `rs`, `xor` and so on; empty: it is not; None: not known."""
        with contextlib.suppress(ChecksumUnavailable):
            (file,) = self._files([path])
            if isinstance(file, _File):
                return file.codec
        return None

    def close(self) -> None:
        self._namenode.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    # ------------------------------------------------------------ the NameNode

    def _files(self, paths: Sequence[str]) -> list[_File | Exception | None]:
        answers = self._ask_active("getListing", [file_question(path) for path in paths])
        return [_file(answer, by_hostname=self._by_hostname) for answer in answers]

    def _ask_active(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
        try:
            return self._namenode.ask(method, questions)
        except NoNameNode as error:
            raise ChecksumUnavailable(str(error)) from error

    # ------------------------------------------------------------ the DataNodes

    def _told(self, files: Sequence[tuple[_Block, ...]]) -> dict[bytes, _Told]:
        """The answer for each block, or why there is none; blocks of a file at once, too.

        A DataNode combines the CRCs of 512 bytes each, which keeps a core busy for a while. Of a
        file some of whose blocks nobody tells, the rest is not asked for: first comes one of each
        file, then `WAVE` of each at a time.
        """
        told: dict[bytes, _Told] = {}
        wave = 1
        while files := [blocks for blocks in files if blocks]:
            asked = [block for blocks in files for block in blocks[:wave]]
            if len(asked) > 1:
                answers = list(self._threads.map(self._ask, asked))
            else:
                answers = [self._ask(asked[0])]
            told |= {block.question: one for block, one in zip(asked, answers, strict=True)}
            files = [
                blocks[wave:]
                for blocks in files
                if not any(isinstance(told[one.question], Exception) for one in blocks[:wave])
            ]
            wave = WAVE
        return told

    def _ask(self, block: _Block) -> _Told:
        try:
            return self._datanodes.ask(block)
        except (ChecksumUnavailable, Malformed) as error:
            return error

    def _held(
        self, file: _File | Exception | None, told: Mapping[bytes, _Told]
    ) -> StoredChecksum | None:
        if file is None:
            return None
        if isinstance(file, Exception):
            return StoredChecksum(size_bytes=None, modified_ms=0, why=str(file))
        if file.is_encrypted:
            return StoredChecksum.of_ciphertext(file.size_bytes, file.modified_ms)
        try:
            algorithm, crc = _crc(file, told)
        except (ChecksumUnavailable, Malformed) as error:
            return StoredChecksum(
                size_bytes=file.size_bytes, modified_ms=file.modified_ms, why=str(error)
            )
        return StoredChecksum(
            size_bytes=file.size_bytes,
            modified_ms=file.modified_ms,
            checksum=Checksum(algorithm, f"{crc:08x}"),
            checksum_source=NAME,
        )


def _wanted(file: _File | Exception | None) -> tuple[_Block, ...]:
    """What its DataNodes are asked; nothing where that would be no answer."""
    if not isinstance(file, _File) or file.is_open or file.is_encrypted:
        return ()
    return file.blocks


def _crc(file: _File, answers: Mapping[bytes, _Told]) -> tuple[str, int]:
    if file.is_open:
        raise ChecksumUnavailable("still open")
    kind: int | None = None
    whole = told = 0
    for block in file.blocks:
        if block.offset != told:
            raise ChecksumUnavailable("the NameNode left a block out")
        answer = answers[block.question]
        if isinstance(answer, Exception):
            raise answer
        found, crc = answer
        if found not in _CRC_TYPES:
            raise ChecksumUnavailable(f"a block without CRCs (type {found})")
        if kind is not None and found != kind:
            raise ChecksumUnavailable("blocks with CRCs of different types")
        kind = found
        whole = _CRC_TYPES[found][1](whole, crc, block.size_bytes)
        told += block.size_bytes
    if told != file.size_bytes:
        raise ChecksumUnavailable(f"blocks of {told} B for a file of {file.size_bytes} B")
    # An empty file has no block to ask; either CRC of nothing is 0.
    return _CRC_TYPES[kind or 2][0], whole


def _file(answer: bytes | RemoteError, *, by_hostname: bool = False) -> _File | Exception | None:
    """From `GetListingResponseProto`."""
    if isinstance(answer, RemoteError):
        if answer.java == "FileNotFoundException":
            return None
        return answer
    try:
        status = file_status(answer)
        return None if status is None else _located(status, by_hostname=by_hostname)
    except Malformed as error:
        return error


def _located(status: Fields, *, by_hostname: bool) -> _File:
    """From `HdfsFileStatusProto`."""
    located = fields_of(octets(status, 12))
    policy = octets(located, 7) or octets(status, 17)
    return _File(
        size_bytes=number(status, 3),
        modified_ms=number(status, 7),
        blocks=tuple(_block(fields_of(raw), policy, by_hostname) for raw in many(located, 2)),
        is_open=bool(number(located, 3)),
        is_encrypted=15 in status or 6 in located,  # noqa: PLR2004 - field numbers
        codec=_codec(fields_of(policy)) if policy else "",
    )


def _codec(policy: Fields) -> str:
    """From `ErasureCodingPolicyProto`; the policies that Hadoop brings have a number there only."""
    named = octets(fields_of(octets(policy, 2)), 1).decode("utf-8", "replace")
    return named or _CODECS.get(number(policy, 4), "unknown")


def _block(block: Fields, policy: bytes, by_hostname: bool) -> _Block:  # noqa: FBT001 - one caller
    """From `LocatedBlockProto`.

    Args:
        policy: Of an erasure-coded file, as the NameNode gave it; else empty.
    """
    replicas = []
    for raw in many(block, 3):
        identity = fields_of(octets(fields_of(raw), 1))
        host = octets(identity, 2 if by_hostname else 1).decode("utf-8", "replace")
        replicas.append((host, number(identity, 4)))
    # An unsecured NameNode may leave the token out, which the DataNode wants to see, if empty.
    token = octets(block, 5) or _NO_TOKEN
    header = message((1, octets(block, 1)), (2, token))
    mode = message((1, _COMPOSITE_CRC))
    size_bytes = number(fields_of(octets(block, 1)), 4)
    operation, asked = _BLOCK_CHECKSUM, message((1, header), (2, mode))
    if policy:
        members = message(*((1, member) for member in many(block, 3)))
        indices = octets(block, 9)
        tokens = many(block, 10) or [_NO_TOKEN] * len(indices)
        operation = _BLOCK_GROUP_CHECKSUM
        asked = message(
            *((1, header), (2, members)),
            *((3, each) for each in tokens),
            (4, policy),
            *((5, index) for index in indices),
            *((6, size_bytes), (7, mode)),
        )
    return _Block(
        question=struct.pack(">hb", _TRANSFER_VERSION, operation) + delimited(asked),
        offset=number(block, 2),
        size_bytes=size_bytes,
        replicas=tuple(replicas),
    )


class _DataNodes:
    """Asks DataNodes; safe to use from several threads.

    A DataNode closes the connection after each BLOCK_CHECKSUM, so none is kept.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._avoided_until_s: dict[tuple[str, int], float] = {}

    def ask(self, block: _Block) -> tuple[int, int]:
        """CRC type and CRC of one block, from the first replica that answers.

        Raises:
            Untold: None does; each with its reason.
        """
        refusals = []
        for address in self.replicas(block):
            try:
                return _crc_in(self._exchange(address, block.question))
            except (OSError, UnicodeError, Malformed) as error:  # or its name is no host's
                refusals.append(f"DataNode {address[0]}:{address[1]}: {error}")
                with self._lock:
                    self._avoided_until_s[address] = time.monotonic() + AVOIDED_S
            except ChecksumUnavailable as error:
                refusals.append(f"DataNode {address[0]}:{address[1]}: {error}")
        raise ChecksumUnavailable("; ".join(refusals) or "a block without a replica")

    def replicas(self, block: _Block) -> list[tuple[str, int]]:
        """Where the block is; who did not answer lately comes last."""
        now_s = time.monotonic()
        with self._lock:
            return sorted(
                block.replicas, key=lambda each: self._avoided_until_s.get(each, 0.0) > now_s
            )

    def _exchange(self, address: tuple[str, int], question: bytes) -> bytes:
        """One answer. Few calls into the kernel: after each a busy process waits for its turn."""
        with socket.create_connection(address, timeout=self._timeout_s) as connection:
            connection.sendall(question)
            data = b""
            while True:
                part = connection.recv(1 << 16)
                if not part:
                    raise ConnectionResetError("closed by the other side")
                data += part
                with contextlib.suppress(Malformed):  # not all of it yet
                    return read_delimited(data, 0)[0]
                if len(data) > MAX_RESPONSE_BYTES:
                    raise Malformed(f"an answer of more than {MAX_RESPONSE_BYTES} B")


def _crc_in(answer: bytes) -> tuple[int, int]:
    """From `BlockOpResponseProto`."""
    response = fields_of(answer)
    if number(response, 1) != 0:
        said = octets(response, 5).decode("utf-8", "replace").splitlines()
        raise ChecksumUnavailable(
            f"status {number(response, 1)} {said[0] if said else ''}".rstrip()
        )
    checksum = fields_of(octets(response, 3))
    if number(fields_of(octets(checksum, 5)), 1, 1) != _COMPOSITE_CRC:
        raise ChecksumUnavailable("it knows no COMPOSITE_CRC")
    value = octets(checksum, 3)
    if len(value) != 4:  # noqa: PLR2004 - a CRC32
        raise ChecksumUnavailable(f"a CRC of {len(value)} B")
    return number(checksum, 4), int.from_bytes(value, "big")


# ---------------------------------------------------------------- from the node's own settings


def why_not_here(configuration: HadoopConfiguration) -> str:
    """Why DataNodes of a cluster with these settings cannot be asked directly; empty: can."""
    if demands_kerberos(configuration):
        return "the cluster asks for Kerberos"
    if configuration.get_boolean("dfs.encrypt.data.transfer"):
        return "the cluster encrypts its data transfer"
    return ""
