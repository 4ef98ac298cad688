"""Listings of S3, each page checked against the request; all of Backhaul's listings are made here.

A plan needs a complete and consistent list. So each page must be the page that was requested
(bucket, prefix, position), every key must begin with the prefix and come once, and the list must
end exactly where the server declares its end. An object that the server silently omits cannot be
noticed; a contradiction is refused here, before it reaches a plan.

Order: S3 lists keys in UTF-8 byte order, which is the order of Python's `str`. Directory buckets
and some other servers do not, so order is not required; that no key comes twice is.

* While keys ascend, this check costs no memory. After 10,000 ascending keys the order is relied
  upon, and a page that falls back is refused: it is an earlier page, or a token was ignored.
* The keys of a listing that is out of order within its first 10,000 keys are remembered as 64-bit
  hashes: at most 1,000,000 keys, some 100 MB. A longer unordered one is refused.

Source: Amazon S3 API reference, ListObjectsV2; user guide, "Listing objects in a directory bucket".
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backhaul.core.errors import PermanentError, TransientError
from backhaul.core.objects import Pin
from backhaul.core.ports import ListedObject, ListedPage, ListPage, ObjectStore
from backhaul.core.text import printable

PAGE_SIZE = 1000  # S3's own maximum
SIZE_MAX_BYTES = 50 << 40  # the largest object of S3
TOKEN_MAX = 16 * 1024  # characters; it travels in the URL
PAGES_WITHOUT_KEYS_MAX = 10_000  # S3 may return empty pages between deleted keys
ORDER_RELIED_AFTER = 10_000  # keys
UNORDERED_MAX = 1_000_000  # keys
OBJECTS_MAX = 100_000_000  # of one listing

_SIZE = re.compile(r"[0-9]{1,19}")
# Goes into the header If-Match as it is.
_ETAG = re.compile(r"[\x21\x23-\x7e]{1,1024}")
# Endings that AWS reserves for names of access points: the page names the bucket behind them.
_ALIASES = ("-s3alias", "--ol-s3", ".mrap", "--xa-s3")


def list_pages(
    store: ObjectStore,
    bucket: str,
    prefix: str,
    *,
    page_size: int = PAGE_SIZE,
    owner: str | None = None,
) -> Iterator[ListPage]:
    """All objects whose key begins with `prefix`, page by page; at least one page.

    Args:
        page_size: 1 to 1000.
        owner: Account that must own the bucket; None: not checked.

    Raises:
        TransientError: E_S3_LIST_PAGE (not the page that was requested), E_S3_LIST_FOREIGN (a key
            outside the prefix), E_S3_LIST_TWICE (a key again that cannot be the same entry).
        PermanentError: E_S3_LIST_ENTRY (an object without size, ETag or time), E_S3_LIST_ENDLESS.
        BackhaulError: As `ObjectStore.list_page`.
    """
    listing = _Listing(bucket=bucket, prefix=prefix)
    token: str | None = None
    while True:
        page = store.list_page(bucket, prefix, token=token, page_size=page_size, owner=owner)
        checked = listing.check(page, token)
        yield checked
        if checked.is_last:
            return
        token = page.next_token


def list_objects(
    store: ObjectStore,
    bucket: str,
    prefix: str,
    *,
    start_after: str = "",
    page_size: int = PAGE_SIZE,
    owner: str | None = None,
) -> Generator[list[ListedObject], None, None]:
    """The same objects in the order of their keys, as the server wrote them, page by page.

    Args:
        start_after: Only keys behind this one; empty: all.

    Raises:
        TransientError: E_S3_LIST_ORDER: keys fall back; and as `list_pages`.
        BackhaulError: As `list_pages`.
    """
    listing = _Listing(bucket=bucket, prefix=prefix, is_ordered=True)
    if start_after:
        listing.last = ListedObject(key=start_after, size=None, etag=None, last_modified=None)
    token: str | None = None
    while True:
        page = store.list_page(
            bucket, prefix, token=token, page_size=page_size, owner=owner, start_after=start_after
        )
        yield listing.checked_objects(page, token)
        if not page.is_truncated:
            return
        token = page.next_token


def etag_of(text: str) -> str:
    """An ETag without quotes and weakness; empty where a request cannot carry it."""
    etag = text.removeprefix("W/").strip('"')
    return etag if _ETAG.fullmatch(etag) else ""


def find_object(
    store: ObjectStore, bucket: str, key: str, *, owner: str | None = None
) -> tuple[Pin | None, ListPage]:
    """The object of exactly this key, and the page on which the search ended.

    In an ordered listing it is the first of all keys that begin with it. In an unordered one it may
    come last, and a few pages may ascend by chance.
    """
    page, seen = ListPage(pins=()), 0
    for page in list_pages(store, bucket, key, owner=owner):
        found = next((pin for pin in page.pins if pin.key == key), None)
        seen += len(page.pins)
        if found is not None or (page.is_ordered and seen > ORDER_RELIED_AFTER):
            return found, page
    return None, page


def current_object(
    store: ObjectStore, bucket: str, key: str, *, owner: str | None = None
) -> Pin | None:
    """The object of exactly this key as it is now; None: it is not there.

    One request where S3 shows the object, and that costs a twelfth of a listing; whatever else it
    answers, a listing decides.

    Raises:
        BackhaulError: As `find_object`.
    """
    found = store.current(bucket, key, owner=owner)
    return found or find_object(store, bucket, key, owner=owner)[0]


def has_object(store: ObjectStore, bucket: str, prefix: str, *, owner: str | None = None) -> bool:
    """True when at least one key begins with `prefix`."""
    return any(page.pins for page in list_pages(store, bucket, prefix, page_size=1, owner=owner))


@dataclass(kw_only=True)
class _Listing:
    """One listing so far.

    Attributes:
        last: The last entry of the pages so far.
        earlier: Hashes of the keys of earlier pages; None once the order is relied upon.
        tokens: Hashes of the tokens since the last new key: one token may have 16 KiB.
        is_ordered: Keys must rise from the first one on.
    """

    bucket: str
    prefix: str
    is_ordered: bool = False
    pages: int = 0
    objects: int = 0
    is_rising: bool = True
    last: ListedObject | None = None
    earlier: set[int] | None = field(default_factory=set)
    tokens: set[int] = field(default_factory=set)
    server: str = ""

    def check(self, page: ListedPage, token: str | None) -> ListPage:
        """The page as pins; raises as `list_pages`."""
        fresh = self._check(page, token)
        return ListPage(
            pins=tuple(self._pin(one) for one in fresh),
            is_last=not page.is_truncated,
            is_ordered=self.is_rising,
        )

    def checked_objects(self, page: ListedPage, token: str | None) -> list[ListedObject]:
        """The page's entries; raises as `list_objects`."""
        fresh = self._check(page, token)
        for one in fresh:
            if not (one.size and one.size.isdigit() and one.etag and one.last_modified):
                self._pin(one)  # refuses it, unless it is a placeholder
        return fresh

    def _check(self, page: ListedPage, token: str | None) -> list[ListedObject]:
        self.pages += 1
        self.server = page.server
        self._check_envelope(page, token)
        fresh = self._fresh(page.objects)
        self._check_end(page, token, has_fresh=bool(fresh))
        return fresh

    # ------------------------------------------------------------ the page as a whole

    def _check_envelope(self, page: ListedPage, token: str | None) -> None:
        if page.flaw:
            raise self._bad_page(page.flaw)
        if page.bucket not in {None, self.bucket} and not self.bucket.endswith(_ALIASES):
            raise self._bad_page(f"it lists bucket {_shown(page.bucket)}")
        if page.prefix not in {None, self.prefix}:
            raise self._bad_page(f"it lists prefix {_shown(page.prefix)}")
        if page.token not in {None, token}:
            raise self._bad_page("it continues from another position than the one requested")
        if len(page.objects) > PAGE_SIZE:
            raise self._bad_page(f"it has {len(page.objects):,} objects, more than {PAGE_SIZE:,}")
        if page.key_count not in {None, str(len(page.objects))}:
            count = _shown(page.key_count)
            raise self._bad_page(f"it declares {count} keys and has {len(page.objects)}")

    def _check_end(self, page: ListedPage, token: str | None, *, has_fresh: bool) -> None:
        following = page.next_token
        if page.is_truncated is None:
            raise self._bad_page("it does not declare whether it is the last (IsTruncated)")
        if not page.is_truncated:
            if following:
                raise self._bad_page("it declares itself the last, and names a page after it")
            return
        if not following:
            raise self._bad_page("it is cut, and does not name the next page")
        if len(following) > TOKEN_MAX:
            raise self._bad_page(f"its token has {len(following):,} characters")
        if has_fresh:
            self.tokens.clear()
        if hash(following) in self.tokens or following == token:
            raise self._bad_page("it names a page that was read already as the next one")
        self.tokens.add(hash(following))
        if len(self.tokens) > PAGES_WITHOUT_KEYS_MAX:
            raise self._endless(f"{PAGES_WITHOUT_KEYS_MAX:,} pages in a row without a new key")

    # ------------------------------------------------------------ keys

    def _fresh(self, entries: tuple[ListedObject, ...]) -> list[ListedObject]:
        """The entries without identical repeats; order and uniqueness are checked."""
        here: dict[str, ListedObject] = {}
        border = self.last
        for one in entries:
            if one.flaw:
                raise self._bad_entry(one, one.flaw)
            key = one.key
            if not key.startswith(self.prefix):
                raise TransientError(
                    "E_S3_LIST_FOREIGN",
                    f"{self._where}: key {_shown(key)} is outside the prefix",
                    hint=_HINT_SERVER,
                )
            known = here.get(key)
            if known is None and border is not None and border.key == key:
                known = border
            if known is not None:
                if (known.size, known.etag) != (one.size, one.etag):
                    raise self._twice(key, "with another size or ETag")
                continue
            self._place(key)
            here[key] = self.last = one
        self._remember(here)
        return list(here.values())

    def _place(self, key: str) -> None:
        """Keep track of the order; without it, look the key up among those of earlier pages."""
        if self.is_rising and (self.last is None or self.last.key < key):
            return
        self.is_rising = False
        if self.is_ordered:
            raise TransientError(
                "E_S3_LIST_ORDER",
                f"{self._where}: key {_shown(key)} is listed behind its place in the order",
                hint="what is compared with a listing must be in the order of its keys; directory"
                " buckets and some other servers do not list so",
            )
        if self.earlier is None:
            raise self._twice(key, "or for the first time far behind its place in the order")
        if hash(key) in self.earlier:
            raise self._twice(key, "after it was on an earlier page")

    def _remember(self, keys: dict[str, ListedObject]) -> None:
        self.objects += len(keys)
        if self.is_ordered:
            return  # no list is kept of it, so it may be longer
        if self.objects > OBJECTS_MAX:
            raise self._endless(f"more than {OBJECTS_MAX:,} objects")
        if self.earlier is None:
            return
        self.earlier.update(map(hash, keys))
        if self.is_rising and len(self.earlier) > ORDER_RELIED_AFTER:
            self.earlier = None
        elif len(self.earlier) > UNORDERED_MAX:
            raise self._endless(f"more than {UNORDERED_MAX:,} objects in no order")

    # ------------------------------------------------------------ one object

    def _pin(self, one: ListedObject) -> Pin:
        if one.key.endswith("/") and one.size in {None, "0"}:
            # A directory placeholder is never read, so its other attributes do not matter.
            epoch = datetime.fromtimestamp(0, UTC)
            return Pin(bucket=self.bucket, key=one.key, size_bytes=0, etag="", last_modified=epoch)
        etag = etag_of(one.etag or "")
        if not etag:
            raise self._bad_entry(one, _flaw("ETag", one.etag))
        if not _SIZE.fullmatch(one.size or "") or int(one.size or 0) > SIZE_MAX_BYTES:
            raise self._bad_entry(one, _flaw("Size", one.size))
        modified = _time(one.last_modified)
        if modified is None:
            raise self._bad_entry(one, _flaw("LastModified", one.last_modified))
        return Pin(
            bucket=self.bucket,
            key=one.key,
            size_bytes=int(one.size or 0),
            etag=etag,
            last_modified=modified,
            version_id=one.version_id,
        )

    # ------------------------------------------------------------ refusals

    @property
    def _where(self) -> str:
        return (
            f"listing of s3://{self.bucket}/{printable(self.prefix)}: "
            f"page {self.pages} from {self.server}"
        )

    def _bad_page(self, flaw: str) -> TransientError:
        return TransientError("E_S3_LIST_PAGE", f"{self._where}: {flaw}", hint=_HINT_SERVER)

    def _bad_entry(self, one: ListedObject, flaw: str) -> PermanentError:
        return PermanentError(
            "E_S3_LIST_ENTRY",
            f"{self._where}: key {_shown(one.key)} {flaw}",
            hint="Backhaul reads only what it can pin by size, ETag and time; check the S3 server",
        )

    def _twice(self, key: str, how: str) -> TransientError:
        return TransientError(
            "E_S3_LIST_TWICE",
            f"{self._where}: key {_shown(key)} is listed again, {how}",
            hint=_HINT_SERVER,
        )

    def _endless(self, what: str) -> PermanentError:
        return PermanentError(
            "E_S3_LIST_ENDLESS", f"{self._where}: {what}", hint="send smaller prefixes"
        )


_HINT_SERVER = "check the S3 server and every proxy or cache before it; nothing was published"


def _shown(text: str | None) -> str:
    return repr(printable(text or "", 120))


def _flaw(name: str, value: str | None) -> str:
    return f"has no {name}" if value is None else f"has the {name} {_shown(value)}"


def _time(text: str | None) -> datetime | None:
    """From ISO 8601, as S3 writes it; UTC where it has no zone. None where it is not a time."""
    try:
        found = datetime.fromisoformat((text or "").strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
