"""One question to a NameNode: which ways of authentication does it accept?

The first exchange of Hadoop's RPC, and nothing after it. The HDFS client takes whatever the server
offers, also no authentication at all, and hangs where it has nothing to offer itself; so this is
asked first. Written by hand: two small protobuf messages, and a time limit that the client lacks.

Source: hadoop-common, RpcHeader.proto and Server.java (`initializeAuthContext`).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

SIMPLE = "SIMPLE"
KERBEROS = "KERBEROS"

_VERSION, _SERVICE_CLASS, _SASL = 9, 0, 0xDF  # 0xDF is -33
_MAX_BYTES = 64 * 1024
# RpcRequestHeaderProto: rpcKind 2, rpcOp 0, callId -33, clientId "", retryCount -1 (zigzag).
_HEADER = bytes((0x08, 2, 0x10, 0, 0x18, 65, 0x22, 0, 0x28, 1))
_NEGOTIATE = bytes((0x10, 1))  # RpcSaslProto: state NEGOTIATE
_STATUS_SUCCESS = 0
_STATE_SUCCESS = 0
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class HandshakeError(Exception):
    """It answered, but not as a NameNode does."""


def offered(host: str, port: int, timeout_s: float) -> frozenset[str]:
    """The authentication methods that the NameNode accepts: `SIMPLE`, `KERBEROS`, `TOKEN` ...

    Raises:
        OSError: No connection, or no answer in time.
        HandshakeError: What came back is no answer of a NameNode.
    """
    words = _delimited(_HEADER) + _delimited(_NEGOTIATE)
    hello = b"hrpc" + bytes((_VERSION, _SERVICE_CLASS, _SASL))
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.settimeout(timeout_s)
        connection.sendall(hello + struct.pack(">I", len(words)) + words)
        with connection.makefile("rb") as stream:
            (length,) = struct.unpack(">I", _exactly(stream.read(4), 4))
            if length > _MAX_BYTES:
                raise HandshakeError(f"an answer of {length} B")
            answer = _exactly(stream.read(length), length)
    return _methods(answer)


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise HandshakeError("it closed the connection")
    return data


def _methods(answer: bytes) -> frozenset[str]:
    header, rest = _take(answer)
    status = next((value for number, value in _fields(header) if number == 2), _STATUS_SUCCESS)  # noqa: PLR2004 - RpcResponseHeaderProto.status
    if status != _STATUS_SUCCESS:
        raise HandshakeError("it refuses the handshake")
    sasl, _ = _take(rest)
    methods, state = set(), None
    for number, value in _fields(sasl):
        if number == 2:  # noqa: PLR2004 - RpcSaslProto.state
            state = value
        elif number == 4 and isinstance(value, bytes):  # noqa: PLR2004 - RpcSaslProto.auths
            methods |= {
                name.decode("ascii", "replace")
                for field, name in _fields(value)
                if field == 1 and isinstance(name, bytes)
            }
    # "Success" before anything was said: go on without authentication.
    return frozenset(methods | ({SIMPLE} if state == _STATE_SUCCESS else set()))


# ---------------------------------------------------------------- protobuf, as far as needed


def _delimited(message: bytes) -> bytes:
    return bytes((len(message),)) + message  # both are far below 128 bytes


def _take(data: bytes) -> tuple[bytes, bytes]:
    """A length-delimited message, and what follows it."""
    length, at = _varint(data, 0)
    if at + length > len(data):
        raise HandshakeError("its answer is cut short")
    return data[at : at + length], data[at + length :]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:  # noqa: PLR2004 - ten groups of seven bits
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last group
            return value, at
    raise HandshakeError("its answer is no protobuf")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            length = 8 if kind == _FIXED64 else 4
        else:
            raise HandshakeError("its answer is no protobuf")
        if at + length > len(message):
            raise HandshakeError("its answer is cut short")
        yield number, message[at : at + length]
        at += length
