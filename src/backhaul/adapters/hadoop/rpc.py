"""One question to a NameNode: which ways of authentication does it accept?

The first exchange of Hadoop's RPC, and nothing after it. The HDFS client takes whatever the server
offers, also no authentication at all, and hangs where it has nothing to offer itself; so this is
asked first, within a time limit that the client lacks.

Source: hadoop-common, RpcHeader.proto and Server.java (`initializeAuthContext`).
"""

from __future__ import annotations

import socket
import struct

from backhaul.adapters.hadoop.protobuf_wire import (
    Malformed,
    delimited,
    fields_of,
    many,
    number,
    octets,
    read_delimited,
)

SIMPLE = "SIMPLE"
KERBEROS = "KERBEROS"

_VERSION, _SERVICE_CLASS, _SASL = 9, 0, 0xDF  # 0xDF is -33
_MAX_BYTES = 64 * 1024
# RpcRequestHeaderProto: rpcKind 2, rpcOp 0, callId -33, clientId "", retryCount -1 (zigzag).
_HEADER = bytes((0x08, 2, 0x10, 0, 0x18, 65, 0x22, 0, 0x28, 1))
_NEGOTIATE = bytes((0x10, 1))  # RpcSaslProto: state NEGOTIATE
_SUCCESS = 0  # of RpcResponseHeaderProto.status and of RpcSaslProto.state
# Field numbers of RpcResponseHeaderProto, RpcSaslProto and RpcSaslProto.SaslAuth.
_RESPONSE_STATUS = 2
_SASL_STATE, _SASL_AUTHS = 2, 4
_AUTH_METHOD = 1


class HandshakeError(Exception):
    """It answered, but not as a NameNode does."""


def offered(host: str, port: int, timeout_s: float) -> frozenset[str]:
    """The authentication methods that the NameNode accepts: `SIMPLE`, `KERBEROS`, `TOKEN` ...

    Raises:
        OSError: No connection, or no answer in time.
        HandshakeError: What came back is no answer of a NameNode.
    """
    words = delimited(_HEADER) + delimited(_NEGOTIATE)
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
    try:
        header, at = read_delimited(answer, 0)
        if number(fields_of(header), _RESPONSE_STATUS, _SUCCESS) != _SUCCESS:
            raise HandshakeError("it refuses the handshake")
        sasl, _ = read_delimited(answer, at)
        said = fields_of(sasl)
        methods = {
            octets(fields_of(one), _AUTH_METHOD).decode("ascii", "replace")
            for one in many(said, _SASL_AUTHS)
        }
        # "Success" before anything was said: go on without authentication.
        if _SASL_STATE in said and number(said, _SASL_STATE) == _SUCCESS:
            methods.add(SIMPLE)
    except Malformed as error:
        raise HandshakeError(f"its answer is {error}") from error
    return frozenset(methods - {""})
