"""What `testbed up` puts into its servers: a queue with a dead-letter queue, a bucket with objects.

Safe to repeat on the same servers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backhaul.testing.servers.clients import REGION

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

QUEUE = "backhaul"
DEAD_LETTER_QUEUE = "backhaul-dead"
BUCKET = "demo"
PREFIX = "clicks/day=2026-11-01/"
_MAX_RECEIVE_COUNT = 10
_FOURTEEN_DAYS_S = 1_209_600

# Small and different from each other, so that a mix-up shows.
_OBJECTS = {
    "readme.txt": b"One object, and no prefix of anything.\n",
    **{f"{PREFIX}part-{n}.csv": f"user,clicks\nu{n},{n}\n".encode() * 1000 for n in range(5)},
    f"{PREFIX}_SUCCESS": b"",
}


def make_queues(sqs: SQSClient) -> None:
    """Create the queue and its dead-letter queue, to which the tenth failed receive leads."""
    dead = sqs.create_queue(
        QueueName=DEAD_LETTER_QUEUE,
        # A dead letter keeps the age it had, so its queue must keep messages longer.
        Attributes={"MessageRetentionPeriod": str(_FOURTEEN_DAYS_S)},
    )["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = {
        "deadLetterTargetArn": found["Attributes"]["QueueArn"],
        "maxReceiveCount": _MAX_RECEIVE_COUNT,
    }
    sqs.create_queue(QueueName=QUEUE, Attributes={"RedrivePolicy": json.dumps(redrive)})


def make_objects(s3: S3Client) -> None:
    """Create the bucket, and objects that carry S3's own CRC32C."""
    s3.create_bucket(Bucket=BUCKET)
    for key, body in _OBJECTS.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, ChecksumAlgorithm="CRC32C")


def examples(*, with_hdfs: bool) -> list[str]:
    """Commands to try on these servers."""
    target = "/landing/" if with_hdfs else "file:///tmp/landing/"
    source = f"s3://{BUCKET}/{PREFIX}"
    return [
        f"backhaul send {QUEUE} {REGION} {source} {target}clicks/",
        f"backhaul run {QUEUE} {REGION} --allow 's3://{BUCKET}/ -> {target}'",
    ]
