"""Why AWS said no, and who did: botocore's exceptions and AWS's error codes, sorted into causes.

One table by name serves SQS, S3 listing (both through botocore) and the hot GET (`s3_get`, which
reads the code from S3's XML itself). What a cause means for the message is decided where the call
is made: a refused GET is the request's fault, a refused ReceiveMessage the installation's.

The code alone does not decide. The same AccessDenied comes from S3, from KMS behind it, from STS
before it, and without a code from a proxy on the way:

* `CredentialSourceError`: the credentials could not be got (STS, SSO, metadata, a process, a file).
* `is_kms`: KMS refused the key of a queue or of an object.
* `is_from_elsewhere`: neither an error code nor a request id of AWS: something else answered.

Source: Amazon S3 and SQS API references, "Error responses"; botocore/exceptions.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    OutageError,
    PermanentError,
    TransientError,
)

# Everything botocore raises on purpose. ResponseParserError is outside its own tree.
FOREIGN = (BotoCoreError, ClientError, ResponseParserError)

_TEXT_MAX = 300
_NUMBERS = ("AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS")
_SERVER_ERROR = 500
_TOO_MANY, _PROXY_LOGIN = 429, 407
_KMS = re.compile(r"^kms", re.IGNORECASE)
_REDIRECTS = frozenset({301, 302, 307, 308})
_REDIRECTING = frozenset(
    {"IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect"}
)
_REGION = re.compile("[a-z][a-z0-9-]{0,38}[a-z0-9]")  # it becomes part of a host's name
_REQUEST_IDS = ("x-amzn-requestid", "x-amz-request-id")
_SOURCES = {
    "AssumeRole": "STS",
    "AssumeRoleWithWebIdentity": "STS",
    "AssumeRoleWithSAML": "STS",
    "GetSessionToken": "STS",
    "GetRoleCredentials": "IAM Identity Center",
    "CreateToken": "IAM Identity Center",
}


class Cause(Enum):
    """What lies behind a foreign exception or an error answer."""

    NO_CREDENTIALS = auto()
    EXPIRED = auto()  # the credentials were good once
    REFUSED = auto()  # AWS does not know the key or its signature
    CLOCK = auto()
    DENIED = auto()  # known, and not allowed to do this
    ACCOUNT = auto()  # the account is shut or has used up its quota, whatever is to be done
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
            *("InvalidIdentityToken", "InvalidIdentityTokenException", "IDPRejectedClaim"),
            *("RegionDisabledException", "UnauthorizedException", "AuthorizationHeaderMalformed"),
        ),
        Cause.REFUSED,
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), Cause.CLOCK),
    **dict.fromkeys(
        (
            *("AccessDenied", "AccessDeniedException", "AuthorizationError"),
            *("UnauthorizedOperation", "KmsAccessDenied", "InvalidPayer"),
        ),
        Cause.DENIED,
    ),
    **dict.fromkeys(
        ("AccountProblem", "AllAccessDisabled", "QuotaExceeded", "UserSuspended"), Cause.ACCOUNT
    ),
    **dict.fromkeys(
        (
            *("SlowDown", "Throttling", "ThrottlingException", "ThrottledException"),
            *("RequestThrottled", "RequestThrottledException", "RequestLimitExceeded"),
            *("TooManyRequestsException", "BandwidthLimitExceeded", "KmsThrottled", "OverLimit"),
            *("KMS.ThrottlingException", "KMS.LimitExceededException", "503 SlowDown"),
        ),
        Cause.THROTTLED,
    ),
    **dict.fromkeys(
        (
            *("InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout"),
            *("ServiceUnavailableException", "InternalServerError", "RequestTimeoutException"),
            *("IDPCommunicationError", "BusyException"),
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
            *("InvalidSTSRegionalEndpointsConfigError", "InvalidS3AddressingStyleError"),
            *("InvalidS3UsEast1RegionalEndpointConfigError", "UnsupportedS3ConfigurationError"),
        ),
        Cause.CONFIGURATION,
    ),
    **dict.fromkeys(
        ("ParamValidationError", "UnsupportedS3ArnError", "InvalidHostLabelError"),
        Cause.PARAMETER,
    ),
}


class CredentialSourceError(BotoCoreError):
    """The credentials could not be got; it is not what was to be done with them that was refused.

    Attributes:
        cause: Why their source refused them.
    """

    fmt = "{reason}"

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason=reason)
        self.cause = cause

    @classmethod
    def of(cls, exc: Exception) -> CredentialSourceError:
        """From whatever a provider of AWS's chain raised."""
        if isinstance(exc, ClientError):
            source = _SOURCES.get(exc.operation_name, "the source of the credentials")
            code = one_line(error_code(exc).strip() or str(status_of(exc)), 100)
            return cls(cause_of(exc), f"{source} refused {exc.operation_name}: {code}")
        if isinstance(exc, FOREIGN):
            return cls(cause_of(exc), told(exc))
        if isinstance(exc, BackhaulError):
            return cls(Cause.CONFIGURATION, exc.message)
        if isinstance(exc, OSError) and exc.filename is not None:
            return cls(Cause.UNEXPECTED, one_line(f"{exc.filename}: {exc.strerror}"))
        if isinstance(exc, ValueError):
            for name in _NUMBERS:
                if not os.environ.get(name, "1").strip().isdigit():
                    return cls(Cause.CONFIGURATION, f"{name} is no whole number")
        # A KeyError of a provider may quote what it looked into: only its kind is passed on.
        return cls(Cause.UNEXPECTED, f"a source of credentials failed with {type(exc).__name__}")


def cause_of(exc: Exception) -> Cause:
    """The cause behind anything botocore raises."""
    if isinstance(exc, CredentialSourceError):
        return exc.cause
    if isinstance(exc, ClientError):
        if is_from_elsewhere(exc):
            return Cause.UNREACHABLE
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
        case _ if status >= _SERVER_ERROR or status == _PROXY_LOGIN:
            return Cause.UNREACHABLE
        case _:
            return Cause.UNEXPECTED


def is_kms(code: str, message: str = "") -> bool:
    """True where KMS refused, or the right to use it: `KMS.DisabledException`, `KmsAccessDenied`.

    IAM names the missing right in its sentence: "not authorized to perform: kms:Decrypt".
    """
    return _KMS.match(code) is not None or ("Denied" in code and "kms:" in message)


def is_kms_refusal(exc: Exception) -> bool:
    """`is_kms` of an exception."""
    if not isinstance(exc, ClientError):
        return False
    return is_kms(error_code(exc), str(exc.response.get("Error", {}).get("Message", "")))


def is_from_elsewhere(exc: Exception) -> bool:
    """True for a refusal that AWS did not write: by a proxy, a gateway, a sign-in page.

    Not for refusals of HEAD, whose body is missing: servers that speak S3 may give no request id.
    """
    status = status_of(exc)
    if not isinstance(exc, ClientError) or not status:
        return False
    code = error_code(exc)
    if exc.response.get("ResponseMetadata", {}).get("RequestId"):
        return False
    return is_anonymous(status, "" if code == str(status) else code, headers_of(exc.response))


def is_anonymous(status: int, code: str, headers: Mapping[str, str]) -> bool:
    """True for a refusal with neither a code nor a request id of AWS.

    "Slow down" and faults (429, 5xx) mean the same whoever writes them.
    """
    return not (is_fault(status) or code or has_request_id(headers))


def is_fault(status: int) -> bool:
    """True for an HTTP status that says nothing of what was asked for: 429, 5xx."""
    return status == _TOO_MANY or status >= _SERVER_ERROR


def has_request_id(headers: Mapping[str, str]) -> bool:
    """True where AWS wrote the answer, or a server that speaks S3; not all of those name one."""
    return any(name in headers for name in _REQUEST_IDS)


def is_foreign_page(headers: Mapping[str, str], etag: str) -> bool:
    """True for a success that is no object of S3: without an ETag, and without a request id."""
    return not etag and not has_request_id(headers)


def headers_of(response: Any) -> dict[str, str]:
    """Those of an answer that botocore has parsed, names in lower case."""
    headers: dict[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def points_elsewhere(status: int, code: str, region: str) -> bool:
    """True where S3 sends the request to another region, which it may not name.

    A malformed header (`AuthorizationHeaderMalformed`) has many reasons; it is the region only
    where one is named.
    """
    if code == "AuthorizationHeaderMalformed":
        return bool(region)
    return status in _REDIRECTS or code in _REDIRECTING


def usable_region(named: str) -> str:
    """The region as an answer names it; empty where it cannot be one."""
    return named if _REGION.fullmatch(named) else ""


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
    if is_from_elsewhere(exc):
        return f"answered {status_of(exc)} without a code or request id of AWS"
    cause = cause_of(exc)
    if cause in CREDENTIAL_CAUSES and isinstance(exc, ClientError):
        return one_line(error_code(exc))
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
        Cause.CLOCK: ("E_AWS_CLOCK", "this machine's clock is off by minutes: fix NTP"),
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


def account_error(said: str) -> OutageError:
    """S3 serves nothing of this account: the next object would fare no better."""
    return OutageError.of(
        "s3",
        "E_AWS_ACCOUNT",
        f"{said}; the account is refused, not this bucket",
        hint="look at the account's state, bill and quota; the transfers then go on",
    )


def is_customer_key(code: str, message: str) -> bool:
    """True for the refusal of a GET that lacks the object's own key (SSE-C)."""
    return code == "InvalidRequest" and "ncryption" in message


def no_customer_key(said: str) -> PermanentError:
    """Nobody but the customer has that key."""
    return PermanentError(
        "E_SRC_SSEC",
        said,
        hint="it is encrypted with a customer's key (SSE-C), which Backhaul does not have",
    )


HINT_CONFIG = "check the region, AWS_PROFILE, AWS_ENDPOINT_URL* and ~/.aws/config"


def source_error(exc: CredentialSourceError, subject: str) -> OutageError:
    """The credentials could not be got: everything waits, whatever was to be done with them."""
    known = {Cause.EXPIRED, Cause.REFUSED, Cause.CLOCK, Cause.NO_CREDENTIALS}
    if exc.cause in known:
        return credential_error(exc.cause, subject, str(exc))
    if exc.cause is Cause.DENIED:
        return OutageError.of(
            "credentials",
            "E_AWS_DENIED",
            f"{subject}: {exc}",
            hint="allow sts:AssumeRole, and this agent in the role's trust policy",
        )
    return OutageError.of(
        "credentials",
        "E_AWS_CREDENTIALS",
        f"{subject}: {exc}",
        hint="check AWS_PROFILE, ~/.aws/config, and that STS or the metadata service is reachable",
    )


def common_error(exc: Exception, subject: str) -> BackhaulError:
    """What is the same for every service; `E_AWS_UNEXPECTED` is the end of the table."""
    if isinstance(exc, CredentialSourceError):
        return source_error(exc, subject)
    match cause_of(exc):
        case Cause.CONFIGURATION:
            return ConfigurationError(
                "E_AWS_CONFIG",
                f"{subject}: {told(exc)}",
                hint=HINT_CONFIG,
            )
        case Cause.NO_CREDENTIALS | Cause.EXPIRED | Cause.REFUSED | Cause.CLOCK as cause:
            return credential_error(cause, subject, told(exc))
        case _:
            return TransientError("E_AWS_UNEXPECTED", f"{subject}: {told(exc)}")
