"""Why AWS said no: botocore's exceptions and AWS's error codes, sorted into ten causes.

One table by name serves SQS, S3 listing (both through botocore) and the hot GET (`s3_get`, which
reads the code from S3's XML itself). What a cause means for the message is decided where the call
is made: a refused GET is the request's fault, a refused ReceiveMessage the installation's.

Source: Amazon S3 and SQS API references, "Error responses"; botocore/exceptions.py.
"""

from __future__ import annotations

from enum import Enum, auto

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError, TransientError

# Everything botocore raises on purpose. ResponseParserError is outside its own tree.
FOREIGN = (BotoCoreError, ClientError, ResponseParserError)

_TEXT_MAX = 300
_SERVER_ERROR = 500


class Cause(Enum):
    """What lies behind a foreign exception or an error answer."""

    NO_CREDENTIALS = auto()
    EXPIRED = auto()  # the credentials were good once
    REFUSED = auto()  # AWS does not know the key or its signature
    CLOCK = auto()
    DENIED = auto()  # known, and not allowed to do this
    THROTTLED = auto()
    UNREACHABLE = auto()  # no answer, or an answer that says "I am broken"
    CONFIGURATION = auto()
    PARAMETER = auto()  # botocore refused to send it
    UNEXPECTED = auto()


# Causes after which the credentials are looked up anew: someone may have renewed them.
CREDENTIAL_CAUSES = frozenset({Cause.EXPIRED, Cause.REFUSED, Cause.NO_CREDENTIALS})

# AWS error codes, and names of botocore exception classes (or of their base classes).
_CAUSES: dict[str, Cause] = {
    **dict.fromkeys(
        ("NoCredentialsError", "PartialCredentialsError", "MissingAuthenticationToken"),
        Cause.NO_CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"),
            *("SSOError", "LoginError", "TokenRetrievalError", "NoAuthTokenError"),
        ),
        Cause.EXPIRED,
    ),
    **dict.fromkeys(
        (
            *("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"),
            *("SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "NotSignedUp"),
            *("IncompleteSignature", "IncompleteSignatureException", "InvalidSignatureException"),
            *("AuthFailure", "OptInRequired", "CredentialRetrievalError"),
            *("MetadataRetrievalError", "RefreshWithMFAUnsupportedError"),
        ),
        Cause.REFUSED,
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), Cause.CLOCK),
    **dict.fromkeys(
        (
            *("AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem"),
            *("AuthorizationError", "UnauthorizedOperation", "KmsAccessDenied", "InvalidPayer"),
        ),
        Cause.DENIED,
    ),
    **dict.fromkeys(
        (
            *("SlowDown", "Throttling", "ThrottlingException", "ThrottledException"),
            *("RequestThrottled", "RequestThrottledException", "RequestLimitExceeded"),
            *("TooManyRequestsException", "BandwidthLimitExceeded", "KmsThrottled", "OverLimit"),
            *("KMS.ThrottlingException", "503 SlowDown"),
        ),
        Cause.THROTTLED,
    ),
    **dict.fromkeys(
        (
            *("InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout"),
            *("ServiceUnavailableException", "InternalServerError", "RequestTimeoutException"),
            # botocore: nothing came back, or nothing readable did.
            *("ConnectionError", "HTTPClientError", "IncompleteReadError", "ResponseParserError"),
        ),
        Cause.UNREACHABLE,
    ),
    **dict.fromkeys(
        (
            *("ProfileNotFound", "ConfigParseError", "ConfigNotFound", "NoRegionError"),
            *("InvalidRegionError", "UnknownRegionError", "BaseEndpointResolverError"),
            *("EndpointProviderError", "InvalidConfigError", "InvalidEndpointConfigurationError"),
            *("InvalidDefaultsMode", "InvalidRetryConfigurationError", "InvalidProxiesConfigError"),
            *("InvalidChecksumConfigError", "MissingDependencyException", "DataNotFoundError"),
            *("InvalidIMDSEndpointError", "InvalidIMDSEndpointModeError"),
        ),
        Cause.CONFIGURATION,
    ),
    **dict.fromkeys(
        ("ParamValidationError", "UnsupportedS3ArnError", "InvalidHostLabelError"),
        Cause.PARAMETER,
    ),
}


def cause_of(exc: Exception) -> Cause:
    """The cause behind anything botocore raises."""
    if isinstance(exc, ClientError):
        return cause_of_answer(error_code(exc), status_of(exc))
    for cls in type(exc).__mro__:
        if cls.__name__ in _CAUSES:
            return _CAUSES[cls.__name__]
    return Cause.UNEXPECTED


def cause_of_answer(code: str, status: int) -> Cause:
    """The cause behind an error answer: by its code, else by its HTTP status (HEAD has no code)."""
    if code in _CAUSES:
        return _CAUSES[code]
    match status:
        case 401 | 403:
            return Cause.DENIED
        case 429 | 503:
            return Cause.THROTTLED
        case _ if status >= _SERVER_ERROR:
            return Cause.UNREACHABLE
        case _:
            return Cause.UNEXPECTED


def error_code(exc: Exception) -> str:
    """AWS's code without SQS's old prefix, such as `QueueDoesNotExist`; empty if there is none."""
    if not isinstance(exc, ClientError):
        return ""
    code = str(exc.response.get("Error", {}).get("Code", ""))
    return code.removeprefix("AWS.SimpleQueueService.").rsplit("#", 1)[-1]


def status_of(exc: Exception) -> int:
    """HTTP status of the answer; 0 when there was none."""
    if not isinstance(exc, ClientError):
        return 0
    return int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def told(exc: Exception) -> str:
    """AWS's own words on one line, or nothing where they could quote the request with its token."""
    cause = cause_of(exc)
    if cause in CREDENTIAL_CAUSES and isinstance(exc, ClientError):
        return error_code(exc)
    text = str(exc)
    if isinstance(exc, ClientError):
        text = f"{error_code(exc)}: {exc.response.get('Error', {}).get('Message', '')}"
    return one_line(text)


def one_line(text: str, limit: int = _TEXT_MAX) -> str:
    """Control characters and line breaks as escapes, cut to `limit` characters."""
    if text.isprintable() and len(text) <= limit:
        return text
    cut = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return cut if len(cut) <= limit else f"{cut[: limit - 1]}…"


def credential_error(cause: Cause, subject: str, said: str) -> OutageError:
    """AWS refuses the credentials, or there are none: everything waits, nothing is spent."""
    code, hint = {
        Cause.NO_CREDENTIALS: ("E_AWS_NO_CREDENTIALS", _HINT_NONE),
        Cause.EXPIRED: ("E_AWS_EXPIRED", "renew them; Backhaul looks them up again by itself"),
        Cause.CLOCK: ("E_AWS_CLOCK", "this machine's clock is off by minutes: mend its NTP"),
    }.get(cause, ("E_AWS_DENIED", "check the access key and the IAM policy of this agent"))
    return OutageError.of("credentials", code, f"{subject}: {said}", hint=hint)


_HINT_NONE = (
    "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or fs.s3a.access.key and fs.s3a.secret.key in HADOOP_CONF_DIR/core-site.xml"
)


class NoReadableKeys(NoCredentialsError):
    """AWS's chain has no credentials, and Hadoop's configuration has some that cannot be used."""

    fmt = "no AWS credentials found: {reason}"


def no_credentials(subject: str, exc: Exception | None = None) -> ConfigurationError:
    """At start: nothing in AWS's chain and nothing in Hadoop's configuration."""
    reason = str(exc) if isinstance(exc, NoReadableKeys) else "no AWS credentials found"
    return ConfigurationError(
        "E_AWS_NO_CREDENTIALS", f"{subject}: {one_line(reason)}", hint=_HINT_NONE
    )


def common_error(exc: Exception, subject: str) -> BackhaulError:
    """What is the same for every service; `E_AWS_UNEXPECTED` is the end of the table."""
    match cause_of(exc):
        case Cause.CONFIGURATION:
            return ConfigurationError(
                "E_AWS_CONFIG",
                f"{subject}: {told(exc)}",
                hint="check the region, AWS_PROFILE, AWS_ENDPOINT_URL* and ~/.aws/config",
            )
        case Cause.NO_CREDENTIALS | Cause.EXPIRED | Cause.REFUSED | Cause.CLOCK as cause:
            return credential_error(cause, subject, told(exc))
        case _:
            return TransientError("E_AWS_UNEXPECTED", f"{subject}: {told(exc)}")
