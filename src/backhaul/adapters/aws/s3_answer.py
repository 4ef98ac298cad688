"""What an S3 answer says: checksum headers, and refusals turned into errors. Used by `s3_get`.

Source: Amazon S3 API reference, GetObject (response headers), "Error responses".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

from backhaul.adapters.aws.errors import (
    CREDENTIAL_CAUSES,
    Cause,
    account_error,
    cause_of_answer,
    credential_error,
    is_anonymous,
    is_customer_key,
    is_kms,
    no_customer_key,
    one_line,
    points_elsewhere,
    usable_region,
)
from backhaul.core.checksums import Part, S3Checksum, S3Checksums
from backhaul.core.errors import (
    BackhaulError,
    OutageError,
    PermanentError,
    SourceChanged,
    TransientError,
)
from backhaul.core.model import Pin
from backhaul.core.transfer.listing import etag_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPHeaderDict

_ERROR_BODY_MAX_BYTES = 64 * 1024
_PARTS_MAX_BYTES = 4 << 20  # 1,000 parts are some 300 KiB
_LENGTH = re.compile("[0-9]{1,19}")
_CHECKSUM = "x-amz-checksum-"
_COMPOSITE_VALUE = re.compile(r"-\d+$")
_SERVER_ERROR = 500
_KMS_PASSING = re.compile("disabled|state|internal|unavailable|timeout", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """A refusal: HTTP status and, except after HEAD, what its small XML says.

    Attributes:
        region: The bucket's, where S3 names it.
        is_from_elsewhere: S3 did not write it: to a GET it gives a code or a request id.
    """

    status: int
    code: str
    message: str
    region: str
    is_from_elsewhere: bool = False

    @property
    def cause(self) -> Cause:
        return cause_of_answer(self.code, self.status)


def checksums_in(response: BaseHTTPResponse, *, whole: bool) -> S3Checksums:
    """Read the headers of interest; checksums only where the `whole` object was asked for.

    Raises:
        TransientError: E_S3_SERVER: no usable Content-Length, so the end could not be told.
    """
    headers = response.headers
    length = headers.get("Content-Length", "")
    if not _LENGTH.fullmatch(length):
        raise TransientError(
            "E_S3_SERVER", f"S3 answered with Content-Length {one_line(length, 40)!r}"
        )
    sse = headers.get("x-amz-server-side-encryption")
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        sse = "SSE-C"
    return S3Checksums(
        checksums=_checksums(headers) if whole else (),
        etag=etag_of(headers.get("ETag", "")),
        version_id=headers.get("x-amz-version-id"),
        content_length=int(length),
        sse=sse,
    )


def _checksums(headers: HTTPHeaderDict) -> tuple[S3Checksum, ...]:
    """A value that ends in `-N` is composite whatever the type header says."""
    type_says_full = headers.get("x-amz-checksum-type", "FULL_OBJECT").upper() == "FULL_OBJECT"
    return tuple(
        S3Checksum(
            algorithm=name[len(_CHECKSUM) :].upper(),
            value=value,
            is_full_object=type_says_full and _COMPOSITE_VALUE.search(value) is None,
        )
        for name, value in headers.items()
        if name.lower().startswith(_CHECKSUM) and name.lower() != f"{_CHECKSUM}type"
    )


@dataclass(frozen=True, kw_only=True)
class PartsPage:
    """One answer of GetObjectAttributes.

    Attributes:
        next_marker: Where the next page begins; None on the last.
    """

    etag: str
    object_size: int
    parts: tuple[Part, ...]
    next_marker: int | None


def parts_in(response: BaseHTTPResponse) -> PartsPage | None:
    """Read an answer of GetObjectAttributes; None where it is none, or names no parts.

    Source: Amazon S3 API reference, GetObjectAttributes.
    """
    body = _bounded(response, _PARTS_MAX_BYTES)
    text = body.decode("utf-8", "replace")
    parts = []
    for part in re.findall(r"<Part>(.*?)</Part>", text, re.DOTALL):
        size = _element(part, "Size")
        if not _LENGTH.fullmatch(size):
            return None
        sums = re.findall(r"<Checksum([A-Z0-9]+)>([^<]{1,100})</Checksum", part)
        parts.append(Part(size_bytes=int(size), checksums=dict(sums)))
    whole = _element(text, "ObjectSize")
    if not parts or not _LENGTH.fullmatch(whole):
        return None
    marker = _element(text, "NextPartNumberMarker")
    is_cut = _element(text, "IsTruncated").lower() == "true"
    has_more = is_cut and _LENGTH.fullmatch(marker) is not None
    return PartsPage(
        etag=_element(text, "ETag").replace("&quot;", "").strip('"'),
        object_size=int(whole),
        parts=tuple(parts),
        next_marker=int(marker) if has_more else None,
    )


def error_of(response: BaseHTTPResponse) -> ErrorAnswer:
    """Read a refusal and give its connection back. Never raises for a broken body."""
    text = _bounded(response, _ERROR_BODY_MAX_BYTES).decode("utf-8", "replace")
    headers = response.headers
    code = _element(text, "Code")
    named = headers.get("x-amz-bucket-region") or _element(text, "Region")
    return ErrorAnswer(
        status=response.status,
        code=code,
        message=_element(text, "Message"),
        region=usable_region(named),
        is_from_elsewhere=is_anonymous(response.status, code, headers),
    )


def _bounded(response: BaseHTTPResponse, limit_bytes: int) -> bytes:
    """The body up to a limit; empty where it breaks. Its connection is given back, or closed."""
    try:
        body = response.read(limit_bytes, decode_content=False)
    except (HTTPError, OSError):
        body = b""
    if len(body) == limit_bytes or response.headers.get("Connection") == "close":
        response.close()  # or the rest of it would be read, however long it is
    response.drain_conn()
    response.release_conn()
    return body


def _element(text: str, name: str) -> str:
    """Text of the first `<name>`; the answer is flat, so no XML parser is let near it."""
    found = re.search(rf"<{name}>([^<]{{0,1000}})</{name}>", text)
    return one_line(found[1].strip()) if found else ""


def refusal(error: ErrorAnswer, pin: Pin, name: str) -> BackhaulError:
    """What a refused GET of a pinned object means."""
    said = f"{name}: S3 answered {error.status} {error.code} {error.message}".rstrip()
    if not error.is_from_elsewhere and points_elsewhere(error.status, error.code, error.region):
        # The code is enough: the words may quote the signed headers.
        said = f"{name}: S3 answered {error.status} {error.code}".rstrip()
        return wrong_region(pin.bucket, error.region, said)
    if error.cause in CREDENTIAL_CAUSES or error.cause is Cause.CLOCK:
        # S3's own words may quote the signed headers; the code is enough.
        return credential_error(
            error.cause, name, f"S3 answered {error.status} {error.code}".rstrip()
        )
    if error.is_from_elsewhere:
        return OutageError.of(
            "s3",
            "E_S3_UNREACHABLE",
            f"{name}: answered {error.status} without a code or request id of S3",
            hint="something between this machine and S3 refuses: check HTTPS_PROXY",
        )
    if by_code := _by_code(error, said):
        return by_code
    match error.status:
        case 404 | 405:  # 405: a delete marker was asked for by its version
            return SourceChanged("E_SRC_GONE", said)
        case 409 | 412 | 416:
            return SourceChanged("E_SRC_CHANGED", said)
        case 401 | 403:
            return PermanentError(
                "E_SRC_DENIED", said, hint="allow s3:GetObject (and kms:Decrypt) for this agent"
            )
        case _ if error.cause is Cause.THROTTLED:
            return TransientError("E_S3_THROTTLED", said)
        case _ if error.status >= _SERVER_ERROR or error.cause is Cause.UNREACHABLE:
            return TransientError("E_S3_SERVER", said)
        case _:
            return TransientError("E_AWS_UNEXPECTED", said)


def _by_code(error: ErrorAnswer, said: str) -> BackhaulError | None:
    match error.code:
        case "NoSuchBucket":
            return PermanentError("E_SRC_NO_BUCKET", said)
        case "InvalidObjectState":
            return PermanentError(
                "E_SRC_ARCHIVED", said, hint="restore it from its archive class, then send again"
            )
        case _ if error.cause is Cause.ACCOUNT:
            return account_error(said)
        case code if is_customer_key(code, error.message):
            return no_customer_key(said)
        case "RequestTimeout":  # a 400, though it is the server that gave up waiting
            return TransientError("E_S3_SERVER", said)
        case code if is_kms(code, error.message) and error.cause is not Cause.THROTTLED:
            return _refused_key(error, said)
        case _:
            return None


def _refused_key(error: ErrorAnswer, said: str) -> BackhaulError:
    """A key that is switched off may be switched on again; a missing right is this request's."""
    if _KMS_PASSING.search(error.code):
        return OutageError.of(
            "s3", "E_SRC_KMS", said, hint="enable the object's KMS key; the transfer then goes on"
        )
    return PermanentError(
        "E_SRC_DENIED", said, hint="allow kms:Decrypt on the object's KMS key for this agent"
    )


def wrong_region(bucket: str, region: str, said: str) -> PermanentError:
    """The bucket lives in another region than the one that was asked."""
    return PermanentError(
        "E_SRC_REGION",
        f"{said}; bucket {bucket} is in {region or 'another region'}",
        hint=f"set AWS_REGION={region}" if region else "set AWS_REGION to the bucket's region",
    )
