"""Some objects of one prefix, as a store that lists no others.

What is planned from it is exactly these objects, in the state in which they were chosen: by the
checks, the pins and the frozen plan of any other transfer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from backhaul.core.objects import Pin
from backhaul.core.ports import ListedObject, ListedPage, ObjectStore, OtherListing


class ChosenObjects(OtherListing):
    """Implements `core.ports.ObjectStore`.

    Args:
        store: S3, for all but the listing.
        pins: In the order of their keys, of one bucket.
    """

    def __init__(self, store: ObjectStore, pins: Sequence[Pin]) -> None:
        super().__init__(store)
        self._pins = pins
        self._keys = [pin.key for pin in pins]

    def list_page(
        self,
        bucket: str,
        prefix: str,
        *,
        token: str | None = None,
        page_size: int = 1000,
        owner: str | None = None,
        start_after: str = "",
    ) -> ListedPage:
        """See the port; `token` is the last key of the page before."""
        del owner  # they were listed for it before
        first = bisect_right(self._keys, token or start_after)
        found = [pin for pin in self._pins[first:] if _is_wanted(pin, bucket, prefix)]
        page, rest = found[:page_size], found[page_size:]
        return ListedPage(
            server="the objects that were chosen",
            objects=tuple(
                ListedObject(
                    key=pin.key,
                    size=str(pin.size_bytes),
                    etag=pin.etag,
                    last_modified=pin.last_modified.isoformat(),
                    version_id=pin.version_id,
                )
                for pin in page
            ),
            bucket=bucket,
            prefix=prefix,
            token=token,
            is_truncated=bool(rest),
            next_token=page[-1].key if rest else "",
        )


def _is_wanted(pin: Pin, bucket: str, prefix: str) -> bool:
    return pin.bucket == bucket and pin.key.startswith(prefix)
