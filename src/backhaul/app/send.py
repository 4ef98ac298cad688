"""`backhaul send`, put together: check the form, then leave the message."""

from __future__ import annotations

from collections.abc import Mapping

from backhaul.adapters.aws_common import AwsSession
from backhaul.adapters.hadoop_xml import hadoop_conf_dir
from backhaul.adapters.sqs import SqsQueue
from backhaul.adapters.system import SystemClock
from backhaul.core.errors import BadMessage
from backhaul.core.message import (
    format_json,
    format_line,
    parse_message,
    parse_options,
    request_from_arguments,
)
from backhaul.core.model import Options

# Only to check the form: what `/dir` means is decided where the agent runs.
ELSEWHERE_FS = "hdfs://default"


def send_message(
    queue: str, region: str, source: str, destination: str, options: Mapping[str, object]
) -> str:
    """Leave one message; the original's line where it can carry the request, else JSON.

    Returns:
        SQS's message id.

    Raises:
        PermanentError: The agent would refuse this message for its form.
    """
    parsed = parse_options(options)
    request_from_arguments(source, destination, parsed, default_fs=ELSEWHERE_FS)
    body = _body(source, destination, parsed)
    parse_message(body, default_fs=ELSEWHERE_FS)
    aws = AwsSession(region, hadoop_conf_dir())
    return SqsQueue.for_sending(queue, region, aws, SystemClock()).send(body)


def _body(source: str, destination: str, options: Options) -> str:
    if options == Options():
        try:
            return format_line(source, destination)
        except BadMessage:
            pass  # a comma or an outer blank: only JSON can carry it
    return format_json(source, destination, options)
