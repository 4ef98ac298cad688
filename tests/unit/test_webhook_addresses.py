"""Where a webhook may go: by its URL, and by the addresses that DNS gives for its host."""

from __future__ import annotations

import ipaddress

import pytest

from backhaul.core.replies.webhook import parse_webhook, special_kind


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://hooks.example.com/a?b=c", "https://hooks.example.com", "/a?b=c"),
        ("https://hooks.example.com", "https://hooks.example.com", "/"),
        ("https://hooks.example.com:8443/x", "https://hooks.example.com:8443", "/x"),
        ("https://10.1.2.3/x", "https://10.1.2.3", "/x"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443", "/"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000", "/"),
        ("http://[::1]/", "http://[::1]", "/"),
        ("http://localhost:80/?q", "http://localhost", "/?q"),
        ("https://169.254.169.254/", "https://169.254.169.254", "/"),  # spelled out: meant
    ],
)
def test_a_url_is_taken(url: str, origin: str, target: str) -> None:
    found = parse_webhook(url)
    assert (found.origin, found.target) == (origin, target)


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("ftp://hooks.example.com/", "does not begin with https://"),
        ("file:///etc/passwd", "does not begin with https://"),
        ("gopher://hooks.example.com/", "does not begin with https://"),
        ("//hooks.example.com/", "does not begin with https://"),
        ("hooks.example.com/x", "does not begin with https://"),
        ("http://hooks.example.com/", "is not https, and its host is not 127.0.0.1, ::1"),
        ("http://10.1.2.3/", "is not https"),
        ("http://169.254.169.254/", "is not https"),
        ("http://0.0.0.0/", "is not https"),
        ("https://user:secret@hooks.example.com/", "holds a user or a password"),
        ("https://user@hooks.example.com/", "holds a user or a password"),
        ("https://hooks.example.com#@x.org/", "holds a fragment"),
        ("https://hooks.example.com/#a", "holds a fragment"),
        ("https://hooks.example.com\\@x.org/", "holds blanks or characters"),
        ("https://hooks.example.com/a b", "holds blanks or characters"),
        ("https://hooks.example.com/a\r\nX: y", "holds blanks or characters"),
        ("https://hööks.example.com/", "holds blanks or characters"),
        ("https:///x", "is no URL"),
        ("https://hooks.example.com:0/", "is no URL"),
        ("https://hooks.example.com:/", "is no URL"),
        ("https://hooks.example.com:70000/", "is no URL"),
        ("https://[fe80::1%25eth0]/", "is no URL"),
        ("https://[1.2.3.4]/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://-x.org/", "is no URL"),
        ("https://2130706433/", "has a number for a host"),
        ("https://127.1/", "has a number for a host"),
        ("https://0x7f000001/", "has a number for a host"),
        ("https://0177.0.0.1/", "has a number for a host"),
        ("https://127.0.0.1./", "has a number for a host"),
    ],
)
def test_a_url_is_refused_without_being_repeated(url: str, flaw: str) -> None:
    with pytest.raises(ValueError, match=flaw) as caught:
        parse_webhook(url)
    assert "secret" not in str(caught.value)
    assert "hooks" not in str(caught.value)


REFUSED = {
    "127.0.0.1": "loopback",
    "127.9.9.9": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "loopback",
    "169.254.169.254": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b:1::a9fe:a9fe": "link-local",
    "::ffff:0:169.254.169.254": "link-local",
    "169.254.1.1": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "link-local",
    "fd00:ec2::254": "metadata service",
    "fd20:ce::254": "metadata service",
    "100.100.100.200": "metadata service",
    "192.0.0.192": "metadata service",
    "168.63.129.16": "metadata service",
    "0.0.0.0": "unspecified",  # noqa: S104
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "::ffff:0.0.0.0": "unspecified",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "240.0.0.1": "reserved",
}


@pytest.mark.parametrize(("address", "kind"), REFUSED.items())
def test_a_name_never_leads_to_a_special_address(address: str, kind: str) -> None:
    assert parse_webhook("https://hooks.example.com/").refusal(address) == kind


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "10.0.0.7", "192.168.1.1", "172.16.0.1", "2606:2800::1", "fd12::1"]
)
def test_a_name_may_lead_into_the_own_network(address: str) -> None:
    assert parse_webhook("https://hooks.example.com/").refusal(address) == ""


@pytest.mark.parametrize("address", [one for one in REFUSED if "%" not in one])
def test_an_address_that_the_url_spells_out_is_meant(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    url = parse_webhook(f"https://{host}/")
    assert url.refusal(address) == ""
    assert url.refusal("127.0.0.2")


def test_localhost_leads_to_loopback_and_no_further() -> None:
    url = parse_webhook("http://localhost:8080/")
    assert [url.refusal(one) for one in ("127.0.0.1", "::1", "10.0.0.1")] == ["", "", ""]
    assert url.refusal("169.254.169.254") == "link-local"
    assert parse_webhook("https://localhost.example.com/").refusal("127.0.0.1") == "loopback"


def test_kinds_are_of_addresses_alone() -> None:
    assert special_kind(ipaddress.ip_address("8.8.8.8")) == ""
