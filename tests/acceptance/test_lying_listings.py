"""An S3 whose listings are untrue: nothing outside the prefix is read, nothing of it published."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.proxy import Answer, Proxy, Seen

pytestmark = pytest.mark.integration
LONG = pytest.mark.long  # told by the same code, and by unit tests
Change = Callable[[bytes], bytes]
HTML = b"<!DOCTYPE html><html><body><h1>Sign in to the guest network</h1></body></html>"
XML_HEAD = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
ENTRY = (
    b"<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    b"<ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag><Size>1</Size></Contents>"
)


def entries(body: bytes) -> list[bytes]:
    return re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)


def with_entries(body: bytes, made: list[bytes]) -> bytes:
    """The page with other entries, and counted as such."""
    first = body.index(b"<Contents>")
    rest = re.sub(rb"<Contents>.*</Contents>", b"", body, flags=re.DOTALL)
    rest = re.sub(rb"<KeyCount>\d+", b"<KeyCount>%d" % len(made), rest)
    at = rest.index(b"</ListBucketResult>") if first > len(rest) else first
    return rest[:at] + b"".join(made) + rest[at:]


def repeated(body: bytes) -> bytes:
    return with_entries(body, [one for one in entries(body) for _ in range(2)])


def reversed_(body: bytes) -> bytes:
    return with_entries(body, entries(body)[::-1])


def with_bare_placeholder(body: bytes) -> bytes:
    marker = b"<Contents><Key>p/dir/</Key><StorageClass>STANDARD</StorageClass></Contents>"
    return with_entries(body, [marker, *entries(body)])


def with_stranger(body: bytes) -> bytes:
    return with_entries(body, [ENTRY % b"other/secret.csv", *entries(body)])


def with_stranger_behind(body: bytes) -> bytes:
    """Shares the prefix's first characters, and is not below it."""
    return with_entries(body, [*entries(body), ENTRY % b"p0/secret.csv"])


def with_two_states(body: bytes) -> bytes:
    first = entries(body)[0]
    other = re.sub(rb"<ETag>.*?</ETag>", b"<ETag>&quot;0&quot;</ETag>", first)
    return with_entries(body, [first, other, *entries(body)[1:]])


def without(name: bytes) -> Change:
    def change(body: bytes) -> bytes:
        return re.sub(rb"<%s>.*?</%s>" % (name, name), b"", body)

    change.__name__ = f"without_{name.decode()}"
    return change


def with_size(value: bytes) -> Change:
    def change(body: bytes) -> bytes:
        return re.sub(rb"<Size>\d+</Size>", b"<Size>%s</Size>" % value, body)

    change.__name__ = f"with_size_{value.decode()}"
    return change


def cut_in_the_middle(body: bytes) -> bytes:
    return body[: len(body) // 2]


def of_another_prefix(body: bytes) -> bytes:
    return re.sub(rb"<Prefix>.*?</Prefix>", b"<Prefix>other/</Prefix>", body)


def of_another_bucket(body: bytes) -> bytes:
    return re.sub(rb"<Name>.*?</Name>", b"<Name>another</Name>", body)


def cut_without_token(body: bytes) -> bytes:
    return body.replace(b"<IsTruncated>false", b"<IsTruncated>true")


def another_root(body: bytes) -> bytes:
    return body.replace(b"ListBucketResult", b"ListAllMyBucketsResult")


def with_hidden_keys(body: bytes) -> bytes:
    common = b"<CommonPrefixes><Prefix>p/hidden/</Prefix></CommonPrefixes></ListBucketResult>"
    return body.replace(b"</ListBucketResult>", common)


def lie(proxy: Proxy, change: Change, times: int | None = None) -> None:
    def apply(answer: Answer) -> None:
        answer.body = change(answer.body)

    proxy.lie(apply, to=lambda seen: seen.is_list, times=times)


def put_two(it: Installation) -> None:
    it.put("p/f00000", b"four")
    it.put("p/f00001", b"more")
    it.put("other/secret.csv", b"a")
    it.put("p0/secret.csv", b"a")


@pytest.mark.parametrize("change", [repeated, reversed_, with_bare_placeholder])
def test_repeats_order_and_bare_placeholders_are_no_fault(
    behind_proxy: Installation, s3_proxy: Proxy, change: Change
) -> None:
    it = behind_proxy
    put_two(it)
    lie(s3_proxy, change)
    it.ask_for("p/", "out")
    ended = it.drained()
    assert it.landing.files() == {"out/f00000": b"four", "out/f00001": b"more"}
    assert it.dead_letters() == []
    assert ended.of("attempt failed") == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_stranger, "E_S3_LIST_FOREIGN"),
        (with_stranger_behind, "E_S3_LIST_FOREIGN"),
        (with_two_states, "E_S3_LIST_TWICE"),
        (without(b"ETag"), "E_S3_LIST_ENTRY"),
        pytest.param(without(b"Size"), "E_S3_LIST_ENTRY", marks=LONG),
        pytest.param(without(b"LastModified"), "E_S3_LIST_ENTRY", marks=LONG),
        pytest.param(with_size(b"-1"), "E_S3_LIST_ENTRY", marks=LONG),
        (with_size(b"9223372036854775808"), "E_S3_LIST_ENTRY"),
        (without(b"IsTruncated"), "E_S3_LIST_PAGE"),
        (cut_in_the_middle, "E_S3_LIST_PAGE"),
        (of_another_prefix, "E_S3_LIST_PAGE"),
        (of_another_bucket, "E_S3_LIST_PAGE"),
        (cut_without_token, "E_S3_LIST_PAGE"),
        (another_root, "E_S3_LIST_PAGE"),
        (with_hidden_keys, "E_S3_LIST_PAGE"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_untrue_listing_is_refused_and_nothing_of_it_is_read_or_published(
    behind_proxy: Installation, s3_proxy: Proxy, change: Change, code: str
) -> None:
    it = behind_proxy
    put_two(it)
    lie(s3_proxy, change)
    it.ask_for("p/", "out")
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="2", BACKHAUL_AGENT__BACKOFF_BASE_S="1")
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == code, letter
    assert "page 1 from 127.0.0.1:" in letter["backhaul.reason"]
    assert "/p/" in letter["backhaul.reason"]
    assert letter["backhaul.attempts"] == ("1" if code == "E_S3_LIST_ENTRY" else "2")
    assert it.landing.files() == {}
    assert [seen.path for seen in s3_proxy.object_gets() if "secret" in seen.path] == []


@pytest.mark.parametrize(
    "change",
    [
        with_stranger,
        *(pytest.param(one, marks=LONG) for one in (cut_in_the_middle, with_two_states)),
    ],
)
def test_data_arrives_once_the_listing_is_true_again(
    behind_proxy: Installation, s3_proxy: Proxy, change: Change
) -> None:
    it = behind_proxy
    put_two(it)
    lie(s3_proxy, change, times=1)
    it.ask_for("p/", "out")
    it.drained()
    assert it.landing.files() == {"out/f00000": b"four", "out/f00001": b"more"}
    assert it.dead_letters() == []


def test_a_web_page_in_place_of_a_listing_holds_the_route(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    """A sign-in page of a network says nothing about the bucket: no attempt is spent."""
    it = behind_proxy
    put_two(it)
    lie(s3_proxy, lambda _: HTML, times=7)
    it.ask_for("p/", "out")
    ended = it.drained()
    assert it.landing.files() == {"out/f00000": b"four", "out/f00001": b"more"}
    held = ended.of("transfer held")
    assert {line["code"] for line in held} == {"E_S3_UNREACHABLE"}
    assert "web page" in held[0]["reason"]
    (row,) = it.history()
    assert (row["state"], row["failures"]) == ("done", 0)


def test_a_lie_on_a_later_page_publishes_nothing_of_the_pages_before_it(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    for number in range(1005):
        it.put(f"p/{number:05}", b"x")
    it.put("other/secret.csv", b"a")

    def on_page_two(seen: Seen) -> bool:
        return seen.is_list and "continuation-token" in seen.query

    def apply(answer: Answer) -> None:
        answer.body = with_stranger(answer.body)

    s3_proxy.lie(apply, to=on_page_two)
    it.ask_for("p/", "out")
    it.drained(BACKHAUL_AGENT__MAX_ATTEMPTS="1")
    letter = it.the_dead_letter()
    assert letter["backhaul.code"] == "E_S3_LIST_FOREIGN"
    assert "page 2 from" in letter["backhaul.reason"]
    assert it.landing.files() == {}
