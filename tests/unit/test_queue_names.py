"""A queue by its name, its URL or its ARN: one queue, however it is written."""

from __future__ import annotations

import pytest

from backhaul import cli
from backhaul.core.errors import BadArgument, ExitCode
from backhaul.core.model import Location, Route
from backhaul.core.requests.overlap import refuse_overlaps
from backhaul.core.requests.policy import serves_queue
from backhaul.core.requests.queue_names import QueueName, are_same, parse_queue

NAME = "orders"
ARN = "arn:aws:sqs:us-west-2:123456789012:orders"
URL = "https://sqs.us-west-2.amazonaws.com/123456789012/orders"
PRIVATE = "https://vpce-0a1b-c2.sqs.us-west-2.vpce.amazonaws.com/123456789012/orders"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NAME, (NAME, None, None, None)),
        ("orders.fifo", ("orders.fifo", None, None, None)),
        (ARN, (NAME, "123456789012", "us-west-2", None)),
        ("arn:aws-cn:sqs:cn-north-1:123456789012:q", ("q", "123456789012", "cn-north-1", None)),
        (URL, (NAME, "123456789012", "us-west-2", None)),
        (f"{URL}/", (NAME, "123456789012", "us-west-2", None)),
        (
            "https://us-west-2.queue.amazonaws.com/123456789012/orders",
            (NAME, "123456789012", "us-west-2", None),
        ),
        (
            "https://queue.amazonaws.com/123456789012/orders",
            (NAME, "123456789012", "us-east-1", None),
        ),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/orders",
            (NAME, "123456789012", "cn-north-1", None),
        ),
        (
            PRIVATE,
            (
                NAME,
                "123456789012",
                "us-west-2",
                "https://vpce-0a1b-c2.sqs.us-west-2.vpce.amazonaws.com",
            ),
        ),
        (
            "http://127.0.0.1:9324/000000000000/orders",
            (NAME, "000000000000", None, "http://127.0.0.1:9324"),
        ),
        ("http://[::1]:9324/queue/orders", (NAME, None, None, "http://[::1]:9324")),
    ],
)
def test_what_a_text_means(text: str, expected: tuple[str | None, ...]) -> None:
    found = parse_queue(text)
    assert (found.name, found.account, found.region, found.host_url) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "or ders", "a" * 81, "orders.fifo.fifo", "*", "-x y", "a/b"),
        *("arn:aws:sqs:us-west-2:123456789012:", "arn:aws:sns:us-west-2:123456789012:orders"),
        *("arn:aws:sqs:us-west-2:1234:orders", "https://sqs.us-west-2.amazonaws.com/orders"),
        *("https://", "https:///123456789012/orders", "ftp://h/123456789012/orders"),
        *(f"{URL}?Action=x", "https://h:99999/123456789012/orders", "https://[::1/1/orders"),
    ],
)
def test_what_names_no_queue(text: str) -> None:
    with pytest.raises(BadArgument, match="E_QUEUE_NAME"):
        parse_queue(text)


def test_credentials_in_a_url_are_not_repeated() -> None:
    with pytest.raises(BadArgument) as caught:
        parse_queue("https://user:hunter2@sqs.us-west-2.amazonaws.com/123456789012/orders")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert "sqs.us-west-2.amazonaws.com" in caught.value.message


@pytest.mark.parametrize("one", [NAME, ARN, URL, PRIVATE])
@pytest.mark.parametrize("other", [NAME, ARN, URL, PRIVATE])
def test_all_forms_mean_the_same_queue(one: str, other: str) -> None:
    assert are_same(one, other)


def test_another_account_or_region_is_another_queue() -> None:
    assert not are_same(ARN, ARN.replace("123456789012", "210987654321"))
    assert not are_same(ARN, URL.replace("us-west-2", "us-east-1"))
    assert not are_same(NAME, ARN.replace("orders", "order"))


def route(name: str, queue: str) -> Route:
    place = Location(scheme="hdfs", authority="ns", path="/landing")
    return Route(
        name=name, sources=(("b", "raw/"),), destinations=(place,), queues=frozenset({queue})
    )


@pytest.mark.parametrize("written", [NAME, ARN, URL])
def test_a_route_serves_its_queue_however_it_is_written(written: str) -> None:
    assert serves_queue(route("r", written), ARN)
    assert not serves_queue(route("r", written), ARN.replace("orders", "other"))


def test_two_routes_of_one_queue_overlap_however_it_is_written() -> None:
    refuse_overlaps([route("a", ARN), route("b", URL.replace("orders", "other"))])
    with pytest.raises(Exception, match="E_CFG_OVERLAP"):
        refuse_overlaps([route("a", ARN), route("b", URL)])


@pytest.mark.parametrize("queue", [ARN, URL, PRIVATE])
def test_a_queue_of_another_region_is_refused(queue: str) -> None:
    named = parse_queue(queue)
    named.check_region("us-west-2")
    with pytest.raises(BadArgument, match="in us-west-2, and REGION is eu-west-1"):
        named.check_region("eu-west-1")
    QueueName(text="q", name="q").check_region("eu-west-1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", ARN, "eu-west-1", "--allow", "s3://bucket/ -> file:///tmp/x"],
        ["run", "no queue", "us-west-2", "--allow", "s3://bucket/ -> file:///tmp/x"],
        ["send", ARN, "eu-west-1", "s3://bucket/a", "/x"],
        ["send", "no queue", "us-west-2", "s3://bucket/a", "/x"],
        ["dlq", "list", URL, "eu-west-1"],
        ["dlq", "redrive", ARN, "eu-west-1", "--all"],
    ],
)
def test_every_command_refuses_with_64(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == ExitCode.USAGE
