"""Why a call of AWS failed: the exceptions of botocore and the error codes of AWS, by cause.

One table of names serves SQS and S3's listings (both through botocore) and the GET of `s3_get`,
which reads the code from S3's XML. `errors` turns a cause into one of Backhaul's errors, which
differs by call: a refused GET concerns one request, a refused ReceiveMessage the installation.

A code alone does not decide. The same AccessDenied comes from S3, from KMS behind it, from STS
before it, and without a code from a proxy on the way:

* `CredentialSourceError`: no credentials could be obtained (STS, SSO, metadata, a process, a file).
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

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from backhaul.core.errors import BackhaulError

# Everything that botocore raises on purpose. ResponseParserError is outside its tree.
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
    ACCOUNT = auto()  # the account is closed or has used up its quota, for every request
    THROTTLED = auto()
    UNREACHABLE = auto()  # no answer, or a fault of the server
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
    """A source of credentials failed; the request that needs them was never sent.

    Attributes:
        cause: Why the source failed.
    """

    fmt = "{reason}"

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason=reason)
        self.cause = cause

    @classmethod
    def of(cls, exc: Exception) -> CredentialSourceError:
        """From any exception of a provider of AWS's chain."""
        if isinstance(exc, ClientError):
            source = _SOURCES.get(exc.operation_name, "the source of the credentials")
            code = one_line(error_code(exc).strip() or str(status_of(exc)), 100)
            return cls(cause_of(exc), f"{source} refused {exc.operation_name}: {code}")
        if isinstance(exc, FOREIGN):
            return cls(cause_of(exc), message_of(exc))
        if isinstance(exc, BackhaulError):
            return cls(Cause.CONFIGURATION, exc.message)
        if isinstance(exc, OSError) and exc.filename is not None:
            return cls(Cause.UNEXPECTED, one_line(f"{exc.filename}: {exc.strerror}"))
        if isinstance(exc, ValueError):
            for name in _NUMBERS:
                if not os.environ.get(name, "1").strip().isdigit():
                    return cls(Cause.CONFIGURATION, f"{name} is not a whole number")
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
    """True for a refusal that AWS did not write: of a proxy, a gateway, a sign-in page.

    Not to be used for HEAD, whose refusals have no body: S3-compatible servers may send no request
    id.
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

    429 and 5xx mean the same from any server.
    """
    return not (is_fault(status) or code or has_request_id(headers))


def is_fault(status: int) -> bool:
    """True for an HTTP status that does not depend on the requested object: 429, 5xx."""
    return status == _TOO_MANY or status >= _SERVER_ERROR


def has_request_id(headers: Mapping[str, str]) -> bool:
    """True for an answer of AWS or of an S3-compatible server; some of those send no id."""
    return any(name in headers for name in _REQUEST_IDS)


def is_foreign_page(headers: Mapping[str, str], etag: str) -> bool:
    """True for a success with neither an ETag nor a request id: not an object of S3."""
    return not etag and not has_request_id(headers)


def headers_of(response: Any) -> dict[str, str]:
    """The headers of an answer that botocore has parsed, names in lower case."""
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
    """The region that an answer names; empty if it has an impossible form."""
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


def message_of(exc: Exception) -> str:
    """AWS's message on one line; only its code where the message may quote the signed headers."""
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
