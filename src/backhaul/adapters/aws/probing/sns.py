"""Whether a topic is there and may be published to, without a message; for `backhaul doctor`.

As with queues: the request has an attribute of a type that does not exist, and SNS judges the
caller before the values.

Source: Amazon SNS API reference, Publish, GetTopicAttributes, "Common errors".
"""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from backhaul.adapters.aws.causes import FOREIGN, Cause, cause_of, error_code, is_kms_refusal
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import topic_error
from backhaul.core.errors import BackhaulError

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"total_max_attempts": 2, "mode": "standard"},
    parameter_validation=False,
)
_GONE = frozenset({"NotFound", "NotFoundException"})


def topic_refusal(aws: AwsSession, topic: str, subject: str) -> BackhaulError | None:
    """Why replies cannot be published there; None: nothing is known against it.

    Raises:
        ConfigurationError: As `AwsSession.client`.
    """
    client: Any = aws.client("sns", _CONFIG)
    try:
        client.get_topic_attributes(TopicArn=topic)
    except ClientError as exc:
        if error_code(exc) in _GONE:
            return topic_error(exc, subject)
        # Its attributes may be closed to the agent, which does not need them.
    except FOREIGN as exc:
        return topic_error(exc, subject)
    try:
        client.publish(
            TopicArn=topic,
            Message="backhaul doctor: SNS refuses this for its attribute",
            MessageAttributes={"probe": {"DataType": "NoSuchType", "StringValue": "probe"}},
        )
    except ClientError as exc:
        is_value = not is_kms_refusal(exc) and cause_of(exc) is Cause.UNEXPECTED
        if is_value and error_code(exc) not in _GONE:
            return None  # the value was refused, not the caller
        return topic_error(exc, subject)
    except FOREIGN as exc:
        return topic_error(exc, subject)
    return None
