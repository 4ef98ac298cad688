"""A listing is believed only where every page is what was requested and no key contradicts it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backhaul.core.errors import BackhaulError, PermanentError, TransientError
from backhaul.core.ports import ListedObject, ListedPage
from backhaul.core.transfer import listing
from backhaul.core.transfer.listing import (
    _Listing,
    find_object,
    has_object,
    list_objects,
    list_pages,
)

SERVER = "s3.test:9000"


def entry(key: str, **changes: str | None) -> ListedObject:
    whole: dict[str, str | None] = {
        "size": "4",
        "etag": '"8d777f385d3dfec8815d20f7496026dc"',
        "last_modified": "2026-01-01T00:00:00.000Z",
    }
    return ListedObject(key=key, **{**whole, **changes})  # type: ignore[arg-type]


def page(*entries: ListedObject | str, **changes: object) -> ListedPage:
    objects = tuple(entry(one) if isinstance(one, str) else one for one in entries)
    whole = ListedPage(
        server=SERVER, objects=objects, bucket="src", prefix="p/", is_truncated=False
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


class Server:
    """Gives these pages in turn, chained by tokens, the last one for ever."""

    def __init__(self, *pages: ListedPage, is_chained: bool = True) -> None:
        self.pages = list(pages)
        self.requests = 0
        if is_chained:
            for number, one in enumerate(self.pages[:-1]):
                self.pages[number] = replace(one, is_truncated=True, next_token=f"t{number + 1}")

    def list_page(
        self, bucket: str, prefix: str, *, token: str | None = None, **_: object
    ) -> ListedPage:
        del bucket, prefix, token
        self.requests += 1
        return self.pages[min(self.requests, len(self.pages)) - 1]


def keys(server: Server, prefix: str = "p/") -> list[str]:
    pages = list_pages(server, "src", prefix)  # type: ignore[arg-type]
    return [pin.key for one in pages for pin in one.pins]


def refused(server: Server) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        keys(server)
    return caught.value


# ---------------------------------------------------------------- what is accepted


def test_pages_become_pins() -> None:
    server = Server(page("p/a", "p/b"), page("p/c"))
    (first, second) = list_pages(server, "src", "p/")  # type: ignore[arg-type]
    assert (first.is_last, second.is_last) == (False, True)
    pin = first.pins[0]
    assert (pin.bucket, pin.key, pin.size_bytes) == ("src", "p/a", 4)
    assert pin.etag == "8d777f385d3dfec8815d20f7496026dc"
    assert pin.last_modified == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "pages",
    [
        [page("p/a", "p/a", "p/b")],
        [page("p/a"), page("p/a", "p/b")],
        [page("p/a", "p/b"), page("p/b")],
        [page(), page("p/a", "p/b"), page()],
        [page("p/b", "p/a")],
        [page("p/b", "p/a", "p/b")],
        [page("p/b"), page("p/a")],
    ],
    ids=["same-page", "border", "last", "empty", "reverse", "reverse-repeat", "reverse-pages"],
)
def test_an_identical_repeat_and_any_order_are_one_list(pages: list[ListedPage]) -> None:
    assert sorted(keys(Server(*pages))) == ["p/a", "p/b"]


def test_order_is_that_of_utf8_bytes() -> None:
    rising = ["p/a", "p/\x7f", "p/\x80", "p/\uffff", "p/\U0001f600"]
    assert [key.encode() for key in rising] == sorted(key.encode() for key in rising)
    (only,) = list_pages(Server(page(*rising)), "src", "p/")  # type: ignore[arg-type]
    assert only.is_ordered


@pytest.mark.parametrize("size", [None, "0"])
def test_a_directory_placeholder_needs_nothing_but_its_key(size: str | None) -> None:
    marker = ListedObject(key="p/dir/", size=size, etag=None, last_modified=None)
    (only,) = list_pages(Server(page(marker, "p/f")), "src", "p/")  # type: ignore[arg-type]
    assert [(pin.key, pin.size_bytes) for pin in only.pins] == [("p/dir/", 0), ("p/f", 4)]


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00Z", "2026-01-01T02:00:00.000+02:00", "2026-01-01T00:00:00.000000000Z"],
)
def test_times_of_other_servers_are_read(text: str) -> None:
    (only,) = list_pages(Server(page(entry("p/a", last_modified=text))), "src", "p/")  # type: ignore[arg-type]
    assert only.pins[0].last_modified == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_page_that_does_not_repeat_the_request_is_still_held_to_the_prefix() -> None:
    assert keys(Server(page("p/a", bucket=None, prefix=None))) == ["p/a"]
    error = refused(Server(page("q/a", bucket=None, prefix=None)))
    assert error.code == "E_S3_LIST_FOREIGN"


def test_an_alias_of_an_access_point_may_list_under_another_name() -> None:
    server = Server(page("p/a", bucket="real"))
    (only,) = list_pages(server, "mine-abc-s3alias", "p/")  # type: ignore[arg-type]
    assert only.pins[0].bucket == "mine-abc-s3alias"


# ---------------------------------------------------------------- what is refused


def cut(one: ListedPage) -> ListedPage:
    return replace(one, is_truncated=True, next_token="t1")


@pytest.mark.parametrize(
    ("pages", "code", "words"),
    [
        ([page("p/a", flaw="it is <html>")], "E_S3_LIST_PAGE", "it is <html>"),
        ([page("p/a", bucket="other")], "E_S3_LIST_PAGE", "bucket 'other'"),
        ([page("p/a", prefix="q/")], "E_S3_LIST_PAGE", "prefix 'q/'"),
        ([page("p/a", prefix="")], "E_S3_LIST_PAGE", "prefix ''"),
        ([page("p/a", token="t9")], "E_S3_LIST_PAGE", "another position"),
        ([page("p/a", key_count="2")], "E_S3_LIST_PAGE", "declares '2' keys"),
        ([page(key_count="1")], "E_S3_LIST_PAGE", "has 0"),
        ([page("p/a", is_truncated=None)], "E_S3_LIST_PAGE", "IsTruncated"),
        ([page("p/a", is_truncated=True)], "E_S3_LIST_PAGE", "does not name the next"),
        ([page("p/a", next_token="t1")], "E_S3_LIST_PAGE", "names a page after it"),
        ([page("p/a", is_truncated=True, next_token="t" * 99_999)], "E_S3_LIST_PAGE", "99,999"),
        ([page(*(f"p/{n:04}" for n in range(1001)))], "E_S3_LIST_PAGE", "1,001 objects"),
        ([page("p/a", "q/secret")], "E_S3_LIST_FOREIGN", "'q/secret'"),
        ([page("p/a", "p")], "E_S3_LIST_FOREIGN", "'p'"),
        ([page("p/a", entry("p/a", etag='"x"'))], "E_S3_LIST_TWICE", "'p/a'"),
        ([page("p/a"), page(entry("p/a", size="5"))], "E_S3_LIST_TWICE", "'p/a'"),
        ([page("p/a", "p/b"), page("p/a", "p/b")], "E_S3_LIST_TWICE", "'p/a'"),
        ([page("p/b", "p/a"), page("p/c", "p/b")], "E_S3_LIST_TWICE", "'p/b'"),
        ([page(entry("p/a", etag=None))], "E_S3_LIST_ENTRY", "'p/a' has no ETag"),
        ([page(entry("p/a", etag='""'))], "E_S3_LIST_ENTRY", "ETag"),
        ([page(entry("p/a", etag="a\r\nX: b"))], "E_S3_LIST_ENTRY", "ETag"),
        ([page(entry("p/a", size=None))], "E_S3_LIST_ENTRY", "has no Size"),
        ([page(entry("p/a", size=""))], "E_S3_LIST_ENTRY", "Size ''"),
        ([page(entry("p/a", size="-1"))], "E_S3_LIST_ENTRY", "Size '-1'"),
        ([page(entry("p/a", size="4.0"))], "E_S3_LIST_ENTRY", "Size '4.0'"),
        ([page(entry("p/a", size="٤"))], "E_S3_LIST_ENTRY", "Size"),
        ([page(entry("p/a", size=str(2**63)))], "E_S3_LIST_ENTRY", "Size"),
        ([page(entry("p/a", size=str(50 * 2**40 + 1)))], "E_S3_LIST_ENTRY", "Size"),
        ([page(entry("p/a", size="9" * 9999))], "E_S3_LIST_ENTRY", "Size"),
        ([page(entry("p/a", last_modified=None))], "E_S3_LIST_ENTRY", "has no LastModified"),
        ([page(entry("p/a", last_modified="soon"))], "E_S3_LIST_ENTRY", "'soon'"),
        (
            [page(entry("p/a", last_modified="0001-01-01T00:00:00+09:00"))],
            "E_S3_LIST_ENTRY",
            "LastModified",
        ),
        ([page(entry("p/a", flaw="does not decode"))], "E_S3_LIST_ENTRY", "does not decode"),
        ([page(entry("p/dir/", size="x"))], "E_S3_LIST_ENTRY", "Size"),
    ],
)
def test_anything_else_is_refused_by_server_page_and_key(
    pages: list[ListedPage], code: str, words: str
) -> None:
    error = refused(Server(*pages, is_chained=len(pages) > 1))
    assert error.code == code
    assert words in error.message
    assert f"page {len(pages)} from {SERVER}" in error.message
    assert "s3://src/p/" in error.message
    kind = PermanentError if code == "E_S3_LIST_ENTRY" else TransientError
    assert type(error) is kind


def test_largest_object_of_s3_is_accepted() -> None:
    assert keys(Server(page(entry("p/a", size=str(50 * 2**40))))) == ["p/a"]


@pytest.mark.parametrize(
    "pages",
    [
        [cut(page())],
        [cut(page("p/a"))],
        [cut(page("p/a")), replace(cut(page()), next_token="t2"), cut(page())],
    ],
    ids=["empty", "repeat", "circle"],
)
def test_tokens_that_lead_nowhere_end(pages: list[ListedPage]) -> None:
    server = Server(*pages, is_chained=False)
    assert refused(server).code == "E_S3_LIST_PAGE"
    assert server.requests <= 3


def test_long_tokens_of_empty_pages_are_not_kept() -> None:
    found = _Listing(bucket="src", prefix="p/")
    for number in range(100):
        token = f"{number:05}" + "x" * 16_000
        found.check(replace(page(), is_truncated=True, next_token=token), None)
    assert len(found.tokens) == 100
    assert sum(sys.getsizeof(one) for one in found.tokens) < 16_000


class Endless:
    """A new page with a new token for ever."""

    def __init__(self, make: Callable[[int], Iterable[str]]) -> None:
        self.make = make
        self.requests = 0

    def list_page(self, *_: object, **__: object) -> ListedPage:
        self.requests += 1
        made = page(*self.make(self.requests))
        return replace(made, is_truncated=True, next_token=f"t{self.requests}")


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (lambda _: (), "PAGES_WITHOUT_KEYS_MAX", 50),
        (lambda n: (f"p/{n:09}",), "OBJECTS_MAX", 50),
        (lambda n: (f"p/{999_999 - n:09}",), "UNORDERED_MAX", 50),
    ],
    ids=["empty", "rising", "falling"],
)
def test_endless_pages_end_for_good(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[int], Iterable[str]], name: str, value: int
) -> None:
    monkeypatch.setattr(listing, name, value)
    server = Endless(make)
    with pytest.raises(PermanentError) as caught:
        keys(server)  # type: ignore[arg-type]
    assert caught.value.code == "E_S3_LIST_ENDLESS"
    assert server.requests <= value + 2


def test_order_is_relied_upon_once_it_held_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ORDER_RELIED_AFTER", 3)
    rising = [page("p/b", "p/c"), page("p/d", "p/e"), page("p/f")]
    assert len(keys(Server(*rising))) == 5
    # A key that was never listed, yet out of its place: nothing is remembered to check it by.
    error = refused(Server(*rising, page("p/a")))
    assert error.code == "E_S3_LIST_TWICE"


# ---------------------------------------------------------------- object or prefix


def find(server: Server, key: str) -> tuple[str | None, bool]:
    found, last = find_object(server, "src", key)  # type: ignore[arg-type]
    return (found.key if found else None, last.is_last)


def test_an_object_is_found_behind_empty_pages() -> None:
    server = Server(page(prefix="p"), page("p", "p-1", prefix="p"))
    assert find(server, "p") == ("p", True)


def test_an_object_is_found_wherever_a_server_without_order_lists_it() -> None:
    server = Server(page("p/b", "p/a", prefix="p"), page("p", prefix="p"))
    assert find(server, "p") == ("p", True)


@pytest.mark.parametrize("first", [("p/b",), ("p/a", "p/b")])
def test_a_page_that_rises_by_chance_does_not_end_the_search(first: tuple[str, ...]) -> None:
    server = Server(page(*first, prefix="p"), page("p", prefix="p"), page("p/c", prefix="p"))
    assert find(server, "p") == ("p", False)
    assert find(Server(page(*first, prefix="p"), page("p/c", prefix="p")), "p") == (None, True)


def test_an_order_that_is_relied_upon_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ORDER_RELIED_AFTER", 3)
    pages = [page(f"p-{2 * i}", f"p-{2 * i + 1}", prefix="p") for i in range(4)]
    server = Server(*pages)
    assert find(server, "p") == (None, False)
    assert server.requests == 2


def test_a_prefix_that_begins_with_empty_pages_has_objects() -> None:
    assert has_object(Server(page(), page("p/a")), "src", "p/")  # type: ignore[arg-type]
    assert not has_object(Server(page(), page()), "src", "p/")  # type: ignore[arg-type]


# ---------------------------------------------------------------- as the server wrote them


def listed(server: Server, **chosen: str) -> list[str]:
    pages = list_objects(server, "src", "p/", **chosen)  # type: ignore[arg-type]
    return [one.key for page in pages for one in page]


def test_objects_come_as_the_server_wrote_them() -> None:
    server = Server(page("p/", "p/a"), page("p/b"))
    assert listed(server) == ["p/", "p/a", "p/b"]


def test_objects_out_of_order_are_refused_at_once() -> None:
    with pytest.raises(TransientError, match="behind its place") as caught:
        listed(Server(page("p/b", "p/a")))
    assert caught.value.code == "E_S3_LIST_ORDER"


def test_a_key_that_is_not_behind_the_one_named_is_refused() -> None:
    assert listed(Server(page("p/c")), start_after="p/b") == ["p/c"]
    with pytest.raises(TransientError):
        listed(Server(page("p/a")), start_after="p/b")


def test_an_object_without_an_etag_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        listed(Server(page(replace(entry("p/a"), etag=None))))
    assert caught.value.code == "E_S3_LIST_ENTRY"
