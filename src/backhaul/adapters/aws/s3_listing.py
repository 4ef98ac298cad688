"""One page of a listing, read strictly. What a page must contain is checked in `transfer.listing`.

botocore's own parser fills in what is absent and accepts any root element, also an HTML page, so
it gets an empty document and this module the bytes.

Source: Amazon S3 API reference, ListObjectsV2, "Response Syntax".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element

from backhaul.adapters.aws.causes import has_request_id
from backhaul.adapters.aws.s3_xml import name_of, parse
from backhaul.core.ports import ListedObject, ListedPage

PAGE = "BackhaulPage"  # in botocore's parsed answer
_OK, _REFUSALS = 200, 301  # as botocore divides them
_BAD_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_HTML = re.compile(rb"<(?:!doctype\s+)?html", re.IGNORECASE)
_S3S = re.compile(rb"\s*<(?:\?xml|(?:\w+:)?(?:ListBucketResult|Error))")
# Effects of parameters that are never sent; with any of them keys are missing from the page.
_UNREQUESTED = ("Delimiter", "CommonPrefixes", "Marker", "NextMarker")
_FIELDS = ("Key", "Size", "ETag", "LastModified", "StorageClass")


class NotS3Error(ValueError):
    """A web page in place of an answer of S3: a proxy on the way answers itself."""


def take_page(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Parse the page in place of botocore; for its event `before-parse.*.ListObjectsV2`.

    An unreadable page becomes status 500, so that botocore tries again as for any fault of a
    server. An error in place of a page is left to botocore, which reads its code.
    """
    status = response_dict["status_code"]
    if status >= _REFUSALS:
        return
    body: bytes = response_dict["body"]
    try:
        root = _document(body, status, is_s3s=has_request_id(_lower(response_dict["headers"])))
        if name_of(root) == "Error":
            response_dict["status_code"] = 500
            return
        response_dict["body"] = b""
        customized_response_dict[PAGE] = root
    except ValueError as exc:
        response_dict["body"] = b""
        customized_response_dict[PAGE] = exc
        response_dict["status_code"] = 500


def listing_root(body: bytes, *, is_s3s: bool) -> Element:
    """The root element of a page, of an answer with status 200.

    Raises:
        ValueError: It is no page of a listing.
    """
    root = _document(body, _OK, is_s3s=is_s3s)
    if name_of(root) == "Error":
        raise ValueError("it is an error")
    return root


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _document(body: bytes, status: int, *, is_s3s: bool) -> Element:
    """The root element: a page's, or an error's.

    Args:
        is_s3s: It has S3's request id. Without one, a body that does not begin as S3's XML is a
            web page.

    Raises:
        NotS3Error: A web page.
        ValueError: Anything else that is no page of a listing.
    """
    if status != _OK:
        raise ValueError(f"it came with status {status}")
    if _HTML.search(body, 0, 4096) or not (is_s3s or _S3S.match(body)):
        raise NotS3Error("it is a web page, not an answer of S3")
    root = parse(body)
    if name_of(root) in {"ListBucketResult", "Error"}:
        return root
    flaw = f"it is <{name_of(root)[:60]}>"
    raise ValueError(flaw) if is_s3s else NotS3Error(flaw)


def page_of(
    root: Element, server: str, prefix: str, token: str | None, start_after: str = ""
) -> ListedPage:
    """The page as it was written, keys decoded; `flaw` where that is not possible.

    Args:
        prefix: As requested; a server may repeat it encoded or not.
        token, start_after: Likewise.
    """
    try:
        return _page(root, server, prefix, token, start_after)
    except ValueError as exc:
        return ListedPage(server=server, flaw=str(exc))


def _page(
    root: Element, server: str, prefix: str, token: str | None, start_after: str
) -> ListedPage:
    single: dict[str, str] = {}
    contents: list[Element] = []
    for child in root:
        name = name_of(child)
        if name == "Contents":
            contents.append(child)
        elif name in _UNREQUESTED and (child.text or len(child)):
            raise ValueError(f"it has <{name}>, which was not requested")
        elif name == "StartAfter" and _echo(child.text, start_after) not in {None, start_after}:
            raise ValueError("it has <StartAfter>, which was not requested")
        elif name in single:
            raise ValueError(f"it has <{name}> twice")
        else:
            single[name] = child.text or ""
    is_encoded = single.get("EncodingType", "").lower() == "url"
    truncated = single.get("IsTruncated", "").strip().lower()
    return ListedPage(
        server=server,
        objects=tuple(_object(one, is_encoded=is_encoded) for one in contents),
        bucket=single.get("Name"),
        prefix=_echo(single.get("Prefix"), prefix),
        token=_echo(single.get("ContinuationToken"), token),
        key_count=single.get("KeyCount"),
        is_truncated={"true": True, "false": False}.get(truncated),
        next_token=single.get("NextContinuationToken", ""),
    )


def _echo(written: str | None, requested: str | None) -> str | None:
    """A parameter that a server repeats: as requested if it is another spelling of that."""
    if not written or written == requested:
        return requested if written else None
    try:
        decoded = _decoded(written)
    except ValueError:
        return written
    return requested if decoded == requested else written


def _object(element: Element, *, is_encoded: bool) -> ListedObject:
    found: dict[str, str] = {}
    flaw = ""
    for child in element:
        name = name_of(child)
        if name in _FIELDS:
            flaw = flaw or (f"has <{name}> twice" if name in found else "")
            found[name] = child.text or ""
    key = found.get("Key", "")
    if not key:
        flaw = "is missing: an object without a key"
    elif is_encoded:
        try:
            key = _decoded(key)
        except ValueError:
            flaw = "does not decode to UTF-8"
    return ListedObject(
        key=key,
        size=found.get("Size"),
        etag=found.get("ETag"),
        last_modified=found.get("LastModified"),
        flaw=flaw,
        storage_class=found.get("StorageClass", ""),
    )


def _decoded(text: str) -> str:
    """Percent-encoded text, a blank as `+`.

    Raises:
        ValueError: A `%` without two digits, or bytes that are not UTF-8.
    """
    if "%" not in text and "+" not in text:
        return text
    if _BAD_PERCENT.search(text):
        raise ValueError(text)
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
