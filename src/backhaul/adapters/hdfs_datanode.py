"""What HDFS holds, told by the DataNodes themselves: no JVM, no byte of the file moved.

A DataNode keeps a CRC of every few hundred bytes beside each block, checked when they were
written. Asked for a COMPOSITE_CRC it combines them to the CRC of the whole block; the blocks'
combine to the file's, which equals the plain CRC of its bytes whatever its blocks and chunks are.

For unsecured clusters: neither SASL nor encryption is spoken here. What cannot be told is said
with its reason, never guessed; `hdfs_content` then asks another way.

Source: Hadoop's datatransfer.proto (OpBlockChecksumProto), HDFS-13056 (COMPOSITE_CRC).
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

from backhaul.adapters.hadoop_rpc import (
    Fields,
    Malformed,
    NameNode,
    RemoteError,
    delimited,
    fields_of,
    many,
    message,
    number,
    octets,
    read_varint,
    receive,
)
from backhaul.core.ports import Held

NAME = "datanode"
PARALLEL = 8  # questions to DataNodes at once
TIMEOUT_S = 10.0
AVOIDED_S = 60.0  # a DataNode that did not answer is asked last for this long
DEFAULT_NAMENODE_PORT = 8020
MAX_RESPONSE_BYTES = 1 << 20

_TRANSFER_VERSION = 28
_BLOCK_CHECKSUM = 85
_COMPOSITE_CRC = 2
_IS_FILE = 2
_CRC_TYPES: dict[int, tuple[str, Callable[[int, int, int], int]]] = {
    1: ("CRC32", checksums.combine_crc32),
    2: ("CRC32C", checksums.combine_crc32c),
}
_ELSEWHERE = {"StandbyException", "ObserverRetryOnActiveException", "RetriableException"}


class Untold(Exception):
    """The checksum cannot be had like this; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _File:
    size_bytes: int
    modified_ms: int
    blocks: tuple[bytes, ...]  # LocatedBlockProto
    why_not: str


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
        self._namenodes = [NameNode(address, timeout_s) for address in namenodes]
        self._asking = threading.Lock()  # one connection, one conversation
        self._datanodes = _DataNodes(by_hostname=by_hostname, timeout_s=timeout_s)

    def held(self, paths: Sequence[str]) -> list[Held | None]:
        """Length, time and CRC of each file; None where there is no file.

        Raises:
            Untold: No NameNode answers.
        """
        files = self._files(paths)
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="checksum") as threads:
            return list(threads.map(self._held, files))

    def close(self) -> None:
        for namenode in self._namenodes:
            namenode.close()
        self._datanodes.close()

    # ------------------------------------------------------------ the NameNode

    def _files(self, paths: Sequence[str]) -> list[_File | Exception | None]:
        # A listing of a file is the file; unlike getBlockLocations it touches no access time.
        questions = [message((1, path), (2, b""), (3, 1)) for path in paths]
        with self._asking:
            answers = self._ask_active("getListing", questions)
        return [_file(answer) for answer in answers]

    def _ask_active(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
        refusals = []
        for namenode in list(self._namenodes):
            try:
                answers = namenode.ask(method, questions)
            except (OSError, Malformed, RemoteError) as error:
                refusals.append(f"{namenode.address[0]}:{namenode.address[1]}: {error}")
                continue
            lost = [each for each in answers if isinstance(each, RemoteError)]
            if any(each.java in _ELSEWHERE for each in lost):
                refusals.append(f"{namenode.address[0]}:{namenode.address[1]}: {lost[0]}")
                continue
            self._namenodes.remove(namenode)
            self._namenodes.insert(0, namenode)  # asked first from now on
            return answers
        raise Untold("; ".join(refusals) or "no NameNode is configured")

    # ------------------------------------------------------------ the DataNodes

    def _held(self, file: _File | Exception | None) -> Held | None:
        if file is None:
            return None
        if isinstance(file, Exception):
            return Held(size_bytes=None, modified_ms=0, why=str(file))
        try:
            algorithm, crc = self._crc(file)
        except (Untold, Malformed) as error:
            return Held(size_bytes=file.size_bytes, modified_ms=file.modified_ms, why=str(error))
        return Held(
            size_bytes=file.size_bytes,
            modified_ms=file.modified_ms,
            algorithm=algorithm,
            checksum=f"{crc:08x}",
            asked=NAME,
        )

    def _crc(self, file: _File) -> tuple[str, int]:
        if file.why_not:
            raise Untold(file.why_not)
        kind: int | None = None
        whole = told = 0
        for raw in file.blocks:
            block = fields_of(raw)
            extended = fields_of(octets(block, 1))
            size = number(extended, 4)
            if number(block, 2) != told:
                raise Untold("the NameNode left a block out")
            found, crc = self._datanodes.ask(block)
            if found not in _CRC_TYPES:
                raise Untold(f"a block without CRCs (type {found})")
            if kind is not None and found != kind:
                raise Untold("blocks with CRCs of different types")
            kind = found
            whole = _CRC_TYPES[found][1](whole, crc, size)
            told += size
        if told != file.size_bytes:
            raise Untold(f"blocks of {told} B for a file of {file.size_bytes} B")
        # An empty file has no block to ask; either CRC of nothing is 0.
        return _CRC_TYPES[kind or 2][0], whole


def _file(answer: bytes | RemoteError) -> _File | Exception | None:
    """From `GetListingResponseProto`."""
    if isinstance(answer, RemoteError):
        if answer.java == "FileNotFoundException":
            return None
        return answer
    try:
        listing = octets(fields_of(answer), 1)
        if not listing:
            return None
        entries = many(fields_of(listing), 1)
        # A file lists as itself, with an empty name; entries with names are a directory's.
        if len(entries) != 1:
            return None
        status = fields_of(entries[0])
        if number(status, 1) != _IS_FILE or octets(status, 2):
            return None
        return _located(status)
    except Malformed as error:
        return error


def _located(status: Fields) -> _File:
    located = fields_of(octets(status, 12))
    why = ""
    if 15 in status or 6 in located:  # noqa: PLR2004 - field numbers
        why = "in an encryption zone: the CRCs there are of the ciphertext"
    elif 17 in status or 7 in located:  # noqa: PLR2004
        why = "erasure-coded: its blocks are groups"
    elif number(located, 3):
        why = "still open"
    return _File(
        size_bytes=number(status, 3),
        modified_ms=number(status, 7),
        blocks=tuple(many(located, 2)),
        why_not=why,
    )


class _DataNodes:
    """Connections to DataNodes, kept for the next question; safe to use from several threads."""

    def __init__(self, *, by_hostname: bool, timeout_s: float) -> None:
        self._by_hostname = by_hostname
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, int], list[socket.socket]] = {}
        self._avoided_until_s: dict[tuple[str, int], float] = {}

    def ask(self, block: Fields) -> tuple[int, int]:
        """CRC type and CRC of one block, from the first replica that answers.

        Raises:
            Untold: None does; each with its reason.
        """
        question = _question(block)
        refusals = []
        for address in self._replicas(block):
            try:
                return _crc_in(self._exchange(address, question))
            except (OSError, Malformed) as error:
                refusals.append(f"DataNode {address[0]}:{address[1]}: {error}")
                with self._lock:
                    self._avoided_until_s[address] = time.monotonic() + AVOIDED_S
            except Untold as error:
                refusals.append(f"DataNode {address[0]}:{address[1]}: {error}")
        raise Untold("; ".join(refusals) or "a block without a replica")

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _replicas(self, block: Fields) -> list[tuple[str, int]]:
        found = []
        for raw in many(block, 3):
            identity = fields_of(octets(fields_of(raw), 1))
            host = octets(identity, 2 if self._by_hostname else 1).decode("utf-8", "replace")
            found.append((host, number(identity, 4)))
        now_s = time.monotonic()
        with self._lock:
            return sorted(found, key=lambda each: self._avoided_until_s.get(each, 0.0) > now_s)

    def _exchange(self, address: tuple[str, int], question: bytes) -> bytes:
        """One answer; a kept connection may have been closed meanwhile, a new one may not."""
        while (kept := self._take(address)) is not None:
            with contextlib.suppress(OSError):
                return self._on(kept, address, question)
        connection = socket.create_connection(address, timeout=self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._on(connection, address, question)

    def _take(self, address: tuple[str, int]) -> socket.socket | None:
        with self._lock:
            idle = self._idle.get(address)
            return idle.pop() if idle else None

    def _on(self, connection: socket.socket, address: tuple[str, int], question: bytes) -> bytes:
        try:
            connection.sendall(question)
            answer = _receive_delimited(connection)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.setdefault(address, []).append(connection)
        return answer


def _question(block: Fields) -> bytes:
    """`OpBlockChecksumProto` for one located block, with its token as the NameNode gave it."""
    # An unsecured NameNode may leave the token out, which the DataNode wants to see, if empty.
    token = octets(block, 5) or message((1, b""), (2, b""), (3, b""), (4, b""))
    header = message((1, octets(block, 1)), (2, token))
    asked = message((1, header), (2, message((1, _COMPOSITE_CRC))))
    return struct.pack(">hb", _TRANSFER_VERSION, _BLOCK_CHECKSUM) + delimited(asked)


def _crc_in(answer: bytes) -> tuple[int, int]:
    """From `BlockOpResponseProto`."""
    response = fields_of(answer)
    if number(response, 1) != 0:
        said = octets(response, 5).decode("utf-8", "replace").splitlines()
        raise Untold(f"status {number(response, 1)} {said[0] if said else ''}".rstrip())
    checksum = fields_of(octets(response, 3))
    if number(fields_of(octets(checksum, 5)), 1, 1) != _COMPOSITE_CRC:
        raise Untold("it knows no COMPOSITE_CRC")
    value = octets(checksum, 3)
    if len(value) != 4:  # noqa: PLR2004 - a CRC32
        raise Untold(f"a CRC of {len(value)} B")
    return number(checksum, 4), int.from_bytes(value, "big")


def _receive_delimited(connection: socket.socket) -> bytes:
    head = b""
    while not head or head[-1] & 0x80:
        head += receive(connection, 1)
        if len(head) > 10:  # noqa: PLR2004 - the longest number
            raise Malformed("a length that does not end")
    size, _ = read_varint(head, 0)
    if size > MAX_RESPONSE_BYTES:
        raise Malformed(f"an answer of {size} B")
    return receive(connection, size)


# ---------------------------------------------------------------- from the node's own settings


def why_not_here(core: Mapping[str, str], hdfs: Mapping[str, str]) -> str:
    """Why DataNodes of a cluster with these settings cannot be asked directly; empty: can."""
    if core.get("hadoop.security.authentication", "simple").lower() != "simple":
        return "the cluster asks for Kerberos"
    if hdfs.get("dfs.encrypt.data.transfer", "false").lower() == "true":
        return "the cluster encrypts its data transfer"
    return ""


def namenode_addresses(filesystem: str, hdfs: Mapping[str, str]) -> list[tuple[str, int]]:
    """NameNodes of `hdfs://host:port`, or of `hdfs://nameservice` as hdfs-site.xml has them."""
    authority = filesystem.removeprefix("hdfs://")
    names = [
        name.strip()
        for name in hdfs.get(f"dfs.ha.namenodes.{authority}", "").split(",")
        if name.strip()
    ]
    if names:
        found = [hdfs.get(f"dfs.namenode.rpc-address.{authority}.{name}", "") for name in names]
        return [_address(each) for each in found if each]
    return [_address(authority)]


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, DEFAULT_NAMENODE_PORT
    return host.strip("[]"), int(port) if port.isdigit() else DEFAULT_NAMENODE_PORT
