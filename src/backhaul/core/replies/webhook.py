"""Where a webhook may go: the URL of the configuration, and the addresses that its host has.

The agent sits where its callers do not: on this machine, next to the cloud's metadata service. So a
name never leads to loopback, link-local or metadata addresses, whatever DNS answers; only a URL
that spells such an address out does. Pure: who resolves the name connects to what was checked here.

Source: RFC 6890 (special-purpose addresses), RFC 4291 (IPv4-mapped), RFC 6052 and 8215 (NAT64), RFC
2765 (IPv4-translated), RFC 6761 (localhost).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\.?")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")  # what resolvers read as one
_LOCALHOST = "localhost"
# Metadata services outside link-local: EC2 and Google by IPv6, Alibaba, Oracle, Azure.
_METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in (
        *("fd00:ec2::254", "fd20:ce::254"),
        *("100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
# Whose last 32 bits are an address of IPv4: NAT64, one's own NAT64, IPv4-translated.
_TRANSLATED = tuple(
    ipaddress.IPv6Network(one) for one in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")
)
_PORTS = {"https": 443, "http": 80}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class WebhookUrl:
    """A URL that replies may be sent to.

    Attributes:
        host: A name, or an address without brackets.
        target: Path and query, as the request line has it; either may hold a secret.
        address: The address that the URL spells out; None: a name.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None = None

    @property
    def origin(self) -> str:
        """For people and logs: path and query are often what lets one in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        return self.origin.partition("//")[2]

    def refusal(self, found: str) -> str:
        """Why an address that the host resolves to is not called; empty: it may be.

        Args:
            found: As `getaddrinfo` gives it, such as `10.0.0.7` or `fe80::1%eth0`.
        """
        address = ipaddress.ip_address(found)
        if self.address is not None:
            return "" if address == self.address else "another address than the URL's"
        kind = special_kind(address)
        if self.host.rstrip(".").lower() == _LOCALHOST and kind == "loopback":
            return ""
        return kind


def parse_webhook(text: str) -> WebhookUrl:
    """The URL of a webhook.

    Raises:
        ValueError: Its flaw, as the end of a sentence; never with the URL itself.
    """
    if not text.isascii() or not text.isprintable() or set(text) & set(" \\"):
        raise ValueError("holds blanks or characters that no URL has")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL: its host or its port is malformed") from None
    host = parts.hostname or ""
    if parts.scheme not in _PORTS:
        raise ValueError("does not begin with https://")
    if "@" in parts.netloc:
        raise ValueError("holds a user or a password: a receiver checks the signature instead")
    if "#" in text:
        raise ValueError("holds a fragment, which is never sent")
    if not host or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("is no URL: its host or its port is malformed")
    address = _address(parts.netloc, host)
    is_here = host.rstrip(".") == _LOCALHOST
    if address is not None:
        is_here = special_kind(address) == "loopback"
    if parts.scheme == "http" and not is_here:
        raise ValueError("is not https, and its host is not 127.0.0.1, ::1 or localhost")
    path = parts.path or "/"
    return WebhookUrl(
        scheme=parts.scheme,
        host=host,
        port=port or _PORTS[parts.scheme],
        target=f"{path}?{parts.query}" if parts.query else path,
        address=address,
    )


def _address(netloc: str, host: str) -> Address | None:
    if netloc.startswith("["):
        try:
            return ipaddress.IPv6Address(host if "%" not in host else "")
        except ValueError:
            raise ValueError("is no URL: its host is no IPv6 address") from None
    if _NUMERIC.fullmatch(host):
        try:
            return ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError("has a number for a host: write the address in full") from None
    if not _HOST.fullmatch(host):
        raise ValueError("is no URL: its host or its port is malformed")
    return None


def special_kind(address: Address) -> str:
    """What is special about an address that no name may lead to; empty: nothing.

    An IPv6 address that carries one of IPv4 is judged by that one, too.
    """
    kind = _kind(address)
    if not kind and isinstance(address, ipaddress.IPv6Address):
        kind = next((found for one in _carried(address) if (found := _kind(one))), "")
    return kind


def _carried(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    number = int(address)
    is_translated = any(address in network for network in _TRANSLATED)
    if is_translated or number >> 32 == 0:  # ::a.b.c.d, which some systems still read
        found.append(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    return [one for one in found if one is not None]


def _kind(address: Address) -> str:
    if address in _METADATA:
        return "metadata service"
    if address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):  # noqa: PLR2004
        return "unspecified"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if isinstance(address, ipaddress.IPv4Address) and address.is_reserved:
        return "reserved"
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return "link-local"
    return ""
