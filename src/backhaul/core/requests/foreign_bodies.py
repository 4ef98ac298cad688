"""Recognises what other programs put into a queue, so that a refusal states what to send instead.

The shape is recognised before any field is judged: a body of another system is refused as what it
is, not for the first field that it lacks. Nothing here makes a body acceptable, and nothing of a
body comes back except names that are safe to show.

Sources: Lambda developer guide, "Retaining records of asynchronous invocations" and the event
examples of each service; Amazon SQS Extended Client Library for Java (PayloadS3Pointer); S3 user
guide, "Invoking a Lambda function from Batch Operations"; Azure Event Grid and CloudEvents 1.0
schemas; Google Cloud Storage, "Pub/Sub notifications".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from backhaul.core.errors import BadMessage
from backhaul.core.text import printable, shown

JSON_FORM = '{"v":1,"source":"s3://bucket/prefix/","destination":"/dir"}'
QUOTES = "'`<\u201c"  # no readable line begins with one of these
_REQUEST = f"send `bucket/path, /dir` or {JSON_FORM}"
_DIRECT = "point the bucket's notification at this queue itself, or forward the S3 event unchanged"
_ONLY_S3 = "only S3 is copied from; data in another cloud needs another tool"
_TO_QUEUE = "send S3's own events: a bucket notification to this queue, or an EventBridge rule"

POINTERS = frozenset(
    {
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        "com.amazon.sqs.javamessaging.MessageS3Pointer",
    }
)


# What the body is and what to send instead, for people; True: it carries a message inside.
_Known = tuple[str, str] | tuple[str, str, bool]
_STEP_FUNCTIONS: _Known = (
    "a task of Step Functions that waits for its token",
    f"Backhaul returns no tokens: {_REQUEST}, without waitForTaskToken",
)
# By the top-level fields that together identify it; the first whose fields are all there counts.
_OBJECTS: dict[str, _Known] = {
    "requestContext requestPayload": (
        "the record of a Lambda destination: the event is inside, in requestPayload",
        f"{_DIRECT}; or let the function send requestPayload alone",
        True,
    ),
    "requestContext headers": (
        "an HTTP request as API Gateway or a load balancer gives it to Lambda",
        f"send the content of its body: {_REQUEST}",
        True,
    ),
    "receiptHandle body": (
        "a message of SQS as Lambda and EventBridge Pipes receive it",
        "send its body alone: with a Pipe, the input template <$.body>",
        True,
    ),
    "ReceiptHandle Body": (
        "a message of SQS as ReceiveMessage gives it",
        "send its Body alone",
        True,
    ),
    "Messages": ("the output of ReceiveMessage", "send the Body of each message, alone", True),
    "MessageBody": (
        "the input of SendMessage",
        "send the text of MessageBody alone, not the whole document",
        True,
    ),
    "eventVersion eventSource s3": (
        "one record of an S3 event without its Records array",
        'send it as {"Records":[…]}, as S3 does',
        True,
    ),
    "invocationSchemaVersion tasks": (
        "an invocation of S3 Batch Operations",
        f"one message for each prefix: {_REQUEST}",
    ),
    "xAmzRequestId getObjectContext": ("a request of S3 Object Lambda", _TO_QUEUE),
    "s3Bucket s3ObjectKey": ("CloudTrail's notice of a new log file", _TO_QUEUE),
    "AlarmName NewStateValue": (
        "a CloudWatch alarm",
        "subscribe another queue to the alarm's topic",
    ),
    "notificationType mail": (
        "a notification of SES",
        "an S3 rule action of SES writes an object: let the bucket notify this queue",
    ),
    "eventType mail": ("an event of SES", "publish SES events to another queue"),
    "taskToken": _STEP_FUNCTIONS,
    "TaskToken": _STEP_FUNCTIONS,
    "executionArn stateMachineArn": (
        "an execution of Step Functions",
        f"let a task of the state machine {_REQUEST}",
    ),
    "jobName jobRunId": ("a notice of a Glue job", f"let the job {_REQUEST}"),
    "eventType eventTime subject": ("an event of Azure Event Grid", _ONLY_S3),
    "specversion type": ("an event in the CloudEvents format", _TO_QUEUE),
    "message subscription": ("a push message of Google Cloud Pub/Sub", _ONLY_S3),
    "records deliveryStreamArn": (
        "a batch of Firehose",
        "let Firehose write to S3, and the bucket notify this queue",
    ),
    "content-encoding properties body": (
        "a task of Celery (kombu)",
        f"use a queue of its own; {_REQUEST}",
        True,
    ),
    "backhaul sha256 head": (
        "the dead letter of a body that SQS did not accept again, not a request",
        f"send the request anew; head has the beginning of its body: {_REQUEST}",
    ),
    "Type Message": (
        "a notification of SNS without its TopicArn: a program has written it anew",
        "forward it unchanged, or send its Message alone",
        True,
    ),
    "detail source": (
        "an event of EventBridge without its detail-type: an input transformer made it anew",
        "let the rule's target send the matched event, unchanged",
        True,
    ),
    "awslogs": (
        "a batch of log lines as CloudWatch Logs subscriptions give it to Lambda",
        _TO_QUEUE,
    ),
    "kind bucket name": ("a notification of Google Cloud Storage", _ONLY_S3),
}
_ONLY_AWS = "only events that AWS made are read: send requests"
# By the eventSource (or EventSource) of a record; another sender is named as it names itself.
_SENDERS: dict[str, _Known] = {
    "aws:sqs": (
        "a message of SQS as Lambda receives it",
        "let the function send the record's body alone",
        True,
    ),
    "aws:sns": (
        "a notification of SNS as Lambda receives it",
        "subscribe this queue to the topic itself, or send Sns.Message alone",
        True,
    ),
    "aws:dynamodb": ("a change of a DynamoDB table", _TO_QUEUE),
    "aws:kinesis": ("a record of a Kinesis stream", _TO_QUEUE),
    "aws:kafka": ("a record of a Kafka topic", _TO_QUEUE),
    "SelfManagedKafka": ("a record of a Kafka topic", _TO_QUEUE),
    "aws:mq": ("a message of Amazon MQ", _TO_QUEUE),
    "aws:rmq": ("a message of Amazon MQ", _TO_QUEUE),
    "aws:docdb": ("a change of a DocumentDB collection", _TO_QUEUE),
    "aws:ses": ("a mail received by SES", _TO_QUEUE),
    "aws:codecommit": ("a change of a CodeCommit repository", _TO_QUEUE),
    "minio:s3": ("an event of MinIO", _ONLY_AWS),
    "ceph:s3": ("an event of Ceph", _ONLY_AWS),
    "acs:oss": ("an event of Alibaba Cloud OSS", "only S3 is copied from"),
}
_CLOUDTRAIL = re.compile(r"[a-z0-9.-]+\.amazonaws\.com")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,30}")
_FIELDS_SHOWN = 5
_OF_A_RECORD = frozenset({"eventversion", "eventname", "eventtime", "awsregion"})


def _refusal(what: str, hint: str, is_envelope: bool = False) -> BadMessage:  # noqa: FBT001, FBT002
    """E_MSG_ENVELOPE where something inside could be sent by itself, else E_MSG_FOREIGN."""
    code = "E_MSG_ENVELOPE" if is_envelope else "E_MSG_FOREIGN"
    return BadMessage(code, f"body is {what}", hint=hint)


def refuse_object(document: Mapping[str, Any]) -> None:
    """Refuse an object that is another system's; return for any other.

    Raises:
        BadMessage: E_MSG_ENVELOPE, E_MSG_FOREIGN.
    """
    for fields, known in _OBJECTS.items():
        if all(name in document for name in fields.split()):
            raise _refusal(*known)
    _refuse_sender(document)


def refuse_unknown(document: Mapping[str, Any], fields: Collection[str], *, hint: str) -> None:
    """Refuse an object that has none of these fields, however they are capitalised.

    Naming one field that is missing would not help its sender: it never was a request. `{}` passes.

    Raises:
        BadMessage: E_MSG_FOREIGN.
    """
    if not document or any(name.lower() in fields for name in document):
        return
    names = [name for name in document if _FIELD.fullmatch(name)][:_FIELDS_SHOWN]
    more = len(document) - len(names)
    list_of_names = ", ".join(names) + (f" and {more} more" if more else "")
    # The names last: a colon after `token` would be taken for a secret's.
    listed = f"; its fields are {shown(list_of_names)}" if names else ""
    raise _refusal(f"JSON of no form that is read{listed}", hint)


def refuse_record(record: Mapping[str, Any]) -> None:
    """Refuse a member of `Records` that is no S3 event; return for those that may be one.

    Raises:
        BadMessage: E_MSG_ENVELOPE, E_MSG_FOREIGN.
    """
    _refuse_sender(record)
    if "EventSource" in record and "S3" in record:
        raise _refusal(
            "an S3 event whose fields begin with capitals: a program has written it anew",
            "forward the text of the event unchanged, not the object that a library made of it",
            True,  # noqa: FBT003
        )
    if "cf" in record and "eventSource" not in record:
        raise _refusal("an event of CloudFront", _TO_QUEUE)
    if "s3" not in record and "eventSource" not in record:
        refuse_object(record)
        refuse_unknown(record, _OF_A_RECORD, hint=_TO_QUEUE)


def _refuse_sender(record: Mapping[str, Any]) -> None:
    sender = record.get("eventSource", record.get("EventSource"))
    if not isinstance(sender, str) or sender == "aws:s3":
        return
    if _CLOUDTRAIL.fullmatch(sender):
        raise _refusal("a line of CloudTrail's log, not an S3 event notification", _TO_QUEUE)
    foreign = (f"an event of {shown(sender, 40) or '(no name)'}, not of aws:s3", _TO_QUEUE)
    raise _refusal(*_SENDERS.get(sender, foreign))


def refuse_array(document: Sequence[object]) -> None:
    """Refuse an array that is known; return for any other.

    Raises:
        BadMessage: E_MSG_ENVELOPE, E_MSG_FOREIGN, E_MSG_SHAPE.
    """
    first = document[0] if document else None
    if isinstance(first, str) and first in POINTERS:
        raise _refusal(
            "a pointer of the SQS Extended Client: the message itself is in S3",
            "turn off payload offloading for this queue (withPayloadSupportDisabled): a request is"
            " far below SQS's limit",
            True,  # noqa: FBT003
        )
    if not isinstance(first, dict):
        return
    if "v" in first or "Records" in first:
        raise BadMessage(
            "E_MSG_SHAPE",
            f"body is an array of {len(document)} messages",
            hint="send each as a message of its own: SendMessageBatch takes ten at a time",
        )
    refuse_record(first)
    refuse_object(first)


def refuse_text(inner: str) -> None:
    """Refuse a JSON text, which is what a body in double quotes is; return where it is nothing.

    Raises:
        BadMessage: E_MSG_SHAPE: the text would be a message without its quotes.
    """
    if inner.strip()[:1] in {"{", "["} or inner.count(",") == 1:
        raise BadMessage(
            "E_MSG_SHAPE",
            f"body is a JSON text that holds {_inside(inner)}: remove the quotes around it",
            hint="send the text itself: encode it as JSON once, or a line not at all",
        )


def _inside(text: str) -> str:
    return "a JSON document" if text.strip()[:1] in {"{", "["} else "a line"


def why_not_read(text: str) -> str:
    """Why a body that is neither JSON nor a line is refused; empty where nothing is recognised."""
    first, last = text[0], text[-1]
    if len(text) > 1 and (first, last) in {("'", "'"), ("\u201c", "\u201d"), ("`", "`")}:
        return f"body is in quotes ({printable(first)}): send what is between them"
    if text.startswith("<"):
        return "body is XML or HTML: no form of a message is"
    if text.startswith(("Action=", "MessageBody=")):
        return "body is the form of a SendMessage call: send the text of MessageBody alone"
    return _why_encoded(text)


def _why_encoded(text: str) -> str:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return ""
    if data.startswith(b"\x1f\x8b"):
        return "body is base64 of gzip: send the text itself, which SQS does not need packed"
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        return ""
    if "," in decoded or decoded[:1] in {"{", "["}:
        return "body looks like base64 of a request: send the text itself"
    return ""


def why_bad_json(text: str) -> str:
    """What to write instead of JSON that does not parse; empty where nothing is recognised."""
    if text.startswith('"'):
        return "write a line without quotes: bucket/path, /dir"
    if text.startswith("{'"):
        return "JSON has double quotes: use a JSON library, not the text of an object"
    return ""
