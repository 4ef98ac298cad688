"""Protocol buffers without generated classes: messages are read and written by field number.

Hadoop's few messages that Backhaul speaks itself (`namenode_rpc`, `hadoop_rpc`, `hdfs_datanode`)
have two to five fields; the protobuf library would want their schemas compiled and shipped.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_ONE_BYTE = [bytes((value,)) for value in range(0x80)]

Fields = dict[int, list["int | bytes"]]


class Malformed(Exception):
    """Bytes that are no message."""


def varint(value: int) -> bytes:
    """An unsigned number; negative ones as 64 bits, as int32 and int64 fields have them."""
    if 0 <= value < 0x80:  # noqa: PLR2004 - seven bits a byte
        return _ONE_BYTE[value]
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """How sint32 fields carry a signed number."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """(field number, value) pairs as one message."""
    out = []
    for number, value in fields:
        if isinstance(value, int):
            out += [varint(number << 3 | _VARINT), varint(value)]
        else:
            data = value.encode("utf-8") if isinstance(value, str) else value
            out += [varint(number << 3 | _BYTES), varint(len(data)), data]
    return b"".join(out)


def delimited(data: bytes) -> bytes:
    """A message with its length before it."""
    return varint(len(data)) + data


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at an offset and the offset behind it."""
    if at < len(data) and data[at] < 0x80:  # noqa: PLR2004 - one byte, as nearly all are
        return data[at], at + 1
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:  # noqa: PLR2004 - ten bytes at most
            raise Malformed("a number that does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no high bit
            return value, at
        shift += 7


def read_delimited(data: bytes, at: int) -> tuple[bytes, int]:
    """The message at an offset and the offset behind it."""
    size, at = read_varint(data, at)
    if at + size > len(data):
        raise Malformed("a message that is cut off")
    return data[at : at + size], at + size


def fields_of(data: bytes) -> Fields:
    """Field number to its values in order; unknown fields are kept and harm nobody."""
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = read_varint(data, at)
        elif kind == _BYTES:
            value, at = read_delimited(data, at)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
            if at + size > len(data):
                raise Malformed("a message that is cut off")
            value, at = data[at : at + size], at + size
        else:
            raise Malformed(f"wire type {kind}")
        name = tag >> 3
        if name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    return found


def number(fields: Fields, name: int, default: int = 0) -> int:
    """The last value of a numeric field."""
    value = fields[name][-1] if name in fields else default
    if not isinstance(value, int):
        raise Malformed(f"field {name} is no number")
    return value


def octets(fields: Fields, name: int) -> bytes:
    """The last value of a text, bytes or message field; empty where it is not there."""
    value = fields[name][-1] if name in fields else b""
    if not isinstance(value, bytes):
        raise Malformed(f"field {name} is no text")
    return value


def many(fields: Fields, name: int) -> list[bytes]:
    """All values of a repeated text, bytes or message field."""
    values = [value for value in fields.get(name, ()) if isinstance(value, bytes)]
    if len(values) != len(fields.get(name, ())):
        raise Malformed(f"field {name} is no text")
    return values
