"""The form of an endpoint's URL and of a region, whichever setting holds them.

A malformed one is found at the start: the AWS library fails on some only in the middle of a call,
and reads others as another host.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\.?")
# As in botocore: it becomes part of a host's name. Servers other than AWS have any name.
_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def endpoint_fault(text: str) -> str:
    """The flaw of an endpoint's URL, as the end of a sentence; empty: none.

    The URL itself is not repeated: it may hold a password.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds blanks or characters that no URL has"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "is no URL: its host or its port is malformed"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "is no URL with https:// and a host"
    if "@" in parts.netloc:
        return "holds credentials, which no endpoint takes"
    if "?" in text or "#" in text:
        return "holds a query or a fragment, which no endpoint has"
    if port == 0 or parts.netloc.endswith(":") or not _is_host(parts):
        return "is no URL: its host or its port is malformed"
    return ""


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if not parts.netloc.startswith("["):
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return re.match(r":|\Z", parts.netloc.rpartition("]")[2]) is not None


def is_region(text: str) -> bool:
    """Whether it may be a region's name: letters, digits and hyphens."""
    return _REGION.fullmatch(text) is not None
