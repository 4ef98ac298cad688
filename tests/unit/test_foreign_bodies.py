"""Bodies of other systems: the refusal names what the body is and what to send instead."""

from __future__ import annotations

import json

import pytest

from backhaul.adapters.aws.dead_letter import is_shortened, shortened
from backhaul.core.errors import BadMessage, PermanentError
from backhaul.core.requests.body import read_message
from backhaul.core.requests.content import CallEvent
from tests.catalogue import Row, name, rows

DEFAULT_FS = "hdfs://nameservice"
RECORD = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "bucket"}, "object": {"key": "raw/a"}},
}


def refusal(body: object) -> PermanentError:
    text = body if isinstance(body, str) else json.dumps(body)
    try:
        (ask, *_) = read_message(text, default_fs=DEFAULT_FS).records
    except PermanentError as error:
        return error
    assert isinstance(ask, PermanentError)
    return ask


# What it is, what to send, and the code: words of each.
NAMED = [
    ({"requestContext": {}, "requestPayload": {}}, "Lambda destination", "requestPayload alone"),
    ({"Records": [{"eventSource": "aws:sqs", "body": "x"}]}, "SQS as Lambda", "body alone"),
    ({"Records": [{"EventSource": "aws:sns", "Sns": {}}]}, "SNS as Lambda", "Sns.Message alone"),
    (
        ["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3Key": "k"}],
        "Extended Client",
        "turn off payload offloading",
    ),
    ('"s3://src/click/, /landing"', "JSON text that holds a line", "send the text itself"),
    (json.dumps(json.dumps(RECORD)), "JSON text that holds a JSON document", "encode it as JSON"),
    ('"bucket/a", "/x"', "not valid JSON", "without quotes"),
    ("{'v': 1}", "not valid JSON", "double quotes"),
    ("'bucket/a, /x'", "in quotes", "bucket/path, /dir"),
    ("\u201cbucket/a, /x\u201d", "in quotes", "bucket/path, /dir"),
    (RECORD, "without its Records array", '{"Records":[…]}'),
    ([RECORD], "without its Records array", '{"Records":[…]}'),
    ([{"v": 1}, {"v": 1}], "array of 2 messages", "each as a message"),
    ({"Records": [{"EventSource": "aws:s3", "S3": {}}]}, "capitals", "unchanged"),
    ({"Records": [{"eventSource": "aws:dynamodb"}]}, "DynamoDB", "S3's own events"),
    ({"Records": [{"eventSource": "ceph:s3"}]}, "Ceph", "send requests"),
    ({"Records": [{"cf": {"config": {}}}]}, "CloudFront", "S3's own events"),
    ({"AlarmName": "a", "NewStateValue": "ALARM"}, "CloudWatch alarm", "another queue"),
    ({"taskToken": "x"}, "Step Functions", "no tokens"),
    ({"jobName": "x", "jobRunId": "y"}, "Glue", "s3://bucket/prefix/"),
    ({"awslogs": {"data": "H4s"}}, "CloudWatch Logs", "S3's own events"),
    (
        {"kind": "storage#object", "bucket": "b", "name": "o"},
        "Google Cloud Storage",
        "another tool",
    ),
    ({"eventSource": "aws:kafka", "records": {}}, "Kafka", "S3's own events"),
    ({"eventSource": "aws:rmq", "rmqMessagesByQueue": {}}, "Amazon MQ", "S3's own events"),
    ({"eventVersion": "1.08", "eventSource": "s3.amazonaws.com"}, "CloudTrail", "S3's own events"),
    ({"Records": [{"eventSource": "kms.amazonaws.com"}]}, "CloudTrail", "S3's own events"),
    ({"Records": [{"eventSource": "wasabi:s3"}]}, "an event of wasabi:s3", "S3's own events"),
    ({"Records": [{"eventSource": ""}]}, "an event of (no name)", "S3's own events"),
    ({"Records": [{"receiptHandle": "h", "body": "x"}]}, "SQS as Lambda", "body alone"),
    ({"Records": [{"event": {}, "cos": {}}]}, "its fields are event, cos", "S3's own events"),
    ({"Type": "Notification", "Message": "x"}, "without its TopicArn", "Message alone"),
    ({"detail": {}, "source": "aws.emr"}, "without its detail-type", "unchanged"),
    (
        {"configurationItem": {}, "messageType": "x"},
        "are configurationItem, messageType",
        "bucket/path",
    ),
    ({"displayName": "x", "job": "y", "data": {}}, "are displayName, job, data", "bucket/path"),
    (
        {"CodePipeline.job": {}},
        "no form that is read; its fields are CodePipeline.job",
        "bucket/path",
    ),
    (dict.fromkeys("abcdefg", 1), "a, b, c, d, e and 2 more", "bucket/path"),
    ({"x": 1, "token": 2}, "its fields are x, token", "bucket/path"),
    ({"raw/a": 1}, "JSON of no form that is read", "bucket/path"),
    (
        shortened("x" * 9),
        "the dead letter of a body",
        "send the request anew",
    ),
    ("<html></html>", "XML or HTML", "bucket/path, /dir"),
    ("Action=SendMessage&MessageBody=x", "SendMessage", "bucket/path, /dir"),
    ("eyJ2IjoxLCJzb3VyY2UiOiJ4In0=", "base64 of a request", "bucket/path, /dir"),
    ("H4sIAAAAAAAAA0suSs1LzKlUKM/MAwC8Af3MDQAAAA==", "gzip", "bucket/path, /dir"),
]


@pytest.mark.parametrize(("body", "what", "instead"), NAMED, ids=[one[1] for one in NAMED])
def test_the_refusal_names_the_shape_and_what_to_send(
    body: object, what: str, instead: str
) -> None:
    error = refusal(body)
    assert what in error.message
    assert instead in error.hint


@pytest.mark.parametrize("row", [row for row in rows("messages") if row.code], ids=name)
def test_a_refusal_repeats_nothing_of_a_foreign_body(row: Row) -> None:
    if row.code in {"E_MSG_FOREIGN", "E_MSG_ENVELOPE"}:
        assert "raw/a" not in f"{refusal(row.input)}"


def test_a_request_is_a_request_whatever_else_it_has() -> None:
    body = {"v": 1, "source": "s3://bucket/a", "destination": "/x", "taskToken": "x"}
    error = refusal(body)
    assert (error.code, error.message) == (
        "E_MSG_FIELD",
        "unknown field taskToken; accepted: v, source, destination, options, marker, reply_to",
    )


def test_a_call_that_cloudtrail_reports_is_an_event_of_its_own() -> None:
    detail = {"eventName": "PutObject", "requestParameters": {"bucketName": "src", "key": "a b"}}
    body = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.s3", "detail": detail}
    (ask,) = read_message(json.dumps(body), default_fs=DEFAULT_FS).records
    assert isinstance(ask, CallEvent)
    assert (ask.name, ask.source.uri if ask.source else "") == ("PutObject", "s3://src/a b")


@pytest.mark.parametrize(
    "detail", [None, [], {"requestParameters": None}, {"requestParameters": {"bucketName": 1}}]
)
def test_a_call_about_no_object_is_read(detail: object) -> None:
    body = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.s3", "detail": detail}
    (ask,) = read_message(json.dumps(body), default_fs=DEFAULT_FS).records
    assert ask == CallEvent(name="a call")


@pytest.mark.parametrize(
    "body",
    [
        '{"source":"s3://bucket/a","destination":"/x"}',
        '{"Source":"s3://bucket/a"}',
        '{"V":1}',
        "{}",
    ],
)
def test_a_request_without_its_version_is_refused_for_that(body: str) -> None:
    with pytest.raises(BadMessage, match="E_MSG_VERSION"):
        read_message(body, default_fs=DEFAULT_FS)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "body empty"),
        ("raw/\ud800a, /x", "body has characters that SQS does not take"),
        ("raw/a, /x" * 99, "body too large"),
    ],
)
def test_what_stands_for_a_body_says_why_and_is_known(body: str, why: str) -> None:
    letter = shortened(body)
    assert json.loads(letter)["backhaul"] == why
    assert is_shortened(letter)
    assert not is_shortened(body)
