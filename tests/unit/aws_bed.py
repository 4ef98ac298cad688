"""A small SQS, S3, SNS and STS in this process, which refuses what a test plants; for `doctor`."""

from __future__ import annotations

import json
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ACCOUNT, REGION, BUCKET, QUEUE = "123456789012", "us-west-2", "acme-raw", "orders"
ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MODIFIED = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Refused:
    """An answer of AWS to one action."""

    code: str
    message: str = "refused by the test"
    status: int = 403


@dataclass
class AwsBed:
    """What is there, and what is refused.

    Attributes:
        refused: By IAM's action, such as `sqs:ReceiveMessage`; of S3 by the operation's.
        queues: Region and name to attributes.
        clock_ahead_s: This machine's clock ahead of the server's.
        composite: The objects' checksums are of their parts.
    """

    refused: dict[str, Refused] = field(default_factory=dict)
    queues: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=lambda: {"click/a.parquet": b"content"})
    clock_ahead_s: float = 0.0
    is_composite: bool = False
    is_proxy_page: bool = False
    calls: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        redrive = {"deadLetterTargetArn": f"{ARN}-dead", "maxReceiveCount": "20"}
        self.queues = {
            (REGION, QUEUE): {
                "QueueArn": ARN,
                "MessageRetentionPeriod": "604800",
                "RedrivePolicy": json.dumps(redrive),
            },
            (REGION, f"{QUEUE}-dead"): {
                "QueueArn": f"{ARN}-dead",
                "MessageRetentionPeriod": "1209600",
            },
        }

    @property
    def queue(self) -> dict[str, str]:
        return self.queues[REGION, QUEUE]

    @property
    def dead(self) -> dict[str, str]:
        return self.queues[REGION, f"{QUEUE}-dead"]

    @contextmanager
    def serving(self) -> Iterator[str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"bed": self}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    # ------------------------------------------------------------ SQS

    def sqs(self, action: str, given: dict[str, Any], region: str) -> dict[str, Any] | Refused:
        name = given.get("QueueName") or str(given["QueueUrl"]).rsplit("/", 1)[-1]
        of_dead = name.endswith("-dead")
        for key in (f"sqs:{action}:dead" if of_dead else f"sqs:{action}", f"sqs:{action}:any"):
            if key in self.refused:
                return self.refused[key]
        attributes = self.queues.get((region, name))
        if attributes is None:
            return Refused("QueueDoesNotExist", "The specified queue does not exist.", 400)
        match action:
            case "GetQueueUrl":
                return {"QueueUrl": f"{self.url}/{ACCOUNT}/{name}"}
            case "GetQueueAttributes":
                return {"Attributes": attributes}
            case "ReceiveMessage" if not 1 <= given["MaxNumberOfMessages"] <= 10:
                return Refused("InvalidParameterValue", "must be between 1 and 10", 400)
            case "ChangeMessageVisibility" | "DeleteMessage":
                return Refused("ReceiptHandleIsInvalid", "not a valid receipt handle", 400)
            case "SendMessage" if given["MessageAttributes"]["probe"]["DataType"] == "NoSuchType":
                return Refused("InvalidParameterValue", "the type is invalid", 400)
            case _:
                self.taken.append(action)
                return {}

    # ------------------------------------------------------------ S3

    def listing(self, bucket: str, prefix: str) -> str:
        found = {key: data for key, data in self.objects.items() if key.startswith(prefix)}
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>&quot;e1&quot;</ETag>"
            f"<LastModified>{MODIFIED:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for key, data in found.items()
        )
        return (
            '<?xml version="1.0"?><ListBucketResult>'
            f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>50</MaxKeys>"
            f"<KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
            f"<EncodingType>url</EncodingType>{entries}</ListBucketResult>"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bed: AwsBed

    def log_message(self, *_: object) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        del timestamp
        at = datetime.now(UTC) - timedelta(seconds=self.bed.clock_ahead_s)
        return format_datetime(at, usegmt=True)

    def answer(self, status: int, body: str | bytes = b"", **headers: str) -> None:
        """With a request id of AWS, and a length that a HEAD has, too."""
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"x-amz-request-id": "R1", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, found: Refused) -> None:
        """In XML; of a HEAD the status alone."""
        error = f"<Code>{found.code}</Code><Message>{escape(found.message)}</Message>"
        self.answer(found.status, f"<Error>{error}<RequestId>R1</RequestId></Error>")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.bed.calls.append(f"sqs:{action}" if action else "sts:GetCallerIdentity")
        if self.bed.is_proxy_page:
            self.send_response(403)
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"<html/>")
        elif action:
            self.answer_sqs(action, json.loads(body))
        elif b"Action=GetCallerIdentity" not in body:
            self.answer_sns(parse_qs(body.decode()))
        elif (found := self.bed.refused.get("sts:GetCallerIdentity")) is not None:
            error = f"<Code>{found.code}</Code><Message>{found.message}</Message>"
            self.answer(found.status, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")
        else:
            self.answer(200, _STS)

    def answer_sns(self, given: dict[str, list[str]]) -> None:
        """A topic is there unless refused; a message with an impossible attribute is not taken."""
        service = "sts" if given["Action"] == ["AssumeRole"] else "sns"
        action = f"{service}:{given['Action'][0]}"
        found = self.bed.refused.get(action)
        types = given.get("MessageAttributes.entry.1.Value.DataType", [])
        if found is None and types == ["NoSuchType"]:
            found = Refused("ParameterValueInvalid", "the type is invalid", 400)
        if found is None and action != "sns:GetTopicAttributes":
            self.bed.taken.append(action)
        if found is None:
            self.answer(200, "<R><GetTopicAttributesResult/><PublishResult/></R>")
            return
        error = f"<Code>{found.code}</Code><Message>{found.message}</Message>"
        self.answer(found.status, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")

    def answer_sqs(self, action: str, given: dict[str, Any]) -> None:
        region = self.headers["Authorization"].split("/")[2]
        answered = self.bed.sqs(action, given, region)
        if isinstance(answered, Refused):
            text = {"__type": f"com.amazonaws.sqs#{answered.code}", "message": answered.message}
            self.answer(answered.status, json.dumps(text), x_amzn_RequestId="R1")
        else:
            self.answer(200, json.dumps(answered), x_amzn_RequestId="R1")

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        operation = self.operation(query, key)
        self.bed.calls.append(f"s3:{operation}")
        if (found := self.bed.refused.get(f"s3:{operation}")) is not None:
            self.refuse(found)
        elif operation == "ListBucket":
            self.answer(200, self.bed.listing(bucket, query.get("prefix", [""])[0]))
        elif operation == "HeadBucket":
            self.answer(200, x_amz_bucket_region=REGION)
        elif key not in self.bed.objects:
            self.refuse(Refused("NoSuchKey", "gone", 404))
        elif operation == "GetObjectAttributes":
            self.answer(200, _PARTS, Last_Modified=format_datetime(MODIFIED, usegmt=True))
        else:
            self.answer_object(self.bed.objects[key])

    def do_HEAD(self) -> None:
        self.do_GET()

    def operation(self, query: dict[str, list[str]], key: str) -> str:
        if "list-type" in query:
            return "ListBucket"
        if "attributes" in query:
            return "GetObjectAttributes"
        if self.command == "HEAD":
            return "HeadObject" if key else "HeadBucket"
        return "GetObject"

    def answer_object(self, data: bytes) -> None:
        crc = b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        headers = {"ETag": '"e1"', "Last-Modified": format_datetime(MODIFIED, usegmt=True)}
        if self.headers.get("Range"):
            self.answer(206, data[:1], **headers, Content_Range=f"bytes 0-0/{len(data)}")
            return
        headers["x-amz-checksum-crc32"] = f"{crc}-1" if self.bed.is_composite else crc
        headers["x-amz-checksum-type"] = "COMPOSITE" if self.bed.is_composite else "FULL_OBJECT"
        self.answer(200, data, **headers)


_STS = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/edge</Arn><UserId>AIDA</UserId>
<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
_PARTS = """<GetObjectAttributesResponse><ETag>e1</ETag><ObjectSize>7</ObjectSize><ObjectParts>
<PartsCount>1</PartsCount><Part><PartNumber>1</PartNumber><Size>7</Size></Part></ObjectParts>
</GetObjectAttributesResponse>"""
