"""Reads what S3 answers to a GET: checksum headers, the parts of an upload, a refusal's code.

What a refusal means is decided in `errors`.

Source: Amazon S3 API reference, GetObject (response headers), GetObjectAttributes, "Error
responses".
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from urllib3.exceptions import HTTPError

from backhaul.adapters.aws.causes import (
    Cause,
    cause_of_answer,
    has_request_id,
    is_anonymous,
    one_line,
    usable_region,
)
from backhaul.adapters.aws.s3_listing import listing_root
from backhaul.adapters.aws.s3_xml import DOCUMENT_MAX_BYTES, name_of, parse, text_of
from backhaul.core.checksums import Part, S3Checksum, S3Checksums
from backhaul.core.errors import TransientError
from backhaul.core.objects import Pin
from backhaul.core.transfer.listing import SIZE_MAX_BYTES, etag_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPHeaderDict

_ERROR_BODY_MAX_BYTES = 64 * 1024
_LISTING_S = 20.0  # for the whole body; each byte of it may take as long as the reader waits
_PIECE_BYTES = 1 << 16
_PARTS_MAX_BYTES = 4 << 20  # 1,000 parts are some 300 KiB
_LENGTH = re.compile("[0-9]{1,19}")
_PART_CHECKSUM = re.compile("Checksum([A-Z0-9]+)")
_PART_CHECKSUM_MAX = 100
_CHECKSUM = "x-amz-checksum-"
_COMPOSITE_VALUE = re.compile(r"-\d+$")


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """A refusal: HTTP status and, except after HEAD, the content of its small XML.

    Attributes:
        region: The bucket's, where S3 names it.
        is_from_elsewhere: S3 did not write it: its refusals of a GET have a code or a request id.
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
    """Read the headers of interest; checksums only of an answer with the `whole` object.

    Raises:
        TransientError: E_S3_SERVER: no usable Content-Length, so the end cannot be recognised.
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
    """A value that ends in `-N` is composite, also where the type header is another."""
    is_full = headers.get("x-amz-checksum-type", "FULL_OBJECT").upper() == "FULL_OBJECT"
    return tuple(
        S3Checksum(
            algorithm=name[len(_CHECKSUM) :].upper(),
            value=value,
            is_full_object=is_full and _COMPOSITE_VALUE.search(value) is None,
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
    """Read an answer of GetObjectAttributes; None where it is none, or names no parts."""
    try:
        root = parse(_bounded(response, _PARTS_MAX_BYTES))
    except ValueError:
        return None
    parts = []
    for element in root.iter():
        if name_of(element) == "Part":
            size = text_of(element, "Size")
            if not _LENGTH.fullmatch(size):
                return None
            parts.append(Part(size_bytes=int(size), checksums=_part_checksums(element)))
    whole = text_of(root, "ObjectSize")
    if not parts or not _LENGTH.fullmatch(whole):
        return None
    marker = text_of(root, "NextPartNumberMarker")
    is_cut = text_of(root, "IsTruncated").lower() == "true"
    has_more = is_cut and _LENGTH.fullmatch(marker) is not None
    return PartsPage(
        etag=text_of(root, "ETag").strip('"'),
        object_size=int(whole),
        parts=tuple(parts),
        next_marker=int(marker) if has_more else None,
    )


def _part_checksums(part: Element) -> dict[str, str]:
    return {
        match[1]: text
        for child in part
        if (match := _PART_CHECKSUM.fullmatch(name_of(child)))
        and 0 < len(text := child.text or "") <= _PART_CHECKSUM_MAX
    }


def error_of(response: BaseHTTPResponse) -> ErrorAnswer:
    """Read a refusal and give its connection back. Never raises for a broken body."""
    try:
        root = parse(_bounded(response, _ERROR_BODY_MAX_BYTES))
    except ValueError:
        root = Element("Error")
    headers = response.headers
    code = one_line(text_of(root, "Code"))
    return ErrorAnswer(
        status=response.status,
        code=code,
        message=one_line(text_of(root, "Message")),
        region=usable_region(headers.get("x-amz-bucket-region") or text_of(root, "Region")),
        is_from_elsewhere=is_anonymous(response.status, code, headers),
    )


def pin_in(headers: Mapping[str, str], bucket: str, key: str, version_id: str | None) -> Pin | None:
    """What an answer to HEAD shows of the object; None where anything is missing or impossible.

    Args:
        version_id: The requested one; of an answer to a request without one it is not taken over:
            reading by version needs a right of its own.
    """
    etag, length = etag_of(headers.get("ETag", "")), headers.get("Content-Length", "")
    at = moment_in(headers.get("Last-Modified", ""))
    if not etag or at is None or not _LENGTH.fullmatch(length) or int(length) > SIZE_MAX_BYTES:
        return None
    if version_id is not None and headers.get("x-amz-version-id", version_id) != version_id:
        return None
    return Pin(
        bucket=bucket,
        key=key,
        size_bytes=int(length),
        etag=etag,
        last_modified=at,
        version_id=version_id,
    )


def moment_in(text: str) -> datetime | None:
    """As HTTP writes it; None where it cannot be read."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def listing_in(response: BaseHTTPResponse) -> Element | None:
    """The root of a page of a listing; None where it is none, or is not whole within seconds."""
    try:
        body = _read(response)
        root = listing_root(body, is_s3s=has_request_id(response.headers))
    except (ValueError, HTTPError, OSError):
        response.close()
        response.release_conn()
        return None
    response.release_conn()
    return root


def _read(response: BaseHTTPResponse) -> bytes:
    pieces, length = [], 0
    deadline_s = time.monotonic() + _LISTING_S
    while piece := response.read1(_PIECE_BYTES, decode_content=False):
        pieces.append(piece)
        length += len(piece)
        if length > DOCUMENT_MAX_BYTES or time.monotonic() > deadline_s:
            raise ValueError("it does not end")
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and declared != str(length):
        raise ValueError("it ended early")
    return b"".join(pieces)


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
