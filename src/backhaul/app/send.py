"""`backhaul send`: checks the form, then sends the message."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.queues import ChosenQueue, queue_of_command
from backhaul.core.errors import BadMessage
from backhaul.core.file_systems import FileSystems
from backhaul.core.model import Options
from backhaul.core.requests.body import (
    format_json,
    format_line,
    parse_message,
    parse_options,
    request_from_arguments,
)
from backhaul.core.requests.reply_addresses import is_reply_address
from backhaul.core.requests.signature import ATTRIBUTE, sign
from backhaul.core.text import shown
from backhaul.settings.signing_keys import read_keys

# Only to check the form: the agent's configuration decides what `/dir` and `viewfs://` mean.
ELSEWHERE_FS = FileSystems(default="hdfs://default:8020", has_any_table=True)


def send_message(
    queue: str,
    region: str,
    source: str,
    destination: str,
    options: Mapping[str, object],
    *,
    reply_to: str | None = None,
    key_file: Path | None = None,
    valid_s: int = 3600,
) -> str:
    """Send one message: the original's line where it can carry the request, else JSON.

    Args:
        reply_to: The URL of a queue or the ARN of a topic that is sent replies about it.
        key_file: Sign with its first key; None: no signature.
        valid_s: How long the signature is valid, seconds from now.

    Returns:
        SQS's message id.

    Raises:
        PermanentError: The agent would refuse this message for its form.
        ConfigurationError: E_CFG_KEY.
    """
    key = read_keys(key_file, None)[0] if key_file is not None else None
    parsed = parse_options(options)
    body = body_of(source, destination, parsed, reply_to)
    return MessageSender(queue_of_command(queue, region), key, valid_s=valid_s).send_body(body)


class MessageSender:
    """Leaves messages on one queue.

    Args:
        key: Signs them; None: they have no signature.
        needs_arn: `arn` will be read; reading it needs a right that sending alone does not.
    """

    def __init__(
        self,
        queue: ChosenQueue,
        key: bytes | None,
        *,
        valid_s: int = 3600,
        needs_arn: bool = False,
    ) -> None:
        aws, clock = queue.session(hadoop_conf_dir()), SystemClock()
        self._key = key
        self._valid = timedelta(seconds=valid_s)
        # The signature covers the queue's ARN, which only SQS knows.
        opening = SqsQueue.open if needs_arn or key is not None else SqsQueue.for_sending
        self._queue = opening(queue.text, queue.region, aws, clock, owner=queue.owner)

    @property
    def arn(self) -> str:
        """The queue's."""
        return self._queue.facts.arn

    def send(self, source: str, destination: str, options: Options) -> str:
        """Send one message; returns its id.

        Raises:
            PermanentError: The agent would refuse this message for its form.
        """
        return self.send_body(body_of(source, destination, options))

    def send_body(self, body: str) -> str:
        """Send what `body_of` made; returns the message's id."""
        if self._key is None:
            return self._queue.send(body)
        value = sign(
            self._key,
            body=body,
            queue=self._queue.facts.arn,
            expires=(SystemClock().now() + self._valid).isoformat(timespec="seconds"),
            nonce=secrets.token_urlsafe(24),
        )
        return self._queue.send(body, {ATTRIBUTE: value})


def body_of(source: str, destination: str, options: Options, reply_to: str | None = None) -> str:
    """The original's line where it can carry the request, else JSON.

    Raises:
        PermanentError: The agent would refuse it for its form.
    """
    request_from_arguments(source, destination, options, default_fs=ELSEWHERE_FS)
    if reply_to is not None and not is_reply_address(reply_to):
        raise BadMessage(
            "E_MSG_RANGE",
            f"reply_to {shown(reply_to)} is no URL of an SQS queue and no ARN of an SNS topic",
            hint="write it with its account, such as"
            " https://sqs.us-west-2.amazonaws.com/123456789012/replies",
        )
    body = _body(source, destination, options, reply_to)
    parse_message(body, default_fs=ELSEWHERE_FS)
    return body


def _body(source: str, destination: str, options: Options, reply_to: str | None) -> str:
    if options == Options() and reply_to is None:
        try:
            return format_line(source, destination)
        except BadMessage:
            pass  # a comma or an outer blank: only JSON can carry it
    return format_json(source, destination, options, reply_to)
