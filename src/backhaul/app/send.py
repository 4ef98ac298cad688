"""`backhaul send`: checks the form, then sends the message."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.adapters.system.clock import SystemClock
from backhaul.core.errors import BadMessage
from backhaul.core.model import Options
from backhaul.core.requests.body import (
    format_json,
    format_line,
    parse_message,
    parse_options,
    request_from_arguments,
)
from backhaul.core.requests.signature import ATTRIBUTE, sign
from backhaul.settings.signing_keys import read_keys

# Only to check the form: the agent's configuration decides what `/dir` means.
ELSEWHERE_FS = "hdfs://default"


def send_message(
    queue: str,
    region: str,
    source: str,
    destination: str,
    options: Mapping[str, object],
    *,
    key_file: Path | None = None,
    valid_s: int = 3600,
) -> str:
    """Send one message: the original's line where it can carry the request, else JSON.

    Args:
        key_file: Sign with its first key; None: no signature.
        valid_s: How long the signature is valid, seconds from now.

    Returns:
        SQS's message id.

    Raises:
        PermanentError: The agent would refuse this message for its form.
        ConfigurationError: E_CFG_KEY.
    """
    parsed = parse_options(options)
    request_from_arguments(source, destination, parsed, default_fs=ELSEWHERE_FS)
    body = _body(source, destination, parsed)
    parse_message(body, default_fs=ELSEWHERE_FS)
    key = read_keys(key_file, None)[0] if key_file is not None else None
    aws = AwsSession(region, S3aConfiguration.loader(hadoop_conf_dir()))
    if key is None:
        return SqsQueue.for_sending(queue, region, aws, SystemClock()).send(body)
    # The signature covers the queue's ARN, which only SQS knows.
    target = SqsQueue.open(queue, region, aws, SystemClock())
    expires = SystemClock().now() + timedelta(seconds=valid_s)
    value = sign(
        key,
        body=body,
        queue=target.facts.arn,
        expires=expires.isoformat(timespec="seconds"),
        nonce=secrets.token_urlsafe(24),
    )
    return target.send(body, {ATTRIBUTE: value})


def _body(source: str, destination: str, options: Options) -> str:
    if options == Options():
        try:
            return format_line(source, destination)
        except BadMessage:
            pass  # a comma or an outer blank: only JSON can carry it
    return format_json(source, destination, options)
