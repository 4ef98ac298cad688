"""A report in place of a bucket's listing: implements `core.ports.ObjectStore`.

A page is made as S3 makes one, so the core checks it like any other (`core.transfer.listing`).
Everything but the listing is the real store's: where an object is read, and its versions.
"""

from __future__ import annotations

from backhaul.adapters.inventory.sorted_objects import SortedObjects
from backhaul.core.errors import BadArgument
from backhaul.core.inventory.manifest import InventoryManifest
from backhaul.core.ports import ListedObject, ListedPage, ObjectStore, OtherListing


class InventoryStore(OtherListing):
    """Lists one prefix of one bucket, or what is below it.

    Args:
        prefix: With which the keys of `objects` begin.
        store: S3.
    """

    def __init__(
        self,
        objects: SortedObjects,
        manifest: InventoryManifest,
        prefix: str,
        store: ObjectStore,
    ) -> None:
        super().__init__(store)
        self._objects = objects
        self._manifest = manifest
        self._prefix = prefix

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
        """See the port; `token` is the last key of the page before.

        Raises:
            BadArgument: E_INVENTORY_BUCKET: nothing is known of that bucket, or of that prefix.
        """
        del owner  # who may read the report has it all
        if bucket != self._manifest.bucket or not prefix.startswith(self._prefix):
            raise BadArgument(
                "E_INVENTORY_BUCKET",
                f"s3://{bucket}/{prefix} is not in the inventory that was read,"
                f" of s3://{self._manifest.bucket}/{self._prefix}",
                hint="reconcile a route with several sources without --inventory",
            )
        found = self._objects.page(prefix, token or start_after, page_size + 1)
        rows = [row for row in found if row[0].startswith(prefix)]
        is_truncated = len(rows) > page_size
        rows = rows[:page_size]
        return ListedPage(
            server=f"the inventory of {self._manifest.taken_at:%Y-%m-%d %H:%M} UTC",
            objects=tuple(
                ListedObject(
                    key=key,
                    size=size or None,
                    etag=etag or None,
                    last_modified=modified or None,
                    storage_class=storage_class,
                )
                for key, size, etag, modified, storage_class in rows
            ),
            bucket=bucket,
            prefix=prefix,
            token=token,
            is_truncated=is_truncated,
            next_token=rows[-1][0] if is_truncated else "",
        )
