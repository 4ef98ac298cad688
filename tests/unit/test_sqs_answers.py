"""What SQS, or something in its place, answers: taken whole or not at all, and never the end."""

from __future__ import annotations

import hashlib
import json
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import HTTPClientError, ReadTimeoutError

from backhaul.adapters.aws.answers import CheckedSession
from backhaul.adapters.aws.causes import Cause, CredentialSourceError
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.credentials import AwsCredentials
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.errors import BackhaulError, ConfigurationError, NotAllowed, OutageError
from backhaul.core.ports import DeadLetterReason, Message
from backhaul.testing.fakes import FakeClock

pytestmark = pytest.mark.slow

URL = "https://sqs.us-east-1.amazonaws.com/000000000000/work"
HTML = b"<html><body>Sign in to the guest network</body></html>"
KMS_DENIED = (
    b'{"__type": "com.amazonaws.sqs#KmsAccessDenied", "message": "The ciphertext refers to a '
    b'customer master key that does not exist, or you are not allowed to access."}'
)
Answer = tuple[int, dict[str, str], bytes]


class Raw:
    """A body as urllib3 gives it."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.is_closed = False

    def read1(self, amt: int) -> bytes:
        del amt
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.is_closed = True


class Wire:
    """Answers by operation, in place of the connections of every client.

    An answer of its own for the dead-letter queue is under `OPERATION dead`.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        target: Any = request.headers["X-Amz-Target"]
        operation = target.decode("ascii").rpartition(".")[2]
        dead = self.answers.get(f"{operation} dead") if b"/dead" in (request.body or b"") else None
        status, headers, body = dead or self.answers[operation]
        return AWSResponse(request.url, status, headers, Raw(body))  # type: ignore[arg-type]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS", raising=False)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    made = Wire()
    monkeypatch.setattr(
        "botocore.httpsession.URLLib3Session.send", lambda _, request: made.send(request)
    )
    return made


def ok(document: object) -> Answer:
    return 200, {}, json.dumps(document).encode()


def facts(name: str) -> dict[str, object]:
    return {
        "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}",
        "RedrivePolicy": json.dumps(
            {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": 9}
        ),
    }


@pytest.fixture
def queue(wire: Wire) -> SqsQueue:
    wire.answers["GetQueueAttributes"] = ok({"Attributes": facts("work")})
    wire.answers["GetQueueUrl"] = ok({"QueueUrl": URL.replace("work", "dead")})
    return SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())


def md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def sent(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "MessageId": "m",
        "ReceiptHandle": "h",
        "Body": "raw/p/, /land",
        "MD5OfBody": md5("raw/p/, /land"),
        "Attributes": {"SentTimestamp": "1767225600000", "ApproximateReceiveCount": "2"},
        "MessageAttributes": {"a": {"DataType": "String", "StringValue": "v"}},
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def receive(queue: SqsQueue) -> list[Message]:
    return queue.receive(max_messages=10, wait_s=0, visibility_timeout_s=30)


def test_a_message_is_read_whole(wire: Wire, queue: SqsQueue) -> None:
    wire.answers["ReceiveMessage"] = ok({"Messages": [sent()]})
    (message,) = receive(queue)
    assert (message.message_id, message.body) == ("m", "raw/p/, /land")
    assert (message.receive_count, message.attributes) == (2, {"a": "v"})
    assert message.sent_at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("body", [{}, {"Messages": []}, {"Messages": None}])
def test_an_empty_queue_is_an_answer(wire: Wire, queue: SqsQueue, body: object) -> None:
    wire.answers["ReceiveMessage"] = ok(body)
    assert receive(queue) == []


@pytest.mark.parametrize(
    "body",
    [HTML, b"", b"[]", b"5", b"null", b'{"Messages": 5}', b'{"Messages": [{"Body"', b"\xff\xfe",
     b"[" * 50_000, b'{"Messages": {"a": 1}}'],
    ids=lambda body: body[:20].decode("ascii", "replace") or "empty",
)  # fmt: skip
def test_what_is_no_answer_is_never_an_empty_queue(
    wire: Wire, queue: SqsQueue, body: bytes
) -> None:
    wire.answers["ReceiveMessage"] = 200, {}, body
    with pytest.raises(OutageError) as caught:
        receive(queue)
    assert caught.value.code in {"E_SQS_UNREACHABLE", "E_SQS_ANSWER"}
    assert caught.value.dependency == "sqs"


def test_a_body_that_ends_early_is_no_answer(wire: Wire, queue: SqsQueue) -> None:
    wire.answers["ReceiveMessage"] = 200, {"Content-Length": "3"}, b"{}"
    with pytest.raises(OutageError, match="E_SQS_UNREACHABLE"):
        receive(queue)


@pytest.mark.parametrize(
    "changes",
    [
        {"Body": None},
        {"Body": 5},
        {"Body": {"a": 1}},
        {"MessageId": None},
        {"MessageId": ""},
        {"MessageId": "m\ud800"},
        {"MessageId": "m" * 1001},
        {"ReceiptHandle": "h\ud800"},
        {"ReceiptHandle": None},
        {"ReceiptHandle": []},
        {"MD5OfBody": "0" * 32},
    ],
    ids=str,
)
def test_a_message_that_cannot_be_taken_is_reported_and_the_others_are_worked_on(
    wire: Wire, queue: SqsQueue, changes: dict[str, object]
) -> None:
    wire.answers["ReceiveMessage"] = ok({"Messages": [sent(**changes), sent(MessageId="good")]})
    assert [one.message_id for one in receive(queue)] == ["good"]
    with pytest.raises(OutageError, match="E_SQS_ANSWER"):
        receive(queue)
    assert len(receive(queue)) == 1, "reported once, then it goes on"
    wire.answers["ReceiveMessage"] = ok({"Messages": [sent(**changes)]})
    with pytest.raises(OutageError, match="E_SQS_ANSWER"):
        receive(queue)


@pytest.mark.parametrize(
    "attributes",
    [
        {"SentTimestamp": "9" * 40},
        {"SentTimestamp": "-9" + "9" * 30},
        {"SentTimestamp": "soon"},
        {"SentTimestamp": 5},
        {"SentTimestamp": "1767225600"},
        {"SentTimestamp": "0"},
        {"ApproximateReceiveCount": "-7", "SenderId": {}},
        {},
    ],
    ids=str,
)
def test_odd_system_attributes_never_stop_a_message(
    wire: Wire, queue: SqsQueue, attributes: dict[str, object]
) -> None:
    wire.answers["ReceiveMessage"] = ok({"Messages": [sent(Attributes=attributes)]})
    (message,) = receive(queue)
    assert message.sent_at is None
    assert message.receive_count >= 1


# ---------------------------------------------------------------- sending


REASON = DeadLetterReason(
    code="E_MSG_FORMAT",
    sentence="no comma",
    hint="",
    attempts=1,
    first_seen_at=datetime(2026, 1, 1, tzinfo=UTC),
    transfer_id="t",
    host="h",
)


@pytest.fixture
def message(wire: Wire, queue: SqsQueue) -> Message:
    wire.answers["ReceiveMessage"] = ok({"Messages": [sent()]})
    (message,) = receive(queue)
    return message


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, HTML),
        (200, {}, b""),
        ok({}),
        ok({"MessageId": ""}),
        ok({"MessageId": 7}),
        ok({"MessageId": "m", "MD5OfMessageBody": "0" * 32}),
    ],
    ids=["html", "empty", "nothing", "no-id", "number", "another-body"],
)
def test_a_dead_letter_counts_only_once_sqs_has_taken_it(
    wire: Wire, queue: SqsQueue, message: Message, answer: Answer
) -> None:
    """The message is deleted after it; a page of a proxy must not pass for its copy."""
    wire.answers["SendMessage"] = answer
    with pytest.raises(OutageError):
        queue.send_dead_letter(message, REASON)
    with pytest.raises(OutageError):
        queue.send("raw/p/, /land")
    wire.answers["SendMessage"] = ok({"MessageId": "m", "MD5OfMessageBody": md5(message.body)})
    assert queue.send_dead_letter(message, REASON)


@pytest.mark.parametrize("body", [HTML, b"[]", b'"done"'])
def test_a_deletion_counts_only_where_sqs_answers(
    wire: Wire, queue: SqsQueue, message: Message, body: bytes
) -> None:
    wire.answers["DeleteMessage"] = wire.answers["ChangeMessageVisibility"] = 200, {}, body
    calls: list[Callable[[], object]] = [
        lambda: queue.delete(message),
        lambda: queue.extend(message, 30),
    ]
    for call in calls:
        with pytest.raises(OutageError, match="E_SQS_UNREACHABLE"):
            call()
    for good in (b"", b"{}"):
        wire.answers["DeleteMessage"] = 200, {}, good
        queue.delete(message)


# ---------------------------------------------------------------- batches


def failed(name: str, code: str, *, is_ours: bool) -> dict[str, object]:
    return {"Id": name, "Code": code, "Message": "no", "SenderFault": is_ours}


BATCH = {
    "Successful": [{"Id": "0"}],
    "Failed": [
        failed("1", "ReceiptHandleIsInvalid", is_ours=True),
        failed("2", "InternalError", is_ours=False),
        failed("3", "RequestThrottled", is_ours=True),
        failed("4", "AWS.SimpleQueueService.NonExistentQueue", is_ours=True),
    ],
}  # and nothing of the sixth


def test_a_batch_that_is_deleted_in_part_is_told_apart_message_by_message(
    wire: Wire, queue: SqsQueue, message: Message
) -> None:
    wire.answers["DeleteMessageBatch"] = ok(BATCH)
    errors = queue.delete_batch([message] * 6)

    assert [error and error.code for error in errors] == [
        None,
        None,  # forgotten: as good as deleted
        "E_SQS_UNREACHABLE",
        "E_SQS_THROTTLED",
        "E_QUEUE_NOT_FOUND",
        "E_SQS_UNREACHABLE",
    ]
    assert all(error is None or isinstance(error, OutageError) for error in errors)


def test_a_batch_that_is_extended_in_part_is_told_apart_message_by_message(
    wire: Wire, queue: SqsQueue, message: Message
) -> None:
    wire.answers["ChangeMessageVisibilityBatch"] = ok(BATCH)
    errors = queue.extend_batch([(message, 30)] * 6)

    assert [error and error.code for error in errors] == [
        None,
        "E_VISIBILITY_LOST",
        "E_SQS_UNREACHABLE",
        "E_SQS_THROTTLED",
        "E_QUEUE_NOT_FOUND",
        "E_SQS_UNREACHABLE",
    ]


@pytest.mark.parametrize(
    "body", [{}, {"Successful": None}, {"Successful": [{}], "Failed": []}, {"Failed": [{}]}]
)
def test_a_batch_whose_answer_names_no_entry_has_done_nothing(
    wire: Wire, queue: SqsQueue, message: Message, body: object
) -> None:
    wire.answers["DeleteMessageBatch"] = ok(body)
    errors = queue.delete_batch([message] * 2)
    assert [error and error.code for error in errors] == ["E_SQS_UNREACHABLE"] * 2


@pytest.mark.parametrize("body", [HTML, b"", b"[]"])
def test_a_batch_counts_only_where_sqs_answers(
    wire: Wire, queue: SqsQueue, message: Message, body: bytes
) -> None:
    wire.answers["DeleteMessageBatch"] = wire.answers["ChangeMessageVisibilityBatch"] = (
        200,
        {},
        body,
    )
    with pytest.raises(OutageError, match="E_SQS_UNREACHABLE"):
        queue.delete_batch([message] * 2)
    with pytest.raises(OutageError, match="E_SQS_UNREACHABLE"):
        queue.extend_batch([(message, 30)] * 2)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (
            (400, {"x-amzn-query-error": "KMS.AccessDeniedException;Sender"}, KMS_DENIED),
            "E_SQS_KMS",
        ),
        ((400, {"x-amzn-query-error": "KMS.DisabledException;Sender"}, KMS_DENIED), "E_SQS_KMS"),
        ((400, {}, KMS_DENIED), "E_SQS_KMS"),
        ((400, {}, b'{"__type": "com.amazonaws.sqs#NeverHeardOf"}'), "E_AWS_UNEXPECTED"),
        ((400, {}, b'{"__type": 5}'), "E_SQS_UNREACHABLE"),
        ((400, {}, b"[]"), "E_SQS_UNREACHABLE"),
        ((100, {}, b'{"MessageId": "m", "Messages": []}'), "E_SQS_UNREACHABLE"),
        ((405, {"x-amzn-RequestId": "r"}, b"Authorization: VERYSECRET"), "E_AWS_UNEXPECTED"),
        ((403, {"Content-Type": "text/html"}, HTML), "E_SQS_UNREACHABLE"),
        ((403, {}, b'{"message": "Forbidden"}'), "E_SQS_UNREACHABLE"),
        ((407, {}, b""), "E_SQS_UNREACHABLE"),
        ((302, {"Location": "https://login.example"}, b""), "E_SQS_UNREACHABLE"),
        ((502, {}, HTML), "E_SQS_UNREACHABLE"),
        ((503, {}, b""), "E_SQS_THROTTLED"),
        ((403, {"x-amzn-RequestId": "r"}, b""), "E_AWS_DENIED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_refusal_of_a_running_queue_is_an_outage(
    wire: Wire, queue: SqsQueue, message: Message, answer: Answer, code: str
) -> None:
    for operation in ("ReceiveMessage", "SendMessage", "DeleteMessage", "ChangeMessageVisibility"):
        wire.answers[operation] = answer
    calls: list[Callable[[], object]] = [
        lambda: receive(queue),
        lambda: queue.send_dead_letter(message, REASON),
        lambda: queue.delete(message),
        lambda: queue.extend(message, 30),
    ]
    for call in calls:
        with pytest.raises(OutageError) as caught:
            call()
        assert caught.value.code == code
        assert "VERYSECRET" not in caught.value.message
        if code == "E_SQS_KMS":
            assert "KMS" in caught.value.message
            assert "kms:Decrypt" in caught.value.hint


@pytest.mark.parametrize("code", ["NonExistentQueue", "QueueDoesNotExist", "QueueDeletedRecently"])
def test_a_queue_that_does_not_exist_ends_the_start(wire: Wire, code: str) -> None:
    body = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "x"}}'.encode()
    wire.answers["GetQueueAttributes"] = 400, {}, body
    with pytest.raises(ConfigurationError, match="E_QUEUE_NOT_FOUND"):
        SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())


GONE: Answer = (400, {}, b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "x"}')
DEAD = "dead-letter queue dead, which the redrive policy of work names"


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (GONE, ConfigurationError, "E_QUEUE_DLQ_GONE"),
        ((503, {}, b""), OutageError, "E_SQS_THROTTLED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dead_letter_queue_at_fault_is_named_at_the_start(
    wire: Wire, answer: Answer, kind: type[BackhaulError], code: str
) -> None:
    wire.answers["GetQueueAttributes"] = ok({"Attributes": facts("work")})
    wire.answers["GetQueueUrl"] = answer
    with pytest.raises(kind, match=f"{code}: {DEAD}: "):
        SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())


@pytest.mark.parametrize(
    ("answer", "code"), [(GONE, "E_QUEUE_DLQ_GONE"), ((503, {}, b""), "E_SQS_THROTTLED")]
)
def test_a_dead_letter_queue_at_fault_is_named_under_way(
    wire: Wire, queue: SqsQueue, message: Message, answer: Answer, code: str
) -> None:
    wire.answers["SendMessage"] = answer
    with pytest.raises(OutageError, match=f"{code}: {DEAD}: dead letter for message m: "):
        queue.send_dead_letter(message, REASON)


def test_a_role_that_may_not_be_taken_on_is_told_by_its_trust_policy_at_the_start(
    monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    def refuse(_: object) -> None:
        raise CredentialSourceError(Cause.DENIED, "STS refused AssumeRole: AccessDenied")

    monkeypatch.setattr(AwsCredentials, "_search", refuse)
    with pytest.raises(NotAllowed, match=r"E_AWS_DENIED.* STS refused AssumeRole") as caught:
        SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())
    assert "trust policy" in caught.value.hint
    assert wire.answers == {}


@pytest.mark.parametrize("policy", ["[" * 50_000, "[]", "5", "", '{"deadLetterTargetArn": "dead"}'])
def test_a_redrive_policy_that_names_no_queue_is_none(wire: Wire, policy: str) -> None:
    wire.answers["GetQueueAttributes"] = ok(
        {"Attributes": {**facts("work"), "RedrivePolicy": policy}}
    )
    opened = SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())
    assert opened.facts.dead_letter_url is None


@pytest.mark.parametrize(
    ("retention", "receives", "told"),
    [
        ("60", "1", (60, 1)),
        ("1209600", 1000, (1_209_600, 1000)),
        ("0", "0", (None, None)),
        ("59", "1001", (None, None)),
        ("1209601", "-1", (None, None)),
        ("soon", "9" * 5000, (None, None)),
    ],
)
def test_numbers_that_sqs_does_not_have_are_not_told(
    wire: Wire, retention: str, receives: object, told: tuple[int | None, int | None]
) -> None:
    """A retention of nothing would make the first hold a death; a count of none the first try."""
    policy = json.dumps(
        {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:0:dead", "maxReceiveCount": receives}
    )
    wire.answers["GetQueueAttributes"] = ok(
        {
            "Attributes": {
                **facts("work"),
                "RedrivePolicy": policy,
                "MessageRetentionPeriod": retention,
            }
        }
    )
    wire.answers["GetQueueUrl"] = ok({"QueueUrl": URL.replace("work", "dead")})
    opened = SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())
    assert (opened.facts.retention_s, opened.facts.max_receive_count) == told
    assert opened.facts.dead_letter_retention_s == told[0]


@pytest.mark.parametrize(
    "answer", [ok({}), ok({"Attributes": {}}), ok({"Attributes": []}), (200, {}, HTML)]
)
def test_a_queue_that_says_nothing_of_itself_is_not_opened(wire: Wire, answer: Answer) -> None:
    wire.answers["GetQueueAttributes"] = answer
    with pytest.raises(BackhaulError) as caught:
        SqsQueue.open(URL, "us-east-1", AwsSession("us-east-1"), SystemClock())
    assert caught.value.code in {"E_SQS_ANSWER", "E_SQS_UNREACHABLE"}


# ---------------------------------------------------------------- the session below


class Answering:
    """A session below that has one answer."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        return AWSResponse(request.url, 200, {}, self.raw)  # type: ignore[arg-type]


REQUEST = AWSPreparedRequest("POST", URL, {}, b"", False)  # type: ignore[arg-type] # noqa: FBT003


def test_a_body_without_end_is_given_up() -> None:
    raw = Raw(*[b"x" * 100] * 50)
    session: Any = Answering(raw)
    with pytest.raises(HTTPClientError, match="over 1000 B"):
        CheckedSession(session, 60, limit_bytes=1000).send(REQUEST)
    assert raw.is_closed


def test_a_body_that_drips_is_given_up() -> None:
    """Each byte comes before the read timeout, and the last one never."""
    clock = FakeClock()

    class Dripping(Raw):
        def read1(self, amt: int) -> bytes:
            del amt
            clock.advance(5)
            return b" "

    raw = Dripping()
    session: Any = Answering(raw)
    began_s = clock.monotonic()
    with pytest.raises(ReadTimeoutError):
        CheckedSession(session, 60, monotonic=clock.monotonic).send(REQUEST)
    assert raw.is_closed
    assert clock.monotonic() - began_s <= 65


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked", b"Content-Length: 1000000"])
def test_a_poll_whose_answer_drips_ends(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """A dripping server, as the library below sees it: one byte a time, in one read or many."""
    done = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            piece = b"1\r\n \r\n" if b"chunked" in head else b" "
            with suppress(OSError):
                while not done.wait(0.05):
                    self.request.sendall(piece)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setattr("backhaul.adapters.aws.sqs._POLL_READ_TIMEOUT_S", 0.5)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{server.server_address[1]}")
        aws = AwsSession("us-east-1")
        queue = SqsQueue.for_sending(URL, "us-east-1", aws, SystemClock())
        with pytest.raises(OutageError, match="E_SQS_UNREACHABLE"):
            receive(queue)
        done.set()
        server.shutdown()


# ---------------------------------------------------------------- depth


def counts(**changes: object) -> Answer:
    whole = {
        "ApproximateNumberOfMessages": "3",
        "ApproximateNumberOfMessagesNotVisible": "2",
        "ApproximateNumberOfMessagesDelayed": "1",
        "MessageRetentionPeriod": "345600",
    }
    kept = {name: value for name, value in {**whole, **changes}.items() if value is not None}
    return ok({"Attributes": kept})


def test_the_depth_is_read_whole(wire: Wire, queue: SqsQueue) -> None:
    wire.answers["GetQueueAttributes"] = counts()
    found = queue.depth()
    assert (found.visible, found.in_flight, found.delayed, found.retention_s) == (3, 2, 1, 345_600)
    wire.answers["GetQueueAttributes"] = counts(
        ApproximateNumberOfMessagesDelayed=None, MessageRetentionPeriod="for ever"
    )
    assert (queue.depth().delayed, queue.depth().retention_s) == (0, None)


@pytest.mark.parametrize("value", [None, "", "many", "-1"])
@pytest.mark.parametrize("tail", ["", "NotVisible"])
def test_a_depth_without_usable_counts_is_none(
    wire: Wire, queue: SqsQueue, tail: str, value: str | None
) -> None:
    wire.answers["GetQueueAttributes"] = counts(**{f"ApproximateNumberOfMessages{tail}": value})
    with pytest.raises(OutageError, match="E_SQS_ANSWER"):
        queue.depth()


def test_a_depth_that_is_refused_is_an_outage(wire: Wire, queue: SqsQueue) -> None:
    denied = json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException"}).encode()
    wire.answers["GetQueueAttributes"] = 403, {}, denied
    with pytest.raises(OutageError, match="read depth"):
        queue.depth()


def test_a_dead_letter_queue_counts_all_its_letters(wire: Wire, queue: SqsQueue) -> None:
    wire.answers["GetQueueAttributes"] = counts()
    wire.answers["GetQueueAttributes dead"] = counts(ApproximateNumberOfMessages="7")
    found = queue.depth()
    assert (found.visible, found.dead_letters) == (3, 7 + 2 + 1)


@pytest.mark.parametrize(
    "answer",
    [
        (403, {}, b'{"__type": "com.amazon.coral.service#AccessDeniedException"}'),
        (400, {}, b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist"}'),
        (200, {}, HTML),
        counts(ApproximateNumberOfMessages="many"),
        ok({}),
    ],
)
def test_a_dead_letter_queue_that_gives_no_count_takes_none_from_the_queue(
    wire: Wire, queue: SqsQueue, answer: Answer
) -> None:
    wire.answers["GetQueueAttributes"] = counts()
    wire.answers["GetQueueAttributes dead"] = answer
    found = queue.depth()
    assert (found.visible, found.dead_letters) == (3, None)
