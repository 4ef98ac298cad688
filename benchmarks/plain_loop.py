"""The peer of shape `messages`: what the original script would be without its JVM.

`python -m benchmarks.plain_loop QUEUE_URL` prints `{"seconds": ...}` from the first receipt to the
last delete. One process, one thread, boto3; no staging, no proof, no ledger, no heartbeat.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config

_BATCH = 10


def main(arguments: list[str]) -> None:
    """Work until the queue stays empty for a second."""
    (url,) = arguments
    sqs = boto3.client("sqs")
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    began_s = ended_s = 0.0
    while True:
        asked_s = time.perf_counter()
        received = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=1
        ).get("Messages", [])
        if not received:
            break
        began_s = began_s or asked_s
        for message in received:
            source, target = message["Body"].split(",")
            bucket, key = source.removeprefix("s3://").split("/", 1)
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            path = Path(target.removeprefix("file://")) / key.rsplit("/", 1)[-1]
            with path.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        ended_s = time.perf_counter()
    print(json.dumps({"seconds": ended_s - began_s}))


if __name__ == "__main__":
    main(sys.argv[1:])
