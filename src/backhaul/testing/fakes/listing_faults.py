"""Faults of a listing: each function here turns a page of `FakeStore` into a wrong one."""

from __future__ import annotations

from dataclasses import replace

from backhaul.core.ports import ListedObject, ListedPage

FOREIGN_KEY = "elsewhere/secret"


def with_foreign_key(page: ListedPage) -> ListedPage:
    """One more object, whose key is outside every prefix that is ever requested."""
    if not page.objects:
        return page
    return _with(page, (replace(page.objects[0], key=FOREIGN_KEY, version_id=None), *page.objects))


def with_repeats(page: ListedPage) -> ListedPage:
    """Every object twice, the same both times; correct all the same."""
    return _with(page, tuple(one for one in page.objects for _ in range(2)))


def with_two_states(page: ListedPage) -> ListedPage:
    """The first object twice, in two states."""
    if not page.objects:
        return page
    return _with(page, (replace(page.objects[0], etag='"another"'), *page.objects))


def without_its_tail(page: ListedPage) -> ListedPage:
    """The last object is missing; the number of keys is still the true one."""
    return replace(page, objects=page.objects[:-1])


def cut_short(page: ListedPage) -> ListedPage:
    """The last object is missing, and so is the way to it."""
    return replace(_with(page, page.objects[:-1]), is_truncated=bool(page.objects), next_token="")


def _with(page: ListedPage, objects: tuple[ListedObject, ...]) -> ListedPage:
    return replace(page, objects=objects, key_count=str(len(objects)))


LISTING_FAULTS = (with_foreign_key, with_repeats, with_two_states, without_its_tail, cut_short)
