"""Replies to an SNS topic: subject, body, and attributes for the filters of subscriptions.

Source: Amazon SNS API reference, Publish; developer guide, "Message filtering".
"""

from __future__ import annotations

from typing import Any

from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import topic_error
from backhaul.adapters.aws.replying.sqs import reply_attributes
from backhaul.adapters.aws.sqs_answer import text_in
from backhaul.core.ports import FIFO
from backhaul.core.replies.reply import Reply

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"total_max_attempts": 2, "mode": "standard"},
    parameter_validation=False,
)


class SnsReplyTarget:
    """Implements `core.ports.replies.ReplyTarget`; the client is made at the first reply.

    Args:
        aws: Of the topic's region.
    """

    def __init__(self, name: str, topic: str, aws: AwsSession) -> None:
        self._name = name
        self._topic = topic
        self._aws = aws
        self._client: Any = None

    def deliver(self, reply: Reply) -> None:
        """See the port.

        Raises:
            PermanentError: E_REPLY_REFUSED: SNS does not take this message.
            TransientError: E_TOPIC_NOT_FOUND, E_SNS_….
            OutageError: E_AWS_…: of the credentials.
            ConfigurationError: E_AWS_CONFIG, E_CFG_TLS.
        """
        if self._client is None:
            self._client = self._aws.client("sns", _CONFIG)
        extra = {}
        if self._topic.endswith(FIFO):
            extra = {"MessageGroupId": reply.transfer_id, "MessageDeduplicationId": reply.key}
        subject = f"reply {self._name}: topic {self._topic}"
        with self._aws.errors(lambda exc: topic_error(exc, subject)):
            answer = self._client.publish(
                TopicArn=self._topic,
                Subject=f"backhaul: {reply.event.value} {reply.route}"[:100],
                Message=reply.body(),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in reply_attributes(reply).items()
                },
                **extra,
            )
        text_in(answer, "MessageId", subject)
