"""What a bucket reports, and to whom; for `backhaul doctor`."""

from __future__ import annotations

from typing import Any

from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import listing_error

_CONFIG = Config(
    connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"}
)


def bucket_notifications(aws: AwsSession, bucket: str, owner: str | None) -> dict[str, Any]:
    """The bucket's notification configuration as S3 answers it.

    Args:
        owner: The account that has to own the bucket; None: any.

    Raises:
        BackhaulError: As a listing; `s3:GetBucketNotification` is an owner's right by default.
    """
    of_bucket = aws.for_bucket(bucket)
    client = of_bucket.client("s3", _CONFIG)
    expected: Any = {} if owner is None else {"ExpectedBucketOwner": owner}
    with of_bucket.errors(lambda exc: listing_error(exc, bucket, f"s3://{bucket}")):
        answer: Any = client.get_bucket_notification_configuration(Bucket=bucket, **expected)
    return {str(name): value for name, value in answer.items() if name != "ResponseMetadata"}
