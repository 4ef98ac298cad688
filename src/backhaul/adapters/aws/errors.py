"""Exceptions and refusals of botocore, urllib3, SQS and S3 as Backhaul's errors: all are made here.

Call sites raise what a function here returns. Which function depends on the call, as the same
cause has another effect: a refused ReceiveMessage holds the queue (OutageError), a refused GET ends
one message (PermanentError), and at the start both end the process (ConfigurationError,
NotAllowed). `causes` sorts the exceptions and codes that this module reads.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from botocore.exceptions import ClientError, NoCredentialsError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from backhaul.adapters.aws.causes import (
    CREDENTIAL_CAUSES,
    Cause,
    CredentialSourceError,
    cause_of,
    error_code,
    headers_of,
    is_from_elsewhere,
    is_kms,
    is_kms_refusal,
    message_of,
    one_line,
    points_elsewhere,
    status_of,
    usable_region,
)
from backhaul.adapters.aws.s3_answer import ErrorAnswer
from backhaul.adapters.aws.tls import naming_bundle
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    NotAllowed,
    OutageError,
    PermanentError,
    SourceChanged,
    TransientError,
    VisibilityLost,
)
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint

HINT_CONFIG = "check the region, AWS_PROFILE, AWS_ENDPOINT_URL* and ~/.aws/config"
HINT_PROXY = "something between this machine and S3 refuses: check HTTPS_PROXY"
_HINT_NO_KEYS = (
    "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or fs.s3a.access.key and fs.s3a.secret.key in HADOOP_CONF_DIR/core-site.xml"
)
_HINT_KMS = (
    "allow this agent kms:Decrypt on the queue's key, and kms:GenerateDataKey on the dead-letter "
    "queue's; check that the keys are enabled"
)
_HINT_NETWORK = "check the network, HTTPS_PROXY and AWS_CA_BUNDLE"
_NO_QUEUE = frozenset({"NonExistentQueue", "QueueDoesNotExist", "QueueDeletedRecently"})
_REFUSED_BY_SNS = frozenset(
    {"InvalidParameter", "InvalidParameterException", "ParameterValueInvalid", "ValidationError"}
)
# Code and hint of a queue that does not exist.
QUEUE_GONE = ("E_QUEUE_NOT_FOUND", "create it, or check its name, region and account")
DLQ_GONE = ("E_QUEUE_DLQ_GONE", "create it again, or name another one in the redrive policy")
HANDLE_LOST = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"})
_KMS_PASSING = re.compile("disabled|state|internal|unavailable|timeout", re.IGNORECASE)
_SERVER_ERROR = 500
_CREDENTIALS = frozenset({*CREDENTIAL_CAUSES, Cause.CLOCK})


class NoReadableKeys(NoCredentialsError):
    """AWS's chain has no credentials, and Hadoop's configuration has some that cannot be used."""

    fmt = "no AWS credentials found: {reason}"


# ---------------------------------------------------------------- credentials, any service


def credential_error(cause: Cause, subject: str, reason: str) -> OutageError:
    """AWS refuses the credentials, or there are none: everything waits, no attempt is spent."""
    code, hint = {
        Cause.NO_CREDENTIALS: ("E_AWS_NO_CREDENTIALS", _HINT_NO_KEYS),
        Cause.EXPIRED: ("E_AWS_EXPIRED", "renew them; Backhaul looks them up again by itself"),
        Cause.CLOCK: ("E_AWS_CLOCK", "this machine's clock is off by minutes: fix NTP"),
    }.get(cause, ("E_AWS_DENIED", "check the access key and the IAM policy of this agent"))
    return OutageError.of("credentials", code, f"{subject}: {reason}", hint=hint)


def unsendable(subject: str, exc: ValueError) -> OutageError:
    """`http.client` refused a header. Its message is left out: it quotes the header, a token."""
    return OutageError.of(
        "credentials",
        "E_AWS_CREDENTIALS",
        f"{subject}: the request cannot be sent: {type(exc).__name__}",
        hint="look for a line break or a special character in the credentials",
    )


def _source_error(exc: CredentialSourceError, subject: str) -> OutageError:
    """No credentials could be obtained: everything waits, whichever call needs them."""
    if exc.cause in _CREDENTIALS:
        return credential_error(exc.cause, subject, str(exc))
    code, hint = (
        "E_AWS_CREDENTIALS",
        "check AWS_PROFILE, ~/.aws/config, and that STS or the metadata service is reachable",
    )
    if exc.cause is Cause.DENIED:
        code = "E_AWS_DENIED"
        hint = "allow sts:AssumeRole, and this agent in the role's trust policy"
    return OutageError.of("credentials", code, f"{subject}: {exc}", hint=hint)


def common_error(exc: Exception, subject: str) -> BackhaulError:
    """What is the same for every service; `E_AWS_UNEXPECTED` is the end of the table."""
    if isinstance(exc, CredentialSourceError):
        return _source_error(exc, subject)
    cause = cause_of(exc)
    if cause is Cause.CONFIGURATION:
        return ConfigurationError("E_AWS_CONFIG", f"{subject}: {message_of(exc)}", hint=HINT_CONFIG)
    if cause in _CREDENTIALS:
        return credential_error(cause, subject, message_of(exc))
    return TransientError("E_AWS_UNEXPECTED", f"{subject}: {message_of(exc)}")


def opening_error(exc: Exception, subject: str) -> BackhaulError:
    """At the start, where no credentials could be obtained; an outage may pass by itself."""
    cause = cause_of(exc)
    if cause is Cause.NO_CREDENTIALS:
        reason = str(exc) if isinstance(exc, NoReadableKeys) else "no AWS credentials found"
        return ConfigurationError(
            "E_AWS_NO_CREDENTIALS", f"{subject}: {one_line(reason)}", hint=_HINT_NO_KEYS
        )
    error = common_error(exc, subject)
    if cause is Cause.CONFIGURATION:
        return ConfigurationError("E_AWS_CONFIG", error.message, hint=HINT_CONFIG)
    if cause in {Cause.DENIED, Cause.REFUSED}:
        return NotAllowed(error.code, error.message, hint=error.hint)
    return error


# ---------------------------------------------------------------- SQS


def queue_error(exc: Exception, subject: str, gone: tuple[str, str] = QUEUE_GONE) -> OutageError:
    """A refused call of a queue that was open: the whole route waits, no message pays for it.

    Always an outage: any refusal may be withdrawn, and an agent that had ended would not see it.

    Args:
        gone: Code and hint for a queue that no longer exists.
    """
    if isinstance(exc, CredentialSourceError):
        return _source_error(exc, subject)
    reason = f"{subject}: {message_of(exc)}"
    if error_code(exc) in _NO_QUEUE:
        return OutageError.of("sqs", gone[0], f"{subject}: the queue is gone", hint=gone[1])
    cause = cause_of(exc)
    if is_kms_refusal(exc) and cause is not Cause.THROTTLED:
        reason = f"{subject}: KMS refuses the queue's key: {message_of(exc)}"
        return OutageError.of("sqs", "E_SQS_KMS", reason, hint=_HINT_KMS)
    match cause:
        case _ if cause in _CREDENTIALS or cause is Cause.DENIED:
            return credential_error(cause, subject, message_of(exc))
        case Cause.THROTTLED:
            return OutageError.of("sqs", "E_SQS_THROTTLED", reason)
        case Cause.UNREACHABLE:
            hint = "check the network, HTTPS_PROXY and AWS_ENDPOINT_URL_SQS"
            return OutageError.of("sqs", "E_SQS_UNREACHABLE", reason, hint=hint)
        case Cause.CONFIGURATION:
            return OutageError.of("credentials", "E_AWS_CONFIG", reason, hint=HINT_CONFIG)
        case _:
            # SQS has no such answer: a proxy does, or a broken SQS.
            hint = "check what answers at the SQS endpoint: a proxy, a firewall's page?"
            return OutageError.of("sqs", "E_AWS_UNEXPECTED", reason, hint=hint)


def queue_opening_error(
    exc: Exception, subject: str, endpoint: str, gone: tuple[str, str] = QUEUE_GONE
) -> BackhaulError:
    """A refused call at the start: a wrong setting or a missing right ends the process."""
    if "amazonaws.com" not in endpoint:
        subject = f"{subject} at {endpoint}"
    if error_code(exc) in _NO_QUEUE:
        return ConfigurationError(gone[0], f"{subject}: no such queue", hint=gone[1])
    cause = cause_of(exc)
    is_ours = cause in {Cause.CONFIGURATION, Cause.NO_CREDENTIALS}
    if isinstance(exc, CredentialSourceError) or (is_ours and not is_kms_refusal(exc)):
        return opening_error(exc, subject)
    if cause in {Cause.DENIED, Cause.REFUSED} and not is_kms_refusal(exc):
        return NotAllowed(
            "E_AWS_DENIED",
            f"{subject}: {message_of(exc)}",
            hint="give these credentials the rights of the quick start's IAM policy",
        )
    return queue_error(exc, subject)


def extend_error(
    exc: Exception, queue: str, message_id: str, wanted_s: int
) -> VisibilityLost | OutageError:
    """A refused ChangeMessageVisibility: the handle is no longer accepted, or as `queue_error`."""
    if error_code(exc) in HANDLE_LOST:
        return VisibilityLost(
            "E_VISIBILITY_LOST",
            f"queue {queue}: message {message_id}: {wanted_s} s more refused: {message_of(exc)}",
        )
    return queue_error(exc, f"queue {queue}: extend {message_id}")


# ---------------------------------------------------------------- SNS


def topic_error(exc: Exception, subject: str) -> BackhaulError:
    """A refused Publish: only what SNS has against the message itself is for good."""
    if isinstance(exc, CredentialSourceError):
        return _source_error(exc, subject)
    reason = f"{subject}: {message_of(exc)}"
    if error_code(exc) in {"NotFound", "NotFoundException"}:
        hint = "create it, or correct its ARN"
        return TransientError("E_TOPIC_NOT_FOUND", f"{subject}: no such topic", hint=hint)
    if error_code(exc) in _REFUSED_BY_SNS:
        hint = "check the topic's ARN and its type; FIFO topics end in .fifo"
        return PermanentError("E_REPLY_REFUSED", reason, hint=hint)
    cause = cause_of(exc)
    if is_kms_refusal(exc) and cause is not Cause.THROTTLED:
        hint = "allow kms:GenerateDataKey and kms:Decrypt on the topic's key; check it is enabled"
        return TransientError("E_SNS_KMS", reason, hint=hint)
    match cause:
        case Cause.DENIED:
            hint = "allow sns:Publish on this topic for this agent; look at the topic's policy, too"
            return OutageError.of("credentials", "E_AWS_DENIED", reason, hint=hint)
        case Cause.THROTTLED:
            return TransientError("E_SNS_THROTTLED", reason)
        case Cause.UNREACHABLE:
            hint = "check the network, HTTPS_PROXY and AWS_ENDPOINT_URL_SNS"
            return TransientError("E_SNS_UNREACHABLE", reason, hint=hint)
        case _:
            return common_error(exc, subject)


# ---------------------------------------------------------------- S3 through botocore


def s3_unreachable(reason: str, hint: str = _HINT_NETWORK) -> OutageError:
    """S3 does not answer, or something in its place does."""
    return OutageError.of("s3", "E_S3_UNREACHABLE", reason, hint=hint)


def listing_error(exc: Exception, bucket: str, where: str, hint: str = "") -> BackhaulError:
    """What a failed listing or HEAD means for the request that needs it.

    Args:
        hint: For E_SRC_DENIED; default: how to allow the listing.
    """
    if isinstance(exc, CredentialSourceError):
        return _source_error(exc, where)
    reason = f"{where}: {message_of(exc)}"
    if is_from_elsewhere(exc):
        return s3_unreachable(reason, HINT_PROXY)
    match error_code(exc):
        case "NoSuchBucket":
            hint = "check the bucket's name"
            return PermanentError("E_SRC_NO_BUCKET", f"{where}: no such bucket", hint=hint)
        case "InvalidBucketName":
            return PermanentError("E_SRC_BUCKET", reason)
        case code if is_customer_key(code, message_of(exc)):
            return _no_customer_key(reason)
    if region := _right_region(exc):
        hint = "set AWS_REGION to the bucket's region"
        reason = f"{reason}; bucket {bucket} is in {region}"
        return PermanentError("E_SRC_REGION", reason, hint=hint)
    return _listing_error_by_cause(exc, where, reason, hint)


def _listing_error_by_cause(exc: Exception, where: str, reason: str, hint: str) -> BackhaulError:
    match cause_of(exc):
        case Cause.DENIED:
            hint = hint or "allow s3:ListBucket on this bucket for this agent"
            return PermanentError("E_SRC_DENIED", reason, hint=hint)
        case Cause.ACCOUNT:
            return _account_error(reason)
        case Cause.PARAMETER | Cause.CONFIGURATION:
            # The client was made, so it is this bucket's name that gives no address.
            return PermanentError("E_SRC_BUCKET", reason, hint="check the bucket's name")
        case Cause.THROTTLED:
            # After botocore's five tries; a 503 may be a proxy's, too.
            return OutageError.of("s3", "E_S3_THROTTLED", reason)
        case Cause.UNREACHABLE:
            return s3_unreachable(reason, "check the network, HTTPS_PROXY and AWS_ENDPOINT_URL_S3")
        case _:
            return common_error(exc, where)


def _right_region(exc: Exception) -> str:
    """The region that S3 points to; empty where it does not point elsewhere."""
    if not isinstance(exc, ClientError):
        return ""
    error = exc.response.get("Error", {})
    named = headers_of(exc.response).get("x-amz-bucket-region") or error.get("Region")
    region = usable_region(str(named or ""))
    if not points_elsewhere(status_of(exc), error_code(exc), region):
        return ""
    return region or "another region"


def _account_error(reason: str) -> OutageError:
    """S3 serves nothing of this account: the next object would fare no better."""
    return OutageError.of(
        "s3",
        "E_AWS_ACCOUNT",
        f"{reason}; the account is refused, not this bucket",
        hint="check the account's state, bill and quota; the transfers then go on",
    )


def is_customer_key(code: str, message: str) -> bool:
    """True for the refusal of a request that lacks the object's own key (SSE-C)."""
    return code == "InvalidRequest" and "ncryption" in message


def _no_customer_key(reason: str) -> PermanentError:
    return PermanentError(
        "E_SRC_SSEC",
        reason,
        hint="it is encrypted with a customer's key (SSE-C), which Backhaul does not have",
    )


# ---------------------------------------------------------------- GET and HEAD through urllib3


def unanswered(exc: HTTPError, name: str, endpoint: Endpoint) -> BackhaulError:
    """No answer started. Not connected: S3 is down. Connected: this one request failed."""
    origin = urlsplit(endpoint.base_url).netloc
    reason = f"{name}: {origin}: {type(exc).__name__}: {one_line(str(exc))}"
    if isinstance(exc, (NewConnectionError, ConnectTimeoutError, ProxyError, SSLError)):
        return naming_bundle(s3_unreachable(reason), endpoint.ca_bundle)
    return TransientError("E_S3_SERVER", reason)


def object_error(answer: ErrorAnswer, pin: Pin, name: str) -> BackhaulError:
    """What a refused GET of a pinned object means."""
    status = f"S3 answered {answer.status} {answer.code}".rstrip()
    reason = f"{name}: {status} {answer.message}".rstrip()
    # Where the signature may be at fault, S3's message can quote the signed headers: left out.
    if not answer.is_from_elsewhere and points_elsewhere(answer.status, answer.code, answer.region):
        return _wrong_region(pin.bucket, answer.region, f"{name}: {status}")
    if answer.cause in _CREDENTIALS:
        return credential_error(answer.cause, name, status)
    if answer.is_from_elsewhere:
        return s3_unreachable(
            f"{name}: answered {answer.status} without a code or request id of S3", HINT_PROXY
        )
    return _by_code(answer, reason) or _by_status(answer, reason)


def _by_code(answer: ErrorAnswer, reason: str) -> BackhaulError | None:
    match answer.code:
        case "NoSuchBucket":
            return PermanentError("E_SRC_NO_BUCKET", reason)
        case "InvalidObjectState":
            hint = "restore it from its archive class, then send again"
            return PermanentError("E_SRC_ARCHIVED", reason, hint=hint)
        case _ if answer.cause is Cause.ACCOUNT:
            return _account_error(reason)
        case code if is_customer_key(code, answer.message):
            return _no_customer_key(reason)
        case "InvalidArgument" if "version" in answer.message.lower():
            return SourceChanged("E_SRC_GONE", reason)  # not even the form of a version id
        case "RequestTimeout":  # a 400, though it is the server that gave up waiting
            return TransientError("E_S3_SERVER", reason)
        case code if is_kms(code, answer.message) and answer.cause is not Cause.THROTTLED:
            return _refused_key(code, reason)
        case _:
            return None


def _by_status(answer: ErrorAnswer, reason: str) -> BackhaulError:
    match answer.status:
        case 404 | 405:  # 405: the requested version is a delete marker
            return SourceChanged("E_SRC_GONE", reason)
        case 409 | 412 | 416:
            return SourceChanged("E_SRC_CHANGED", reason)
        case 401 | 403:
            hint = "allow s3:GetObject (and kms:Decrypt) for this agent"
            return PermanentError("E_SRC_DENIED", reason, hint=hint)
        case _ if answer.cause is Cause.THROTTLED:
            return TransientError("E_S3_THROTTLED", reason)
        case status if status >= _SERVER_ERROR or answer.cause is Cause.UNREACHABLE:
            return TransientError("E_S3_SERVER", reason)
        case _:
            return TransientError("E_AWS_UNEXPECTED", reason)


def _refused_key(code: str, reason: str) -> BackhaulError:
    """A disabled key may be enabled again; a missing right concerns this request only."""
    if _KMS_PASSING.search(code):
        hint = "enable the object's KMS key; the transfer then goes on"
        return OutageError.of("s3", "E_SRC_KMS", reason, hint=hint)
    hint = "allow kms:Decrypt on the object's KMS key for this agent"
    return PermanentError("E_SRC_DENIED", reason, hint=hint)


def _wrong_region(bucket: str, region: str, reason: str) -> PermanentError:
    return PermanentError(
        "E_SRC_REGION",
        f"{reason}; bucket {bucket} is in {region or 'another region'}",
        hint=f"set AWS_REGION={region}" if region else "set AWS_REGION to the bucket's region",
    )


def broken_body(name: str, received: int, length: int, how: str) -> TransientError:
    """The connection broke, stalled or ended within the body."""
    return TransientError("E_S3_BODY", f"{name}: body broke after {received} of {length} B: {how}")
