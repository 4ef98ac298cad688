"""Which calls of a queue are allowed, without a message being received, hidden, sent or deleted.

Each probe is a request that SQS cannot carry out: it asks for zero messages, has a receipt handle
of no message, or an attribute of a type that does not exist. SQS judges the caller before the
values, so it answers AccessDenied where the right is missing, and else that the value is wrong. A
real ReceiveMessage would raise the receive count of a message, and so take it closer to the
dead-letter queue.

Source: Amazon SQS API reference, ReceiveMessage, ChangeMessageVisibility, DeleteMessage,
SendMessage, "Common errors".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

from backhaul.adapters.aws.causes import FOREIGN, Cause, cause_of, is_kms_refusal
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import queue_opening_error
from backhaul.core.errors import BackhaulError
from backhaul.core.ports import FIFO

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"total_max_attempts": 2, "mode": "standard"},
    parameter_validation=False,
)
_IMPATIENT = Config(
    connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1, "mode": "standard"}
)
_NO_HANDLE = "backhaul-doctor-no-message-has-this-handle"


class QueueAction(StrEnum):
    """An action of IAM that a probe can show to be allowed."""

    RECEIVE = "sqs:ReceiveMessage"
    HIDE = "sqs:ChangeMessageVisibility"
    DELETE = "sqs:DeleteMessage"
    SEND = "sqs:SendMessage"


class QueueProbes:
    """Probes of one region's queues; one client, made at once.

    Args:
        endpoint: `https://host` of the queue's URL, unless it is a public endpoint of SQS.

    Raises:
        ConfigurationError: As `AwsSession.client`.
    """

    def __init__(self, aws: AwsSession, endpoint: str | None = None) -> None:
        self._aws = aws
        self._client: SQSClient = aws.client("sqs", _CONFIG, endpoint=endpoint)
        self.endpoint_url: str = self._client.meta.endpoint_url

    def attributes(self, url: str, subject: str) -> dict[str, str]:
        """All that the caller may see.

        Raises:
            BackhaulError: As `SqsQueue.open`.
        """
        with self._aws.errors(lambda exc: queue_opening_error(exc, subject, self.endpoint_url)):
            answer: Any = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        found = answer.get("Attributes") or {}
        return {str(name): str(value) for name, value in found.items()}

    def refusal(self, action: QueueAction, url: str, subject: str) -> BackhaulError | None:
        """Why the caller may not do this; None where only the impossible value was refused."""
        call = self._calls(url)[action]
        try:
            call()
        except ClientError as exc:
            if not is_kms_refusal(exc) and cause_of(exc) is Cause.UNEXPECTED:
                return None  # the value was refused, not the caller
            return queue_opening_error(exc, subject, self.endpoint_url)
        except FOREIGN as exc:
            return queue_opening_error(exc, subject, self.endpoint_url)
        return None

    def _calls(self, url: str) -> dict[QueueAction, Callable[[], Any]]:
        client: Any = self._client
        fifo = (
            {"MessageGroupId": "backhaul-doctor", "MessageDeduplicationId": "backhaul-doctor"}
            if url.endswith(FIFO)
            else {}
        )
        return {
            QueueAction.RECEIVE: lambda: client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=0, WaitTimeSeconds=0
            ),
            QueueAction.HIDE: lambda: client.change_message_visibility(
                QueueUrl=url, ReceiptHandle=_NO_HANDLE, VisibilityTimeout=0
            ),
            QueueAction.DELETE: lambda: client.delete_message(
                QueueUrl=url, ReceiptHandle=_NO_HANDLE
            ),
            QueueAction.SEND: lambda: client.send_message(
                QueueUrl=url,
                MessageBody="backhaul doctor: SQS refuses this for its attribute",
                MessageAttributes={"probe": {"DataType": "NoSuchType", "StringValue": "probe"}},
                **fifo,
            ),
        }


def regions_with(queue_name: str, regions: Iterable[str], aws: AwsSession) -> list[str]:
    """In which of these regions the caller's account has a queue of this name; a call for each.

    A region that does not answer within seconds, or refuses, counts as one without.
    """
    found = []
    for region in regions:
        client = aws.client("sqs", _IMPATIENT, region=region)
        try:
            client.get_queue_url(QueueName=queue_name)
        except FOREIGN:
            continue
        found.append(region)
    return found
