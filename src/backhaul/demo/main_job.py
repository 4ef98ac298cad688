"""The main job on this machine.

Local SQS and S3 servers (moto, in a child process) get data and messages; the real agent copies the
data to a local directory, or with `--hdfs` to real HDFS daemons; then every byte is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backhaul.adapters.system.log import LogTarget, Telemetry
from backhaul.app.agent import run_agent
from backhaul.app.context import Context, load_context
from backhaul.app.queues import ChosenQueue
from backhaul.app.records import TransferRow, read_history, wanted_transfers
from backhaul.core.errors import OutageError
from backhaul.core.facts import MessageIgnored
from backhaul.testing.servers import Hdfs, Moto, ServerFailed, ServerUnavailable
from backhaul.testing.servers.clients import environment, s3_client, sqs_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

BUCKET = "acme-raw"
QUEUE = "demo"
REGION = "us-east-1"
KIB, MIB = 1024, 1024 * 1024
SEED = 20261122


@dataclass(frozen=True, kw_only=True)
class DemoMessage:
    """One message on the queue, and what it shows."""

    shows: str
    message_id: str


@dataclass(kw_only=True)
class Demo:
    """A running demo.

    Attributes:
        landing: The destination prefix, as a URI or a path on the default file system.
        digests: Object key to SHA-256 of what was uploaded.
        ignored: Message id to the reason why the agent ignored it.
    """

    directory: Path
    landing: str
    s3: S3Client
    sqs: SQSClient
    context: Context
    hdfs: Hdfs | None
    digests: dict[str, str] = field(default_factory=dict)
    messages: list[DemoMessage] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)


@contextmanager
def started(directory: Path, *, is_hdfs: bool) -> Iterator[Demo]:
    """Start the servers and write the configuration; all of it ends with the block.

    Raises:
        OutageError: E_DEMO_SERVER: a server is not installed or did not start.
    """
    with ExitStack() as stack:
        try:
            moto = stack.enter_context(Moto())
            hdfs = stack.enter_context(Hdfs()) if is_hdfs else None
        except (ServerUnavailable, ServerFailed) as error:
            raise OutageError.of("demo", "E_DEMO_SERVER", str(error)) from error
        landing = "/landing" if hdfs else f"file://{directory}/landing"
        if hdfs is None:
            (directory / "landing").mkdir(exist_ok=True)
        os.environ.update(environment(sqs=moto, s3=moto, hdfs=hdfs))
        os.environ.pop("AWS_PROFILE", None)
        yield Demo(
            directory=directory,
            landing=landing,
            s3=s3_client(moto),
            sqs=sqs_client(moto),
            context=_configured(directory, landing),
            hdfs=hdfs,
        )


def _configured(directory: Path, landing: str) -> Context:
    config = directory / "backhaul.toml"
    config.write_text(
        f"""# Written by `backhaul demo`.
ledger = "{directory}/ledger.db"

[agent]
poll_wait_s = 1            # instead of 20, to end sooner

[[route]]
name = "requests"
source = ["s3://{BUCKET}/click/", "s3://{BUCKET}/models/", "s3://{BUCKET}/reports/"]
destination = ["{landing}/"]

[[route]]
name = "events"
source = ["s3://{BUCKET}/events/"]
destination = ["{landing}/"]
event_destination = "{landing}/{{key_dir}}/"

[[route.emr]]
step = "Export"
source = "s3://{BUCKET}/events/export/"
destination = "{landing}/events/export"

[[route]]
name = "days"
source = ["s3://{BUCKET}/days/"]
destination = ["{landing}/"]
event_destination = "{landing}/{{key_dir}}/"
marker = "_SUCCESS"
""",
        encoding="utf-8",
    )
    return load_context(config=config)


def make_data(demo: Demo, *, is_quick: bool) -> tuple[int, int]:
    """Upload small, large and special objects; returns how many, and their bytes."""
    demo.s3.create_bucket(Bucket=BUCKET)
    chance = random.Random(SEED)  # noqa: S311 - the same data each time
    small = 50 if is_quick else 300
    large_bytes = 16 * MIB if is_quick else 96 * MIB
    objects = {f"click/day=01/part-{n:05}.json": chance.randbytes(16 * KIB) for n in range(small)}
    objects["click/day=01/_SUCCESS"] = b""
    objects["reports/summary, final.csv"] = b"city,visits\nOslo,12\nLima,7\n"
    objects["models/weights.bin"] = chance.randbytes(large_bytes)
    for name in ("events/a b+c.csv", "events/sns/été.csv", "events/bridge/1.csv"):
        objects[name] = name.encode()
    objects |= {f"events/export/part-{n}": chance.randbytes(KIB) for n in range(3)}
    objects |= {f"days/day=02/part-{n}": chance.randbytes(KIB) for n in range(3)}
    objects["days/day=02/_SUCCESS"] = b""
    for key, data in objects.items():
        upload(demo, key, data)
    return len(objects), sum(len(data) for data in objects.values())


def upload(demo: Demo, key: str, data: bytes) -> None:
    """Put an object into the bucket, and remember its digest for `compare`."""
    demo.s3.put_object(Bucket=BUCKET, Key=key, Body=data, ChecksumAlgorithm="CRC32C")
    demo.digests[key] = hashlib.sha256(data).hexdigest()


def make_queue(demo: Demo) -> str:
    """Create a queue with its dead-letter queue; returns its URL."""
    dead_url = demo.sqs.create_queue(QueueName=f"{QUEUE}-dead")["QueueUrl"]
    answer = demo.sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": "10"}
    attributes: Any = {"RedrivePolicy": json.dumps(redrive)}
    return demo.sqs.create_queue(QueueName=QUEUE, Attributes=attributes)["QueueUrl"]


def send_messages(demo: Demo) -> None:
    """Create the queue, and send a message of every form."""
    url = make_queue(demo)
    for shows, body in _bodies(demo.landing):
        message_id = demo.sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"]
        demo.messages.append(DemoMessage(shows=shows, message_id=message_id))


def _bodies(landing: str) -> list[tuple[str, str]]:
    """What each message shows, and its body: every form, and those refused or ignored."""
    as_json = {
        "v": 1,
        "source": f"s3://{BUCKET}/reports/summary, final.csv",
        "destination": f"{landing}/reports",
    }
    in_sns = event_body("events/sns/%C3%A9t%C3%A9.csv")
    return [
        (
            "the original's comma line: a directory, published in one rename",
            f"{BUCKET}/click/day=01/, {landing}/click/day=01",
        ),
        (
            "one large object, read by parallel ranges",
            f"s3a://{BUCKET}/models/weights.bin, {landing}/models",
        ),
        ("JSON, for names with commas", json.dumps(as_json)),
        ("S3 event notification, its key decoded once", event_body("events/a+b%2Bc.csv")),
        (
            "S3 event notification through SNS",
            json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:demo", "Message": in_sns}),
        ),
        (
            "S3 event through EventBridge",
            _bridge(
                "aws.s3",
                "Object Created",
                {"bucket": {"name": BUCKET}, "object": {"key": "events/bridge/1.csv"}},
            ),
        ),
        ("the event of _SUCCESS: copies its directory", event_body("days/day%3D02/_SUCCESS")),
        (
            "a completed EMR step, through EventBridge",
            _bridge(
                "aws.emr",
                "EMR Step Status Change",
                {"name": "Export", "clusterId": "j-1", "stepId": "s-1", "state": "COMPLETED"},
            ),
        ),
        ("S3's test event: ignored", '{"Service":"Amazon S3","Event":"s3:TestEvent"}'),
        (
            "a source that does not exist: dead-lettered, with its reason",
            f"{BUCKET}/click/day=1/, {landing}/click/day=1",
        ),
        (
            "a destination that no route allows: dead-lettered",
            f"{BUCKET}/models/weights.bin, file:///etc/cron.d",
        ),
    ]


def event_body(key: str) -> str:
    """S3's notification of this object; its key is percent-encoded, as S3 does it."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
    }
    return json.dumps({"Records": [record]})


def _bridge(source: str, detail_type: str, detail: object) -> str:
    event = {"source": source, "account": "123456789012", "detail-type": detail_type}
    return json.dumps(event | {"detail": detail})


def work(demo: Demo, progress: Callable[[object], None]) -> int:
    """Run the real agent until the queue is empty; its log goes to a file beside."""

    def watch(fact: object) -> None:
        if isinstance(fact, MessageIgnored):
            demo.ignored[fact.message_id] = fact.reason
        progress(fact)

    with (demo.directory / "agent.log").open("w", encoding="utf-8") as log:
        emit = Telemetry(LogTarget(stream=log, is_json=True, level="info"), watch)
        return run_agent(
            demo.context,
            queues=[ChosenQueue(text=QUEUE, region=REGION, label=QUEUE)],
            drain=True,
            emit=emit,
            read_again=lambda: demo.context,
        )


def results(demo: Demo) -> list[tuple[DemoMessage, TransferRow | None]]:
    """Each message with its transfer; None where it was ignored."""
    found = read_history(demo.context.settings.ledger_place, limit=100, wanted=wanted_transfers())
    rows = {row.message_id: row for row in found.rows}
    return [(message, rows.get(message.message_id)) for message in demo.messages]


def compare(demo: Demo) -> tuple[int, list[str]]:
    """Read back every file; returns how many are identical, and the paths of the others."""
    identical, different = 0, []
    for key, digest in demo.digests.items():
        # Every message keeps the directory names below the landing zone.
        if _digest(demo, key) == digest:
            identical += 1
        else:
            different.append(key)
    return identical, different


def _digest(demo: Demo, path: str) -> str | None:
    if demo.hdfs is not None:
        from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
        from backhaul.core.errors import BackhaulError

        digest = hashlib.sha256()
        try:
            for data in HdfsTarget(demo.hdfs.uri, None).read(f"/landing/{path}"):
                digest.update(data)
        except BackhaulError:
            return None
        return digest.hexdigest()
    file = demo.directory / "landing" / path
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def dead_letters(demo: Demo) -> int:
    """How many messages the dead-letter queue holds."""
    url = demo.sqs.get_queue_url(QueueName=f"{QUEUE}-dead")["QueueUrl"]
    answer = demo.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])
