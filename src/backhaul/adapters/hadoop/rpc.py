"""Hadoop's RPC to NameNodes: without a JVM, with bounded waits, for clusters without Kerberos.

Only for what hdfs-native lacks: accepted authentication methods, a file's blocks, the end of a
lease, write access, and policies of directories.

    connection: "hrpc", version 9, service class 0, authentication (0 none, -33 SASL), then frames
    frame:      length in 4 bytes, RpcRequestHeaderProto, then the messages of the call
    response:   length in 4 bytes, RpcResponseHeaderProto, then the message unless the call failed

Each message has its length before it. Source: Hadoop 2.7 to 3.5, RpcHeader.proto and Server.java
(`initializeAuthContext`).
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import BinaryIO, TypeVar, cast

from google.protobuf.message import DecodeError, Message
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from backhaul.adapters.hadoop.protocol.common_pb2 import (
    IpcConnectionContextProto,
    RequestHeaderProto,
    RpcKindProto,
    RpcRequestHeaderProto,
    RpcResponseHeaderProto,
    RpcSaslProto,
    UserInformationProto,
)

SIMPLE = "SIMPLE"
KERBEROS = "KERBEROS"
MAX_RESPONSE_BYTES = 64 << 20  # ipc.maximum.response.length is 128 MiB; ours are some KiB
PIPELINED = 64  # unanswered calls at once; few enough to fit the buffers of both sockets

_MAX_HANDSHAKE_BYTES = 64 * 1024
_VERSION, _SERVICE_CLASS = 9, 0
_NO_AUTHENTICATION, _SASL = 0, 0xDF  # 0xDF is -33
_CONTEXT_CALL, _SASL_CALL = -3, -33
_CLIENT_PROTOCOL = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
_NOT_ACTIVE = {"StandbyException", "ObserverRetryOnActiveException", "RetriableException"}

MessageT = TypeVar("MessageT", bound=Message)


class MalformedResponse(Exception):
    """The bytes are not the expected message."""


class RemoteError(Exception):
    """The NameNode answered with a Java exception.

    Attributes:
        java: Its simple class name, such as `StandbyException`.
    """

    def __init__(self, java_class: str, message: str) -> None:
        self.java = java_class.rsplit(".", 1)[-1]
        super().__init__(f"{self.java}: {message.splitlines()[0] if message else ''}")


class NoActiveNameNode(Exception):
    """No NameNode answers as the active one; the text has the reason of each."""


# ---------------------------------------------------------------- messages


def serialize(messages: Iterable[Message]) -> bytes:
    """Each message with its length before it."""
    output = BytesIO()
    for message in messages:
        serialize_length_prefixed(message, output)
    return output.getvalue()


def parse(kind: type[MessageT], stream: BytesIO) -> MessageT:
    """The next message of a stream of `serialize`.

    Raises:
        MalformedResponse: Cut off, not of this kind, or without a required field.
    """
    try:
        message = cast("MessageT | None", parse_length_prefixed(kind, stream))
    except (DecodeError, EOFError, ValueError) as error:
        raise MalformedResponse(f"not a {kind.__name__}: {error}") from error
    if message is None or not message.IsInitialized():
        raise MalformedResponse(f"an incomplete {kind.__name__}")
    return message


def text(value: str | bytes) -> str:
    """A text field; the library returns bytes where they are not UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _preamble(authentication: int) -> bytes:
    return b"hrpc" + bytes((_VERSION, _SERVICE_CLASS, authentication))


def _frame(call: int, client_id: bytes, *messages: Message) -> bytes:
    header = RpcRequestHeaderProto(
        rpcKind=RpcKindProto.RPC_PROTOCOL_BUFFER,
        rpcOp=RpcRequestHeaderProto.RPC_FINAL_PACKET,
        callId=call,
        clientId=client_id,
        retryCount=-1,
    )
    framed = serialize([header, *messages])
    return struct.pack(">I", len(framed)) + framed


def _receive(stream: BinaryIO, max_bytes: int) -> BytesIO:
    """The next frame, without its length."""
    (size,) = struct.unpack(">I", _exactly(stream, 4))
    if size > max_bytes:
        raise MalformedResponse(f"a response of {size} B")
    return BytesIO(_exactly(stream, size))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise MalformedResponse("it closed the connection")
    return data


# ---------------------------------------------------------------- authentication


def authentication_methods(host: str, port: int, timeout_s: float) -> frozenset[str]:
    """The methods that the NameNode accepts: `SIMPLE`, `KERBEROS`, `TOKEN` ...

    The first exchange of a connection, and nothing after it. hdfs-native takes whatever the server
    offers, also no authentication at all, and hangs without credentials to offer itself.

    Raises:
        OSError: No connection, or no answer in time.
        MalformedResponse: The answer is not a NameNode's.
    """
    negotiate = RpcSaslProto(state=RpcSaslProto.NEGOTIATE)
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.sendall(_preamble(_SASL) + _frame(_SASL_CALL, b"", negotiate))
        with connection.makefile("rb") as stream:
            return _methods_in(_receive(stream, _MAX_HANDSHAKE_BYTES))


def _methods_in(response: BytesIO) -> frozenset[str]:
    header = parse(RpcResponseHeaderProto, response)
    if header.status != RpcResponseHeaderProto.SUCCESS:
        raise MalformedResponse("it refuses the handshake")
    sasl = parse(RpcSaslProto, response)
    methods = {text(each.method) for each in sasl.auths}
    if sasl.state == RpcSaslProto.SUCCESS:  # without any exchange: no authentication
        methods.add(SIMPLE)
    return frozenset(methods - {""})


# ---------------------------------------------------------------- calls


class NameNode:
    """One connection to one NameNode, made when first needed and again after a failure.

    Not for several threads at once.
    """

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._connection: socket.socket | None = None
        # Buffered: one call into the kernel brings many responses.
        self._responses: BinaryIO | None = None
        self._client_id = os.urandom(16)
        self._calls = 0

    def call(
        self, method: str, requests: Sequence[Message], kind: type[MessageT]
    ) -> list[MessageT | RemoteError]:
        """Responses in the order of the requests; `PIPELINED` of them are under way at a time.

        Raises:
            OSError: Not connected, or no answer in time; the outcome is unknown.
            MalformedResponse: The connection was closed, or the response is not of this kind.
            RemoteError: The NameNode refused the connection itself.
        """
        try:
            responses: list[MessageT | RemoteError] = []
            for start in range(0, len(requests), PIPELINED):
                responses += self._exchange(method, requests[start : start + PIPELINED], kind)
            return responses
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the connection; safe to repeat."""
        connection, self._connection = self._connection, None
        responses, self._responses = self._responses, None
        if responses is not None:
            responses.close()
        if connection is not None:
            connection.close()

    def _connected(self) -> tuple[socket.socket, BinaryIO]:
        if self._connection is None or self._responses is None:
            connection = socket.create_connection(self.address, timeout=self._timeout_s)
            self._connection, self._responses = connection, connection.makefile("rb")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = IpcConnectionContextProto(
                userInfo=user_information(os.environ), protocol=_CLIENT_PROTOCOL
            )
            frame = _frame(_CONTEXT_CALL, self._client_id, context)
            connection.sendall(_preamble(_NO_AUTHENTICATION) + frame)
        return self._connection, self._responses

    def _exchange(
        self, method: str, requests: Sequence[Message], kind: type[MessageT]
    ) -> list[MessageT | RemoteError]:
        connection, stream = self._connected()
        header = RequestHeaderProto(
            methodName=method, declaringClassProtocolName=_CLIENT_PROTOCOL, clientProtocolVersion=1
        )
        calls = range(self._calls, self._calls + len(requests))
        self._calls += len(requests)
        connection.sendall(
            b"".join(
                _frame(call, self._client_id, header, request)
                for call, request in zip(calls, requests, strict=True)
            )
        )
        responses: dict[int, MessageT | RemoteError] = {}
        while len(responses) < len(requests):
            call, response = _response(_receive(stream, MAX_RESPONSE_BYTES), kind)
            if call not in calls:  # of no call: a refusal of the connection
                if isinstance(response, RemoteError):
                    raise response
                raise MalformedResponse("a response to no call")
            responses[call] = response
        return [responses[call] for call in calls]


def _response(frame: BytesIO, kind: type[MessageT]) -> tuple[int, MessageT | RemoteError]:
    header = parse(RpcResponseHeaderProto, frame)
    if header.status != RpcResponseHeaderProto.SUCCESS:
        error = RemoteError(text(header.exceptionClassName), text(header.errorMsg))
        return header.callId, error
    return header.callId, parse(kind, frame)


class ActiveNameNode:
    """The active one of a file system's NameNodes; safe to use from several threads."""

    def __init__(self, addresses: Sequence[tuple[str, int]], timeout_s: float) -> None:
        self._namenodes = [NameNode(address, timeout_s) for address in addresses]
        self._calling = threading.Lock()  # the responses of one connection belong to one caller

    def call(
        self, method: str, requests: Sequence[Message], kind: type[MessageT]
    ) -> list[MessageT | RemoteError]:
        """Responses in the order of the requests.

        Raises:
            NoActiveNameNode: No NameNode answers as the active one.
        """
        refusals = []
        with self._calling:
            for namenode in list(self._namenodes):
                try:
                    responses = namenode.call(method, requests, kind)
                except (OSError, MalformedResponse, RemoteError) as error:
                    refusals.append(f"{namenode.address[0]}:{namenode.address[1]}: {error}")
                    continue
                errors = [each for each in responses if isinstance(each, RemoteError)]
                if any(each.java in _NOT_ACTIVE for each in errors):
                    refusals.append(f"{namenode.address[0]}:{namenode.address[1]}: {errors[0]}")
                    continue
                self._namenodes.remove(namenode)
                self._namenodes.insert(0, namenode)  # tried first from now on
                return responses
            raise NoActiveNameNode("; ".join(refusals) or "no NameNode is configured")

    def call_one(self, method: str, request: Message, kind: type[MessageT]) -> MessageT:
        """The response to one request.

        Raises:
            NoActiveNameNode: As `call`.
            RemoteError: The NameNode refuses it.
        """
        (response,) = self.call(method, [request], kind)
        if isinstance(response, RemoteError):
            raise response
        return response

    def close(self) -> None:
        """Forget the connections."""
        with self._calling:
            for namenode in self._namenodes:
                namenode.close()


def user_information(environment: Mapping[str, str]) -> UserInformationProto:
    """The user names that hdfs-native sends, from the same variables."""
    real = environment.get("HADOOP_USER_NAME") or _system_user()
    if proxied := environment.get("HADOOP_PROXY_USER"):
        return UserInformationProto(effectiveUser=proxied, realUser=real)
    return UserInformationProto(effectiveUser=real)


def _system_user() -> str:
    import pwd  # noqa: PLC0415 - most set HADOOP_USER_NAME

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
