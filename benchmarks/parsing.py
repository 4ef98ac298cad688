"""Shape `parsing`: CPU of parser and policy for one message, and for the worst bodies there are.

No server is started. CPU seconds of this thread, so that a busy machine does not count.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

from backhaul.core.errors import PermanentError
from backhaul.core.model import Location, Route, SignatureRule
from backhaul.core.requests.body import read_message
from backhaul.core.requests.content import Ignored
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.policy import Policy
from backhaul.core.requests.signature import sign, verify
from benchmarks.report import Figure
from benchmarks.servers import Servers, Sizes, tell

FS = "hdfs://nameservice"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:work"
ROUTES = 20
TIMES = 300
MESSAGE_AT_MOST_MS = 1.0
WORST_AT_MOST_MS = 50.0
MIB = 1 << 20
KEY = b"k" * 32


def _policy() -> Policy:
    """Twenty routes; the last one is asked for."""
    return Policy(
        routes=tuple(
            Route(
                name=f"route-{number}",
                sources=(("acme-raw", f"feed-{number}/"),),
                destinations=(_place(f"/landing/feed-{number}"),),
                senders=frozenset({"AROAEXAMPLE:session"}),
                event_destination=f"/landing/feed-{number}/{{rel_dir}}/",
                signature=SignatureRule(keys=(KEY,), max_age_s=3600) if number % 2 else None,
            )
            for number in range(ROUTES)
        )
    )


def _place(path: str) -> Location:
    return Location(scheme="hdfs", authority="nameservice", path=path)


LAST = f"feed-{ROUTES - 1}"


def _record(number: int = 0) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-22T12:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AROAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "acme-raw", "arn": "arn:aws:s3:::acme-raw"},
            "object": {
                "key": f"{LAST}/day%3D01/part-{number:05}.parquet",
                "size": 1 << 20,
                "eTag": "0123456789abcdef0123456789abcdef",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
    }


def _bodies() -> dict[str, str]:
    notice = json.dumps({"Records": [_record()]})
    bridge = {
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-22T12:00:00Z",
        "detail": {
            "bucket": {"name": "acme-raw"},
            "object": {"key": f"{LAST}/day=01/a.csv", "sequencer": "0055AED6DCD90281E5"},
        },
    }
    request = {
        "v": 1,
        "source": f"s3://acme-raw/{LAST}/day=01/",
        "destination": f"/landing/{LAST}/day=01",
        "options": {"verify": "stored"},
    }
    return {
        "a line": f"acme-raw/{LAST}/day=01/, /landing/{LAST}/day=01",
        "JSON": json.dumps(request),
        "S3 event": notice,
        "S3 event in SNS": json.dumps(
            {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": notice}
        ),
        "S3 event by EventBridge": json.dumps(bridge),
    }


def _worst() -> dict[str, str]:
    """Bodies made to be slow: as large as SQS takes, or as Backhaul reads, or deep."""
    limit = 64 * 1024
    least = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "abc"}, "object": {"key": "a"}},
    }
    one, few = json.dumps(least, separators=(",", ":")), json.dumps(_record())
    many = (limit - 20) // (len(one) + 1)
    full = (limit - 20) // (len(few) + 1)
    escaped = '{"v":1,"source":"' + "\\u0041" * 10_000 + '","destination":"/x"}'
    return {
        "1 MiB of one letter": "x" * MIB,
        "1 MiB of brackets": "[" * MIB,
        "1 MiB of JSON": '{"a":' + json.dumps(["x" * 100] * 9000) + "}",
        "64 KiB nested": "[" * limit,
        "64 KiB nested objects": '{"a":' * (limit // 5),
        "64 KiB of strings": '["' + '","' * (limit // 3 - 2) + '"]',
        "64 KiB of fields": json.dumps({str(n): n for n in range(4500)}),
        "64 KiB of blanks": " " * (limit - 1) + "x",
        "64 KiB of escapes": escaped,
        "64 KiB of quotes": '"' * limit,
        "64 KiB of secrets": "a:b@" * (limit // 4),
        f"64 KiB, {full} records": f'{{"Records":[{",".join([few] * full)}]}}',
        f"64 KiB, {many} refused records": f'{{"Records":[{",".join([one] * many)}]}}',
    }


def judge(policy: Policy, body: str) -> None:
    """What the agent does before it asks the ledger; a refusal is an answer, too."""
    try:
        asks = read_message(body, default_fs=FS).records
    except PermanentError:
        return
    for ask in asks:
        with contextlib.suppress(PermanentError):
            asked = request_of(policy, ask, queue=QUEUE, default_fs=FS)
            if not isinstance(asked, Ignored):
                policy.decide(asked, sender_id="AROAEXAMPLE:session", queue=QUEUE)


def _cpu_ms(call: Callable[[], object], times: int) -> float:
    """The median of so many."""
    taken = []
    for _ in range(times):
        before_s = time.thread_time()
        call()
        taken.append((time.thread_time() - before_s) * 1000)
    return median(taken)


def parsing(_servers: Servers, _sizes: Sizes, rounds: int) -> list[Figure]:
    """The figures."""
    policy = _policy()
    bodies, worst = _bodies(), _worst()
    for body in bodies.values():  # a body that is refused would be measured too cheaply
        (ask,) = read_message(body, default_fs=FS).records
        asked = request_of(policy, ask, queue=QUEUE, default_fs=FS)
        assert not isinstance(asked, Ignored)
        policy.decide(asked, sender_id="AROAEXAMPLE:session", queue=QUEUE)
    figures = [
        Figure(
            shape="parsing",
            what=f"{what}, {ROUTES} routes",
            unit="ms",
            values=tuple(_cpu_ms(lambda b=body: judge(policy, b), TIMES) for _ in range(rounds)),  # type: ignore[misc]
            at_most=MESSAGE_AT_MOST_MS,
        )
        for what, body in bodies.items()
    ]
    figures.append(
        Figure(
            shape="parsing",
            what="a signature",
            unit="ms",
            values=tuple(_cpu_ms(_signature(), TIMES) for _ in range(rounds)),
            at_most=MESSAGE_AT_MOST_MS,
        )
    )
    tell("parsing: the worst bodies")
    figures += [
        Figure(
            shape="parsing",
            what=what,
            unit="ms",
            values=tuple(_cpu_ms(lambda b=body: judge(policy, b), 5) for _ in range(rounds)),  # type: ignore[misc]
            at_most=WORST_AT_MOST_MS,
        )
        for what, body in worst.items()
    ]
    return figures


def _signature() -> Callable[[], object]:
    now = datetime.now(tz=UTC)
    body = _bodies()["JSON"]
    rule = SignatureRule(keys=(KEY,), max_age_s=3600)
    value = sign(KEY, body=body, queue=QUEUE, expires=now.isoformat(), nonce="n" * 32)
    return lambda: verify(rule, value, body=body, queue=QUEUE, sent_at=now)
