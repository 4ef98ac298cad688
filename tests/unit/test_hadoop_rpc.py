"""Bytes that are not Hadoop's messages, and answers without a checksum."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO

import pytest

from backhaul.adapters.hadoop.configuration.filesystems import namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.datanode_checksums import (
    Block,
    BlockedFile,
    ChecksumUnavailable,
    DataNodes,
    blocked_file,
    crc_in,
)
from backhaul.adapters.hadoop.hdfs.file_status import listed_file
from backhaul.adapters.hadoop.protocol.common_pb2 import (
    RpcResponseHeaderProto,
    TokenProto,
    UserInformationProto,
)
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    COMPOSITE_CRC,
    MD5CRC,
    BlockChecksumOptionsProto,
    BlockOpResponseProto,
    DatanodeIDProto,
    DatanodeInfoProto,
    DirectoryListingProto,
    ECSchemaProto,
    ErasureCodingPolicyProto,
    ExtendedBlockProto,
    FileEncryptionInfoProto,
    GetListingResponseProto,
    HdfsFileStatusProto,
    LocatedBlockProto,
    LocatedBlocksProto,
    OpBlockChecksumResponseProto,
    OpBlockGroupChecksumProto,
)
from backhaul.adapters.hadoop.rpc import (
    MalformedResponse,
    RemoteError,
    parse,
    serialize,
    text,
    user_information,
)

# ---------------------------------------------------------------- messages


def test_messages_come_back_in_their_order() -> None:
    users = [UserInformationProto(effectiveUser=name) for name in ("etl", "", "ünïcode" * 50)]
    stream = BytesIO(serialize(users))
    assert [parse(UserInformationProto, stream) for _ in users] == users
    with pytest.raises(MalformedResponse, match="incomplete"):
        parse(UserInformationProto, stream)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\x08\x01",  # cut off
        b"\xff" * 11,  # a length that does not end
        b"\x02\x08\x01",  # without the required status
        b"\x02\x0b\x01",  # no wire type
    ],
)
def test_other_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedResponse):
        parse(RpcResponseHeaderProto, BytesIO(data))


def test_text_that_is_not_utf_8_is_shown_as_far_as_it_goes() -> None:
    broken = UserInformationProto.FromString(b"\x0a\x02a\xff")
    assert text(broken.effectiveUser) == "a\N{REPLACEMENT CHARACTER}"


def test_noise_is_malformed_or_harmless_and_never_anything_else() -> None:
    def file_of(stream: BytesIO) -> object:
        return blocked_file(listed_file(parse(GetListingResponseProto, stream)))

    def crc_of(stream: BytesIO) -> object:
        return crc_in(parse(BlockOpResponseProto, stream))

    readers: tuple[Callable[[BytesIO], object], ...] = (file_of, crc_of)
    chance = random.Random(5)
    for _ in range(2000):
        noise = chance.randbytes(chance.randrange(40))
        for read in readers:
            try:
                found = read(BytesIO(bytes([len(noise)]) + noise))
            except (MalformedResponse, ChecksumUnavailable):
                continue
            assert found is None or isinstance(found, (BlockedFile, tuple))


def test_users_are_those_of_hdfs_native() -> None:
    only = user_information({"HADOOP_USER_NAME": "etl"})
    assert only == UserInformationProto(effectiveUser="etl")
    proxied = user_information({"HADOOP_USER_NAME": "hdfs", "HADOOP_PROXY_USER": "etl"})
    assert proxied == UserInformationProto(effectiveUser="etl", realUser="hdfs")
    assert user_information({}).effectiveUser


# ---------------------------------------------------------------- listings

ZONE = FileEncryptionInfoProto()


def status(
    *,
    encryption: FileEncryptionInfoProto | None = None,
    policy: ErasureCodingPolicyProto | None = None,
    located: LocatedBlocksProto | None = None,
    path: bytes = b"",
) -> HdfsFileStatusProto:
    """Of one file of 9 B."""
    return HdfsFileStatusProto(
        fileType=HdfsFileStatusProto.IS_FILE,
        path=path,
        length=9,
        group="etl",
        modification_time=1,
        locations=located or LocatedBlocksProto(fileLength=9),
        fileEncryptionInfo=encryption,
        ecPolicy=policy,
    )


@pytest.mark.parametrize(
    ("found", "is_encrypted", "is_open"),
    [
        (status(encryption=ZONE), True, False),
        (status(located=LocatedBlocksProto(fileEncryptionInfo=ZONE)), True, False),
        (status(located=LocatedBlocksProto(underConstruction=True)), False, True),
        (status(), False, False),
    ],
)
def test_file_whose_crcs_would_mislead_is_known(
    found: HdfsFileStatusProto, *, is_encrypted: bool, is_open: bool
) -> None:
    file = blocked_file(found)
    assert isinstance(file, BlockedFile)
    assert (file.is_encrypted, file.is_open) == (is_encrypted, is_open)
    assert (file.size_bytes, file.modified_ms) == (9, 1)


@pytest.mark.parametrize(
    ("policy", "codec"),
    [
        (ErasureCodingPolicyProto(id=2), "rs"),
        (ErasureCodingPolicyProto(id=4), "xor"),
        (ErasureCodingPolicyProto(id=3), "rs-legacy"),
        (ErasureCodingPolicyProto(id=99), "unknown"),
        (ErasureCodingPolicyProto(id=64, name="own", schema=ECSchemaProto(codecName="rs")), "rs"),
        (ErasureCodingPolicyProto(id=65, name="own", schema=ECSchemaProto(codecName="xor")), "xor"),
    ],
)
def test_the_codec_of_an_erasure_coded_file_is_known_by_number_or_by_name(
    policy: ErasureCodingPolicyProto, codec: str
) -> None:
    for found in (status(policy=policy), status(located=LocatedBlocksProto(ecPolicy=policy))):
        file = blocked_file(found)
        assert isinstance(file, BlockedFile)
        assert file.codec == codec


def test_fields_that_are_not_read_reach_the_datanode_unchanged() -> None:
    unread = b"\x1a\x03abc\x28\x07"  # DatanodeIDProto: datanodeUuid, infoPort
    node = DatanodeIDProto.FromString(
        DatanodeIDProto(ipAddr="10.0.0.1", hostName="dn", xferPort=1).SerializeToString() + unread
    )
    token = TokenProto(identifier=b"", password=b"", kind="", service="")
    group = LocatedBlockProto(
        b=ExtendedBlockProto(poolId="p", blockId=1, generationStamp=1, numBytes=9),
        offset=0,
        locs=[DatanodeInfoProto(id=node)],
        blockToken=token,
        blockIndices=b"\x03",
    )
    policy = ErasureCodingPolicyProto(id=2)
    file = blocked_file(status(located=LocatedBlocksProto(blocks=[group], ecPolicy=policy)))
    assert isinstance(file, BlockedFile)
    (block,) = file.blocks
    assert block.request[:3] == b"\x00\x1c\x5a"
    request = parse(OpBlockGroupChecksumProto, BytesIO(block.request[3:]))
    assert list(request.blockIndices) == [3]
    assert list(request.blockTokens) == [token]
    assert unread in request.datanodes.SerializeToString()


def test_directories_and_refusals_are_distinguished() -> None:
    def listing(*entries: HdfsFileStatusProto) -> GetListingResponseProto:
        return GetListingResponseProto(dirList=DirectoryListingProto(partialListing=entries))

    assert listed_file(GetListingResponseProto()) is None
    assert listed_file(listing()) is None
    assert listed_file(listing(status(path=b"a"))) is None
    assert listed_file(listing(status())) == status()
    assert blocked_file(RemoteError("java.io.FileNotFoundException", "no")) is None
    denied = RemoteError("org.x.AccessControlException", "no")
    assert blocked_file(denied) is denied


# ---------------------------------------------------------------- answers of DataNodes


def response(
    status: int = 0, *, mode: int | None = COMPOSITE_CRC, crc: bytes = b"\x00\x00\x00\x07"
) -> BlockOpResponseProto:
    options = None if mode is None else BlockChecksumOptionsProto(blockChecksumType=mode)  # type: ignore[arg-type]
    checksum = OpBlockChecksumResponseProto(
        blockChecksum=crc,
        crcType=2,  # type: ignore[arg-type]
        blockChecksumOptions=options,
    )
    return BlockOpResponseProto(status=status, checksumResponse=checksum, message="why\nnot")  # type: ignore[arg-type]


def test_composite_answer_is_the_crc() -> None:
    assert crc_in(response()) == (2, 7)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(1), "status 1 why"),
        (response(mode=MD5CRC), "COMPOSITE_CRC"),
        (response(mode=None), "COMPOSITE_CRC"),
        (response(crc=b"0" * 16), "16 B"),
        (response(crc=b""), "0 B"),
    ],
)
def test_anything_else_is_no_checksum(answer: BlockOpResponseProto, why: str) -> None:
    with pytest.raises(ChecksumUnavailable, match=why):
        crc_in(answer)


# ---------------------------------------------------------------- the node's settings


def test_a_datanode_whose_name_is_no_host_s_does_not_answer() -> None:
    block = Block(request=b"", offset=0, size_bytes=1, replicas=(("dn..example.com", 1),))
    with pytest.raises(ChecksumUnavailable, match=r"DataNode dn\.\.example\.com:1: "):
        DataNodes(timeout_s=1).crc(block)


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


def test_secured_clusters_are_not_reached_directly() -> None:
    def cluster(**values: str) -> HdfsCluster:
        return HdfsCluster("hdfs://nn", HadoopConfiguration(values=values))

    simple = cluster(**{"hadoop.security.authentication": "Simple"})
    secure = cluster(**{"hadoop.security.authentication": "kerberos"})
    encrypted = cluster(**{"dfs.encrypt.data.transfer": "TRUE"})
    assert cluster().has_direct_datanodes
    assert simple.has_direct_datanodes
    assert simple.direct_namenodes == [("nn", 8020)]
    assert not secure.has_direct_datanodes
    assert secure.direct_namenodes == []
    assert secure.namenodes == [("nn", 8020)]
    assert not encrypted.has_direct_datanodes
    assert encrypted.direct_namenodes == [("nn", 8020)]
