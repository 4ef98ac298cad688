"""Bytes that are no message of Hadoop's, and answers that do not tell a checksum."""

from __future__ import annotations

import random

import pytest

from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs_datanode import (
    ChecksumUnavailable,
    _Block,
    _crc_in,
    _DataNodes,
    _File,
    _file,
    why_not_here,
)
from backhaul.adapters.hadoop.namenode_rpc import RemoteError, user_information
from backhaul.adapters.hadoop.protobuf_wire import (
    Malformed,
    fields_of,
    many,
    message,
    number,
    octets,
    read_varint,
    varint,
    zigzag,
)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63, 2**64 - 1])
def test_numbers_come_back(value: int) -> None:
    assert read_varint(b"x" + varint(value), 1) == (value, 1 + len(varint(value)))


def test_signed_numbers_are_zigzag() -> None:
    assert [zigzag(value) for value in (0, -1, 1, -2, -3)] == [0, 1, 2, 3, 5]


def test_messages_come_back_with_unknown_fields() -> None:
    found = fields_of(message((1, 5), (2, "ä"), (2, b"b"), (99, 1)))
    assert (number(found, 1), number(found, 7, 9)) == (5, 9)
    assert (many(found, 2), octets(found, 2), octets(found, 8)) == (
        ["ä".encode(), b"b"],
        b"b",
        b"",
    )
    with pytest.raises(Malformed):
        number(found, 2)
    with pytest.raises(Malformed):
        octets(found, 1)
    with pytest.raises(Malformed):
        many(found, 1)


def test_noise_is_malformed_or_harmless_and_never_anything_else() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        noise = chance.randbytes(chance.randrange(40))
        for read in (_file, _crc_in):
            try:
                found = read(noise)
            except (Malformed, ChecksumUnavailable):
                continue
            assert found is None or isinstance(found, (_File, Malformed, tuple))


def test_users_are_those_of_hdfs_native() -> None:
    assert fields_of(user_information({"HADOOP_USER_NAME": "etl"})) == {1: [b"etl"]}
    proxied = user_information({"HADOOP_USER_NAME": "hdfs", "HADOOP_PROXY_USER": "etl"})
    assert fields_of(proxied) == {1: [b"etl"], 2: [b"hdfs"]}
    assert octets(fields_of(user_information({})), 1)


# ---------------------------------------------------------------- listings


def listing(*fields: tuple[int, int | bytes | str]) -> bytes:
    """Of one file of 9 B, with these fields more or instead."""
    status = message((1, 2), (2, b""), (3, 9), (7, 1), *fields)
    return message((1, message((1, status), (2, 0))))


@pytest.mark.parametrize(
    ("fields", "is_encrypted", "is_open"),
    [
        (((12, message((1, 9))), (15, b"zone")), True, False),
        (((12, message((1, 9), (6, b"zone"))),), True, False),
        (((12, message((1, 9), (3, 1))),), False, True),
        (((12, message((1, 9))),), False, False),
    ],
)
def test_file_whose_crcs_would_mislead_is_known(
    fields: tuple[tuple[int, bytes], ...], *, is_encrypted: bool, is_open: bool
) -> None:
    found = _file(listing(*fields))
    assert isinstance(found, _File)
    assert (found.is_encrypted, found.is_open) == (is_encrypted, is_open)
    assert (found.size_bytes, found.modified_ms) == (9, 1)


@pytest.mark.parametrize(
    ("policy", "codec"),
    [
        (message((4, 2)), "rs"),
        (message((4, 4)), "xor"),
        (message((4, 3)), "rs-legacy"),
        (message((4, 99)), "unknown"),
        (message((1, "own"), (2, message((1, "rs"), (2, 4), (3, 2))), (4, 64)), "rs"),
        (message((1, "own"), (2, message((1, "xor"))), (4, 65)), "xor"),
    ],
)
def test_the_codec_of_an_erasure_coded_file_is_known_by_number_or_by_name(
    policy: bytes, codec: str
) -> None:
    for fields in (((12, message((1, 9))), (17, policy)), ((12, message((1, 9), (7, policy))),)):
        found = _file(listing(*fields))
        assert isinstance(found, _File)
        assert found.codec == codec


def test_directories_and_refusals_are_told_apart() -> None:
    assert _file(b"") is None
    assert _file(message((1, b""))) is None
    assert _file(message((1, message((1, message((1, 2), (2, b"a"))))))) is None
    assert _file(RemoteError("java.io.FileNotFoundException", "no")) is None
    assert isinstance(_file(RemoteError("org.x.AccessControlException", "no")), RemoteError)


# ---------------------------------------------------------------- answers of DataNodes


def response(status: int = 0, *, mode: int | None = 2, crc: bytes = b"\x00\x00\x00\x07") -> bytes:
    options = () if mode is None else ((5, message((1, mode))),)
    checksum = message((1, 512), (2, 0), (3, crc), (4, 2), *options)
    return message((1, status), (3, checksum), (5, "why\nnot"))


def test_composite_answer_is_the_crc() -> None:
    assert _crc_in(response()) == (2, 7)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(1), "status 1 why"),
        (response(mode=1), "COMPOSITE_CRC"),
        (response(mode=None), "COMPOSITE_CRC"),
        (response(crc=b"0" * 16), "16 B"),
        (response(crc=b""), "0 B"),
    ],
)
def test_anything_else_is_not_told(answer: bytes, why: str) -> None:
    with pytest.raises(ChecksumUnavailable, match=why):
        _crc_in(answer)


# ---------------------------------------------------------------- the node's settings


def test_a_datanode_whose_name_is_no_host_s_does_not_answer() -> None:
    block = _Block(question=b"", offset=0, size_bytes=1, replicas=(("dn..example.com", 1),))
    with pytest.raises(ChecksumUnavailable, match=r"DataNode dn\.\.example\.com:1: "):
        _DataNodes(timeout_s=1).ask(block)


def test_namenodes_are_the_ones_of_the_settings() -> None:
    assert namenodes(HadoopConfiguration(), "hdfs://nn:9000") == [("nn", 9000)]
    assert namenodes(HadoopConfiguration(), "hdfs://nn") == [("nn", 8020)]
    pair = {
        "dfs.ha.namenodes.ns": "a, b,c",
        "dfs.namenode.rpc-address.ns.a": "one:9000",
        "dfs.namenode.rpc-address.ns.b": "two",
    }
    assert namenodes(HadoopConfiguration(values=pair), "hdfs://ns") == [
        ("one", 9000),
        ("two", 8020),
    ]


def test_secured_clusters_are_not_asked_directly() -> None:
    def why(**values: str) -> str:
        return why_not_here(HadoopConfiguration(values=values))

    assert why() == ""
    assert why(**{"hadoop.security.authentication": "Simple"}) == ""
    assert "Kerberos" in why(**{"hadoop.security.authentication": "kerberos"})
    assert "encrypts" in why(**{"dfs.encrypt.data.transfer": "TRUE"})
