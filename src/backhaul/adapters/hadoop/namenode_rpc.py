"""Questions to a NameNode over Hadoop's own RPC: unsecured clusters, no JVM, bounded waits.

Only what hdfs-native does not offer: where the blocks of a file are (`hdfs_datanode`), and the end
of a file's lease (`hdfs_closing`).
Messages are read and written by field number, as `ClientNamenodeProtocol.proto`, `hdfs.proto` and
`RpcHeader.proto` of Hadoop 2.7 to 3.5 have them.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import BinaryIO

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
    zigzag,
)

RPC_VERSION = 9
MAX_ANSWER_BYTES = 64 << 20  # ipc.maximum.response.length is 128 MiB; ours are some KiB
PIPELINED = 64  # questions on the way at once; small enough to fit the buffers of both sockets

_PROTOCOL = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
_CONTEXT_CALL = -3
_NO_RETRY = -1
_IS_FILE = 2


_ELSEWHERE = {"StandbyException", "ObserverRetryOnActiveException", "RetriableException"}


class RemoteError(Exception):
    """The NameNode answered with a Java exception.

    Attributes:
        java: Its simple class name, such as `StandbyException`.
    """

    def __init__(self, java_class: str, message: str) -> None:
        self.java = java_class.rsplit(".", 1)[-1]
        super().__init__(f"{self.java}: {message.splitlines()[0] if message else ''}")


class NoNameNode(Exception):
    """None of them answers as the active one; the text says why, for each."""


# ---------------------------------------------------------------- the NameNode


class NameNode:
    """One connection to one NameNode, made when first needed and again after a failure.

    Not for several threads at once.
    """

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._connection: socket.socket | None = None
        # Buffered: one call into the kernel brings many answers.
        self._answers: BinaryIO | None = None
        self._client_id = os.urandom(16)
        self._calls = 0

    def ask(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
        """The answers in the order of the questions; several are on the way at a time.

        Raises:
            OSError: Not connected, no answer in time, or closed; nothing is known.
            Malformed: What came is no answer.
            RemoteError: The NameNode refused the connection itself.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            answers: list[bytes | RemoteError] = []
            for start in range(0, len(questions), PIPELINED):
                answers += self._exchange(method, questions[start : start + PIPELINED])
            return answers
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the connection; safe to repeat."""
        connection, self._connection = self._connection, None
        answers, self._answers = self._answers, None
        if answers is not None:
            answers.close()
        if connection is not None:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Service class 0, authentication "none": who we are is said, not proven.
        preamble = b"hrpc" + bytes((RPC_VERSION, 0, 0))
        context = message((2, user_information(os.environ)), (3, _PROTOCOL))
        connection.sendall(preamble + self._frame(_CONTEXT_CALL, delimited(context)))
        self._answers = connection.makefile("rb")
        return connection

    def _read(self, size: int) -> bytes:
        data = self._answers.read(size) if self._answers is not None else b""
        if len(data) < size:
            raise ConnectionResetError("closed by the other side")
        return data

    def _frame(self, call: int, payload: bytes) -> bytes:
        # Protocol buffers, the whole message, this call, this client, never retried.
        header = message((1, 2), (2, 0), (3, zigzag(call)), (4, self._client_id))
        header += message((5, zigzag(_NO_RETRY)))
        framed = delimited(header) + payload
        return struct.pack(">I", len(framed)) + framed

    def _exchange(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
        connection = self._connection
        assert connection is not None  # noqa: S101 - `ask` made it
        head = delimited(message((1, method), (2, _PROTOCOL), (3, 1)))
        numbers = range(self._calls, self._calls + len(questions))
        self._calls += len(questions)
        connection.sendall(
            b"".join(
                self._frame(call, head + delimited(question))
                for call, question in zip(numbers, questions, strict=True)
            )
        )
        answers: dict[int, bytes | RemoteError] = {}
        while len(answers) < len(questions):
            call, answer = self._answer()
            if call not in numbers:
                # Of no call: a refusal of the connection.
                raise answer if isinstance(answer, RemoteError) else Malformed("a stray answer")
            answers[call] = answer
        return [answers[call] for call in numbers]

    def _answer(self) -> tuple[int, bytes | RemoteError]:
        (size,) = struct.unpack(">I", self._read(4))
        if size > MAX_ANSWER_BYTES:
            raise Malformed(f"an answer of {size} B")
        data = self._read(size)
        raw, at = read_delimited(data, 0)
        header = fields_of(raw)
        call = number(header, 1)
        if number(header, 2) != 0:
            name = octets(header, 4).decode("utf-8", "replace")
            return call, RemoteError(name, octets(header, 5).decode("utf-8", "replace"))
        answer, _ = read_delimited(data, at)
        return call, answer


def file_question(path: str) -> bytes:
    """For `getListing`: of a file it tells the file, with its blocks.

    Unlike `getBlockLocations` it touches no access time.
    """
    return message((1, path), (2, b""), (3, 1))


def file_status(answer: bytes) -> Fields | None:
    """Its answer as `HdfsFileStatusProto`; None where no file is.

    Raises:
        Malformed: It is no such answer.
    """
    listing = octets(fields_of(answer), 1)
    if not listing:
        return None
    entries = many(fields_of(listing), 1)
    # A file lists as itself, with an empty name; entries with names are a directory's.
    if len(entries) != 1:
        return None
    status = fields_of(entries[0])
    return None if number(status, 1) != _IS_FILE or octets(status, 2) else status


class ActiveNameNode:
    """Whichever of a file system's NameNodes is active; safe to use from several threads."""

    def __init__(self, addresses: Sequence[tuple[str, int]], timeout_s: float) -> None:
        self._namenodes = [NameNode(address, timeout_s) for address in addresses]
        self._asking = threading.Lock()  # one connection, one conversation

    def ask(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
        """The answers in the order of the questions.

        Raises:
            NoNameNode: There is nobody to answer.
        """
        with self._asking:
            return self._ask(method, questions)

    def _ask(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
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
        raise NoNameNode("; ".join(refusals) or "no NameNode is configured")

    def close(self) -> None:
        """Forget the connections."""
        with self._asking:
            for namenode in self._namenodes:
                namenode.close()


def user_information(environment: Mapping[str, str]) -> bytes:
    """`UserInformationProto`: the names that hdfs-native gives, from the same variables."""
    real = environment.get("HADOOP_USER_NAME") or _system_user()
    proxied = environment.get("HADOOP_PROXY_USER")
    return message((1, proxied), (2, real)) if proxied else message((1, real))


def _system_user() -> str:
    import pwd  # noqa: PLC0415 - most set HADOOP_USER_NAME

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
