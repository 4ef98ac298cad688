"""Each real server of the test bed does what the tests that use it rely on."""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import awscrt.checksums
import hdfs_native
import pytest
from botocore.exceptions import ClientError

from backhaul.testing.servers import Hdfs, Moto, clients
from backhaul.testing.servers.base import Server
from backhaul.testing.servers.ports import listening
from testbed import ElasticMQ, S3Proxy

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef
    from mypy_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.integration

SERVERS = ["elasticmq", "moto_server", "s3proxy", pytest.param("hdfs", marks=pytest.mark.hdfs)]
PART_BYTES = 5 * 1024 * 1024


@pytest.mark.parametrize("name", SERVERS)
def test_server_listens_on_loopback_below_the_ephemeral_ports(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    for pid in server.pids.values():
        addresses = listening(pid)
        assert addresses
        assert {host for host, _ in addresses} == {"127.0.0.1"}
        assert {port for _, port in addresses} <= set(server.ports)
    assert max(server.ports) < 32768


# SQS


def make_queue(sqs: "SQSClient", name: str, **attributes: str) -> str:
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sqs_elasticmq", "sqs_moto"])
def test_sqs_message_is_received_once_and_deleted(
    name: str, request: pytest.FixtureRequest
) -> None:
    sqs: SQSClient = request.getfixturevalue(name)
    queue = make_queue(sqs, "round-trip")
    assert queue.startswith("http://127.0.0.1:")
    sqs.send_message(QueueUrl=queue, MessageBody="bucket/path, /dir")
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert message["Body"] == "bucket/path, /dir"
    # SQS and moto leave the word out; ElasticMQ gives an empty list.
    assert not sqs.receive_message(QueueUrl=queue).get("Messages")
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def test_elasticmq_refuses_a_body_beyond_one_mebibyte(sqs_elasticmq: "SQSClient") -> None:
    queue = make_queue(sqs_elasticmq, "body")
    sqs_elasticmq.send_message(QueueUrl=queue, MessageBody="x" * 1_048_576)
    with pytest.raises(ClientError, match="MessageTooLong"):
        sqs_elasticmq.send_message(QueueUrl=queue, MessageBody="x" * 1_048_577)


def test_elasticmq_refuses_a_stale_receipt_handle(sqs_elasticmq: "SQSClient") -> None:
    queue = make_queue(sqs_elasticmq, "stale", VisibilityTimeout="0")
    sqs_elasticmq.send_message(QueueUrl=queue, MessageBody="x")
    (first,) = sqs_elasticmq.receive_message(QueueUrl=queue)["Messages"]
    (second,) = sqs_elasticmq.receive_message(QueueUrl=queue)["Messages"]
    with pytest.raises(ClientError):
        sqs_elasticmq.delete_message(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"])
    sqs_elasticmq.delete_message(QueueUrl=queue, ReceiptHandle=second["ReceiptHandle"])


def test_elasticmq_moves_a_message_to_the_dead_letter_queue(sqs_elasticmq: "SQSClient") -> None:
    dead = make_queue(sqs_elasticmq, "redrive-dead")
    arn = sqs_elasticmq.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1}
    queue = make_queue(
        sqs_elasticmq, "redrive", RedrivePolicy=json.dumps(policy), VisibilityTimeout="0"
    )
    sqs_elasticmq.send_message(QueueUrl=queue, MessageBody="poison")
    assert sqs_elasticmq.receive_message(QueueUrl=queue)["Messages"]
    assert not sqs_elasticmq.receive_message(QueueUrl=queue).get("Messages")
    (message,) = sqs_elasticmq.receive_message(QueueUrl=dead)["Messages"]
    assert message["Body"] == "poison"


# S3


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32C", "CRC32", "SHA256"])
def test_s3proxy_gives_back_the_checksum(
    algorithm: Literal["CRC64NVME", "CRC32C", "CRC32", "SHA256"], s3_s3proxy: "S3Client"
) -> None:
    bucket, body = f"checksum-{algorithm.lower()}", os.urandom(100_000)
    s3_s3proxy.create_bucket(Bucket=bucket)
    sent = s3_s3proxy.put_object(Bucket=bucket, Key="a", Body=body, ChecksumAlgorithm=algorithm)
    got = s3_s3proxy.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert got["Body"].read() == body  # botocore compares, too.
    assert got.get(f"Checksum{algorithm}")
    assert got.get(f"Checksum{algorithm}") == sent.get(f"Checksum{algorithm}")


def test_s3proxy_checksum_of_a_multipart_object_is_that_of_its_bytes(
    s3_s3proxy: "S3Client",
) -> None:
    s3_s3proxy.create_bucket(Bucket="multipart")
    body = os.urandom(PART_BYTES + 1000)
    upload = s3_s3proxy.create_multipart_upload(
        Bucket="multipart", Key="a", ChecksumAlgorithm="CRC32C", ChecksumType="FULL_OBJECT"
    )["UploadId"]
    parts: list[CompletedPartTypeDef] = []
    for number, part in enumerate([body[:PART_BYTES], body[PART_BYTES:]], start=1):
        sent = s3_s3proxy.upload_part(
            Bucket="multipart",
            Key="a",
            UploadId=upload,
            PartNumber=number,
            Body=part,
            ChecksumAlgorithm="CRC32C",
        )
        # S3 needs the ETag alone; without the parts' checksums S3Proxy keeps none of the whole.
        parts.append(
            {"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32C": sent["ChecksumCRC32C"]}
        )
    s3_s3proxy.complete_multipart_upload(
        Bucket="multipart",
        Key="a",
        UploadId=upload,
        ChecksumType="FULL_OBJECT",
        MultipartUpload={"Parts": parts},
    )
    head = s3_s3proxy.head_object(Bucket="multipart", Key="a", ChecksumMode="ENABLED")
    assert head["ChecksumType"] == "FULL_OBJECT"
    assert head["ChecksumCRC32C"] == base64.b64encode(crc32c(body)).decode()


def test_s3proxy_refuses_a_wrong_checksum(s3_s3proxy: "S3Client") -> None:
    s3_s3proxy.create_bucket(Bucket="wrong")
    other = base64.b64encode(crc32c(b"other")).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        s3_s3proxy.put_object(Bucket="wrong", Key="a", Body=b"body", ChecksumCRC32C=other)


def test_s3proxy_refuses_another_key(s3proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3proxy, "secret_key", "wrong")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        clients.s3_client(s3proxy).list_buckets()


def test_s3proxy_anonymous_takes_any_key(s3proxy: S3Proxy) -> None:
    with S3Proxy(anonymous=True) as server:
        server.secret_key = "wrong"
        assert clients.s3_client(server).list_buckets()["Buckets"] == []


def test_moto_serves_s3_on_the_port_of_sqs(moto_server: Moto, s3_moto: "S3Client") -> None:
    assert s3_moto.meta.endpoint_url == moto_server.endpoint
    s3_moto.create_bucket(Bucket="moto")
    s3_moto.put_object(Bucket="moto", Key="a//../b c", Body=b"1")
    assert s3_moto.get_object(Bucket="moto", Key="a//../b c")["Body"].read() == b"1"


# The developer's AWS is out of sight


def test_clients_ignore_the_developers_aws(
    s3proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ENDPOINT_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    clients.s3_client(s3proxy).list_buckets()


def test_environment_leads_only_to_the_given_servers(
    s3proxy: S3Proxy, elasticmq: ElasticMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
    found = clients.environment(sqs=elasticmq, s3=s3proxy)
    assert "AWS_PROFILE" not in found
    assert "HADOOP_CONF_DIR" not in found
    assert found["AWS_ENDPOINT_URL_SQS"] == elasticmq.endpoint
    assert found["AWS_ENDPOINT_URL_S3"] == s3proxy.endpoint
    assert found["AWS_SECRET_ACCESS_KEY"] == s3proxy.secret_key
    assert found["PATH"] == os.environ["PATH"]


# HDFS


def crc32c(body: bytes) -> bytes:
    checksum: int = awscrt.checksums.crc32c(body)
    return checksum.to_bytes(4, "big")


def write(client: hdfs_native.Client, path: str, body: bytes) -> None:
    options = hdfs_native.WriteOptions(overwrite=True)
    with client.create(path, options) as writer:
        writer.write(body)


def read(client: hdfs_native.Client, path: str) -> bytes:
    with client.read(path) as reader:
        return bytes(reader.read())


@pytest.mark.hdfs
def test_hdfs_file_is_written_listed_read_and_summed(hdfs: Hdfs) -> None:
    client, body = hdfs_native.Client(hdfs.uri), os.urandom(300_000)
    client.mkdirs("/whole", 0o755, create_parent=True)
    write(client, "/whole/a", body)
    assert [status.path for status in client.list_status("/whole")] == ["/whole/a"]
    assert read(client, "/whole/a") == body
    shown = hdfs.command(
        "dfs", "-Ddfs.checksum.combine.mode=COMPOSITE_CRC", "-checksum", "/whole/a"
    )
    assert shown.stdout == f"/whole/a\tCOMPOSITE-CRC32C\t{crc32c(body).hex()}\n"


@pytest.mark.hdfs
def test_hdfs_client_finds_it_by_the_configuration_directory(hdfs: Hdfs) -> None:
    client = hdfs_native.Client(None, config_dir=str(hdfs.conf_dir))
    write(client, "/by-configuration", b"1")
    assert read(client, "/by-configuration") == b"1"


@pytest.mark.hdfs
def test_hdfs_refuses_who_has_no_permission(hdfs: Hdfs) -> None:
    refused = hdfs.command("dfs", "-mkdir", "/of-alice", user="alice", check=False)
    assert refused.returncode == 1
    assert "Permission denied: user=alice" in refused.stderr


@pytest.fixture(scope="module")
def own_hdfs(hdfs: Hdfs) -> Iterator[Hdfs]:
    """One that these tests may stop. After `hdfs`, which skips where there is no Java."""
    with Hdfs() as server:
        yield server


@pytest.mark.hdfs
@pytest.mark.slow
def test_hdfs_keeps_a_file_when_namenode_and_datanode_are_killed(own_hdfs: Hdfs) -> None:
    uri = own_hdfs.uri
    write(hdfs_native.Client(uri), "/kept", b"kept")
    own_hdfs.kill_namenode()
    own_hdfs.start_namenode()
    own_hdfs.kill_datanode()
    own_hdfs.start_datanode()
    assert own_hdfs.uri == uri
    assert read(hdfs_native.Client(uri), "/kept") == b"kept"
    write(hdfs_native.Client(uri), "/after", b"after")


@pytest.mark.hdfs
@pytest.mark.slow
def test_hdfs_in_safe_mode_refuses_changes(own_hdfs: Hdfs) -> None:
    client = hdfs_native.Client(own_hdfs.uri)
    own_hdfs.safemode("enter")
    with pytest.raises(RuntimeError, match="SafeModeException"):
        client.mkdirs("/refused", 0o755, create_parent=True)
    own_hdfs.safemode("leave")
    client.mkdirs("/accepted", 0o755, create_parent=True)


@pytest.mark.hdfs
def test_hdfs_suspended_namenode_goes_on_where_it_was(own_hdfs: Hdfs) -> None:
    own_hdfs.suspend_namenode()
    state = Path(f"/proc/{own_hdfs.pids['namenode']}/stat")
    deadline = time.monotonic() + 5
    while state.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
    own_hdfs.resume_namenode()
    write(hdfs_native.Client(own_hdfs.uri), "/resumed", b"1")


# Restarts


def test_server_comes_back_on_its_port_with_what_it_had_on_disk(s3proxy: S3Proxy) -> None:
    with S3Proxy() as server:
        s3, endpoint = clients.s3_client(server), server.endpoint
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="a", Body=b"1")
        server.kill()
        server.start()
        assert server.endpoint == endpoint
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"1"


def test_stopped_server_leaves_nothing() -> None:
    with Moto() as server:
        directory, pid = server.directory, server.pid
        server.suspend()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
