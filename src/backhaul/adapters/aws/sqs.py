"""SQS: one queue and its dead-letter queue, through botocore. Implements `core.ports.Queue`.

Polling has a client of its own: a long poll occupies its connection for 20 s, must end after 25 s
when the connection is dead, and is repeated by the agent, not by botocore. botocore tries every
other call twice. How long a message stays invisible is decided in `core.agent.visibility`.

Source: Amazon SQS API reference; developer guide, "Message quotas" and "FIFO queues".
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

from backhaul.adapters.aws.causes import error_code, is_kms_refusal, message_of
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.dead_letter import attributes_for, shortened
from backhaul.adapters.aws.errors import (
    DLQ_GONE,
    HANDLE_LOST,
    QUEUE_GONE,
    extend_error,
    queue_error,
    queue_opening_error,
)
from backhaul.adapters.aws.sqs_answer import (
    bad_answer,
    read_dead_letters,
    read_depth,
    read_facts,
    read_messages,
    refusals_in,
    sent_id,
    sent_ids,
    text_in,
    with_dead_letter_queue,
)
from backhaul.adapters.aws.tls import refuse_plain_http
from backhaul.core.agent_report import QueueDepth
from backhaul.core.errors import BackhaulError, BadMessage, OutageError, VisibilityLost
from backhaul.core.ports import FIFO, Clock, DeadLetterReason, Message, QueueFacts
from backhaul.core.requests.queue_names import parse_queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_CONNECT_TIMEOUT_S = 5
# The longest poll is 20 s; a NAT that dropped the connection costs 5 s more, not 60.
_POLL_READ_TIMEOUT_S = 25
_READ_TIMEOUT_S = 10
_ATTEMPTS = 2
_CONNECTIONS = 32

_REFUSED = frozenset(
    {
        *("InvalidParameterValue", "InvalidMessageContents", "MessageTooLong"),
        *("InvalidAttributeValue", "InvalidParameterCombination", "BatchRequestTooLong"),
    }
)


class SqsQueue:
    """One SQS queue and its dead-letter queue; safe to use from several threads.

    Attributes:
        facts: Read once by `open`.
    """

    facts: QueueFacts

    def __init__(
        self, url: str, aws: AwsSession, clock: Clock, endpoint: str | None = None
    ) -> None:
        """Clients only; `open` also finds the queue and reads its attributes.

        Args:
            endpoint: `https://host` of the queue's URL, unless it is a public endpoint of SQS.
        """
        self.endpoint = endpoint
        self._aws = aws
        self._clock = clock
        self._poll = _client(aws, endpoint, _POLL_READ_TIMEOUT_S, attempts=1)
        self._call = _client(aws, endpoint, _READ_TIMEOUT_S, attempts=_ATTEMPTS)
        self._url = url
        self._unanswered: str | None = None
        self._flaws: list[str] = []

    @classmethod
    def open(
        cls,
        queue_name: str,
        region: str,
        aws: AwsSession,
        clock: Clock,
        *,
        owner: str | None = None,
    ) -> SqsQueue:
        """Find the queue and read its facts.

        Args:
            queue_name: Its name, or its URL or ARN (also of another account, which a name cannot
                identify); see `core.requests.queue_names`.
            region: The calls go where `aws` was made for; a queue of another region is refused.
            owner: Account of a queue that is named by its name alone; default: the caller's.

        Raises:
            BadArgument: E_QUEUE_NAME.
            ConfigurationError: E_QUEUE_NOT_FOUND, E_AWS_NO_CREDENTIALS, E_CFG_TLS, E_AWS_CONFIG.
            NotAllowed: E_AWS_DENIED.
            OutageError: E_SQS_UNREACHABLE, E_SQS_THROTTLED, E_AWS_EXPIRED, E_AWS_CLOCK.
        """
        queue = cls.for_sending(queue_name, region, aws, clock, owner=owner)
        queue.read_facts(f"queue {queue_name} in {region}")
        return queue

    @classmethod
    def for_sending(
        cls,
        queue_name: str,
        region: str,
        aws: AwsSession,
        clock: Clock,
        *,
        endpoint: str | None = None,
        owner: str | None = None,
    ) -> SqsQueue:
        """Find the queue only: a sender needs no right to read its attributes. As `open`.

        Args:
            endpoint: As of another queue whose dead-letter queue this is; default: by the URL.
            owner: As `open`.
        """
        named = parse_queue(queue_name)
        named.check_region(region)
        if named.url is not None:
            refuse_plain_http(named.url, "queue")
        queue = cls(named.url or named.name, aws, clock, endpoint or named.host_url)
        subject = f"queue {queue_name} in {region}"
        if named.url is None:
            account = named.account or owner
            of_account = {} if account is None else {"QueueOwnerAWSAccountId": account}
            with aws.errors(lambda exc: queue._opening(exc, subject)):
                answer = queue._call.get_queue_url(
                    QueueName=named.name,
                    **of_account,
                )
                queue._url = text_in(answer, "QueueUrl", subject)
        queue.facts = QueueFacts(
            url=queue._url,
            name=queue._url.rstrip("/").rsplit("/", 1)[-1],
            arn="",
            dead_letter_url=None,
            dead_letter_name=None,
            max_receive_count=None,
        )
        return queue

    def read_facts(self, subject: str) -> None:
        """Read the queue's attributes; raises as `open`, naming `subject`."""
        with self._aws.errors(lambda exc: self._opening(exc, subject)):
            facts, account = read_facts(self._call, self._url)
        dead = _dead_letter_queue(facts)
        with self._aws.errors(lambda exc: self._opening(exc, dead, gone=DLQ_GONE)):
            self.facts = with_dead_letter_queue(self._call, facts, account)

    # ------------------------------------------------------------ core.ports.Queue

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_timeout_s: int
    ) -> list[Message]:
        """See `core.ports.Queue.receive`. One HTTP call, not retried here."""
        if self._flaws:
            raise self._flawed(self._flaws)
        received_monotonic_s = self._clock.monotonic()
        extra: dict[str, Any] = self._receive_attempt()
        with self._errors("receive"):
            answer = self._poll.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=visibility_timeout_s,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
                **extra,
            )
        self._unanswered = None
        messages, flaws = read_messages(answer, self.facts.arn, received_monotonic_s)
        if flaws and not messages:
            raise self._flawed(flaws)
        # Good messages are returned at once; the next call reports the rest.
        self._flaws = flaws
        return messages

    def _flawed(self, flaws: list[str]) -> OutageError:
        self._flaws = []
        return bad_answer(f"queue {self.facts.name}: receive", "; ".join(flaws[:3]))

    def _receive_attempt(self) -> dict[str, str]:
        """On a FIFO queue, the name of this poll, and of the one after it if no answer comes.

        SQS gives the same messages to the same name again. Without it the messages of a lost
        answer, and their groups, would be hidden for a whole timeout. A name is used twice at
        most: SQS refuses it once one of its messages has changed.
        """
        if not self.facts.is_fifo:
            return {}
        known, self._unanswered = self._unanswered, None
        if known is None:
            known = self._unanswered = str(uuid.uuid4())
        return {"ReceiveRequestAttemptId": known}

    def extend(self, message: Message, visibility_timeout_s: int) -> None:
        """See `core.ports.Queue.extend`. Nothing is clamped: SQS enforces the 12 h total."""
        with self._aws.errors(
            lambda exc: extend_error(exc, self.facts.name, message.message_id, visibility_timeout_s)
        ):
            self._call.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=message.receipt_handle,
                VisibilityTimeout=visibility_timeout_s,
            )

    def extend_batch(
        self, changes: Sequence[tuple[Message, int]]
    ) -> Sequence[VisibilityLost | OutageError | None]:
        """See `core.ports.Queue.extend_batch`."""
        entries: Any = [
            {"Id": str(at), "ReceiptHandle": one.receipt_handle, "VisibilityTimeout": seconds}
            for at, (one, seconds) in enumerate(changes)
        ]
        with self._errors("extend messages"):
            answer = self._call.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
        refusals = refusals_in(answer, len(changes), "ChangeMessageVisibility")
        return [
            None if exc is None else extend_error(exc, self.facts.name, one.message_id, seconds)
            for exc, (one, seconds) in zip(refusals, changes, strict=True)
        ]

    def depth(self) -> QueueDepth:
        """See `core.ports.Queue.depth`. A call for each queue, tried twice by botocore."""
        with self._errors("read depth"):
            found = read_depth(self._call, self._url, self._clock.now())
        dead_url = self.facts.dead_letter_url
        if dead_url is None:
            return found
        try:
            with self._errors("read depth of the dead-letter queue"):
                return replace(found, dead_letters=read_dead_letters(self._call, dead_url))
        except BackhaulError:
            # Its attributes may be closed to the agent, which works as well without this number;
            # when SQS is down, the polls report it.
            return found

    def delete(self, message: Message) -> None:
        """See `core.ports.Queue.delete`.

        SQS answers success to a handle that is no longer the latest and may then not delete: such
        a message comes back and is deleted again, from the ledger, with its new handle.
        """
        with self._errors(f"delete message {message.message_id}"):
            try:
                self._call.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt_handle)
            except ClientError as exc:
                if error_code(exc) not in HANDLE_LOST:
                    raise

    def delete_batch(self, messages: Sequence[Message]) -> Sequence[OutageError | None]:
        """See `core.ports.Queue.delete_batch`."""
        entries: Any = [
            {"Id": str(at), "ReceiptHandle": one.receipt_handle} for at, one in enumerate(messages)
        ]
        with self._errors("delete messages"):
            answer = self._call.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return [
            None
            if exc is None or error_code(exc) in HANDLE_LOST
            else queue_error(exc, f"queue {self.facts.name}: delete message {one.message_id}")
            for exc, one in zip(
                refusals_in(answer, len(messages), "DeleteMessage"), messages, strict=True
            )
        ]

    def send_dead_letter(self, message: Message, reason: DeadLetterReason) -> bool:
        """See `core.ports.Queue.send_dead_letter`; the body is unchanged unless SQS refuses it.

        A refused body (too large together with the reason) is replaced by its beginning and its
        SHA-256: a short dead letter is better than a message that comes back for ever.
        """
        url = self.facts.dead_letter_url
        if url is None:
            return False
        own = attributes_for(message, reason, with_senders=False)
        everything = attributes_for(message, reason, with_senders=True)
        # A second copy within five minutes (the answer was lost) is dropped by SQS itself.
        # Of several records each has its own.
        extra: dict[str, Any] = _fifo(
            url, message.group or message.message_id, reason.transfer_id or message.message_id
        )
        subject = f"{_dead_letter_queue(self.facts)}: dead letter for message {message.message_id}"
        body = message.body or shortened("")  # SQS takes no empty body
        with self._aws.errors(lambda exc: queue_error(exc, subject, gone=DLQ_GONE)):
            try:
                answer = self._call.send_message(
                    QueueUrl=url, MessageBody=body, MessageAttributes=everything, **extra
                )
            except ClientError as exc:
                if error_code(exc) not in _REFUSED or is_kms_refusal(exc):
                    raise
                body = shortened(message.body)
                answer = self._call.send_message(
                    QueueUrl=url, MessageBody=body, MessageAttributes=own, **extra
                )
        # The message is deleted after this, so SQS must have taken its copy for certain.
        sent_id(answer, body, subject)
        return True

    # ------------------------------------------------------------ backhaul send

    def send(
        self,
        body: str,
        attributes: Mapping[str, str] | None = None,
        *,
        group: str | None = None,
        deduplication: str | None = None,
    ) -> str:
        """Leave a message on the queue; returns its message id.

        Args:
            group: On a FIFO queue, which messages it stays in order with; default: those that
                `backhaul send` leaves.
            deduplication: On a FIFO queue, a second message with this within five minutes is
                dropped.

        Not safe to repeat after an OutageError: the message may be there already, and a second one
        is a second transfer (which adopts what the first has published).

        Raises:
            BadMessage: E_MSG_REFUSED: SQS does not accept this body.
        """
        extra: dict[str, Any] = _fifo(
            self._url, group or "backhaul", deduplication or str(uuid.uuid4())
        )
        with self._errors("send"):
            try:
                answer = self._call.send_message(
                    QueueUrl=self._url,
                    MessageBody=body,
                    MessageAttributes=_string_attributes(attributes or {}),
                    **extra,
                )
            except ClientError as exc:
                if error_code(exc) not in _REFUSED:
                    raise
                raise self._refused(exc) from exc
        return sent_id(answer, body, f"queue {self.facts.name}: send")

    def send_batch(self, messages: Sequence[tuple[str, Mapping[str, str]]]) -> list[bool]:
        """Leave up to ten messages of body and attributes on a standard queue, in one call.

        Not safe to repeat, as `send`; one that was not taken may be sent alone, which tells why.

        Returns:
            Of each message whether SQS has taken it.

        Raises:
            BadMessage: E_MSG_REFUSED: SQS does not accept them together.
        """
        with self._errors("send"):
            try:
                answer = self._call.send_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {
                            "Id": str(number),
                            "MessageBody": body,
                            "MessageAttributes": _string_attributes(attributes),
                        }
                        for number, (body, attributes) in enumerate(messages)
                    ],
                )
            except ClientError as exc:
                if error_code(exc) not in _REFUSED:
                    raise
                raise self._refused(exc) from exc
        bodies = {str(number): body for number, (body, _) in enumerate(messages)}
        taken = sent_ids(answer, bodies, f"queue {self.facts.name}: send")
        return [number in taken for number in bodies]

    def _refused(self, exc: ClientError) -> BadMessage:
        return BadMessage("E_MSG_REFUSED", f"queue {self.facts.name}: {message_of(exc)}")

    # ------------------------------------------------------------ errors

    def _errors(self, doing: str) -> Any:
        return self._aws.errors(lambda exc: queue_error(exc, f"queue {self.facts.name}: {doing}"))

    def _opening(
        self, exc: Exception, subject: str, gone: tuple[str, str] = QUEUE_GONE
    ) -> BackhaulError:
        return queue_opening_error(exc, subject, self._call.meta.endpoint_url, gone)


def _client(
    aws: AwsSession, endpoint: str | None, read_timeout_s: float, *, attempts: int
) -> SQSClient:
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        # Types are checked before the code runs and values by SQS; doing it a third time costs a
        # tenth of a call.
        parameter_validation=False,
    )
    return aws.client("sqs", config, endpoint=endpoint)


def _dead_letter_queue(facts: QueueFacts) -> str:
    named = f"which the redrive policy of {facts.name} names"
    return f"dead-letter queue {facts.dead_letter_name}, {named}"


def _string_attributes(texts: Mapping[str, str]) -> Any:
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def _fifo(url: str, group: str, deduplication: str) -> dict[str, str]:
    """What a FIFO queue wants with every message; nothing for a standard one."""
    if not url.endswith(FIFO):
        return {}
    return {"MessageGroupId": group, "MessageDeduplicationId": deduplication}
