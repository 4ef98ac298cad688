"""CPU of one small GET by several clients: `python -m benchmarks.get_once PORT COUNT` prints JSON.

User and system time of this process alone, all its threads; the server is another one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import awscrt.auth
import awscrt.http
import awscrt.io
import awscrt.s3
import boto3
from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint
from backhaul.testing.servers.clients import REGION
from benchmarks.servers import BUCKET, SMALL_BYTES
from benchmarks.small_server import ETAG

WARM_UP = 50
Get = Callable[[str], None]


def main(arguments: list[str]) -> None:
    """Milliseconds of CPU for each GET, by client."""
    port, count = (int(one) for one in arguments)
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench")
    keys = [f"prefix/day=01/part-{number:06d}.bin" for number in range(count)]
    clients = {"ours": _ours(port), "boto3": _boto3(port), "awscrt": _awscrt(port)}
    found = {}
    for name, get in clients.items():
        for key in keys[:WARM_UP]:
            get(key)
        began_s = time.process_time()
        for key in keys:
            get(key)
        found[name] = 1000 * (time.process_time() - began_s) / count
    print(json.dumps(found))


def _ours(port: int) -> Get:
    reader = ObjectReader(AwsSession(REGION, None).credentials, 10)
    endpoint = Endpoint(base_url=f"http://127.0.0.1:{port}/{BUCKET}/", region=REGION)
    now = datetime.now(UTC)

    def get(key: str) -> None:
        pin = Pin(
            bucket=BUCKET,
            key=key,
            version_id=None,
            etag=ETAG,
            size_bytes=SMALL_BYTES,
            last_modified=now,
        )
        with reader.get(endpoint, pin) as body:
            assert len(body.readall()) == SMALL_BYTES

    return get


def _boto3(port: int) -> Get:
    client = boto3.client(
        "s3", region_name=REGION, endpoint_url=f"http://127.0.0.1:{port}", config=Config(proxies={})
    )

    def get(key: str) -> None:
        answer = client.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert len(answer["Body"].read()) == SMALL_BYTES

    return get


def _awscrt(port: int) -> Get:
    group = awscrt.io.EventLoopGroup(1)
    bootstrap = awscrt.io.ClientBootstrap(group, awscrt.io.DefaultHostResolver(group))
    provider = awscrt.auth.AwsCredentialsProvider.new_static("bench", "bench")
    client = awscrt.s3.S3Client(
        bootstrap=bootstrap,
        region=REGION,
        signing_config=awscrt.s3.create_default_s3_signing_config(
            region=REGION, credential_provider=provider
        ),
        tls_mode=awscrt.s3.S3RequestTlsMode.DISABLED,
    )

    def get(key: str) -> None:
        received = 0

        def on_body(chunk: bytes, **_: object) -> None:
            nonlocal received
            received += len(chunk)

        headers = awscrt.http.HttpHeaders([("Host", f"127.0.0.1:{port}")])
        request = awscrt.http.HttpRequest("GET", f"/{BUCKET}/{key}", headers)
        client.make_request(
            type=awscrt.s3.S3RequestType.GET_OBJECT, request=request, on_body=on_body
        ).finished_future.result(30)
        assert received == SMALL_BYTES

    return get


if __name__ == "__main__":
    main(sys.argv[1:])
