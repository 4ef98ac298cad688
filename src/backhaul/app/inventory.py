"""`--inventory`: a report of S3 Inventory, opened in place of a bucket's listing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.core.errors import BackhaulError, BadArgument
from backhaul.core.inventory.manifest import InventoryFiles, load_manifest
from backhaul.core.ports import ObjectStore
from backhaul.core.text import printable

if TYPE_CHECKING:
    from backhaul.adapters.aws.clients import AwsSession

OLD_AFTER = timedelta(days=8)  # S3 makes one daily or weekly
_S3 = re.compile(r"s3a?://([^/]+)/(.+)", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, kw_only=True)
class OpenInventory:
    """A report that was read.

    Attributes:
        store: Lists what the report has.
        taken_at: Of what changed since, the report knows nothing.
        received_bytes: Read from S3 for it.
        is_old: It was taken so long ago that a newer one should be there.
    """

    name: str
    store: ObjectStore
    taken_at: datetime
    objects: int
    received_bytes: int
    is_old: bool

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name} of {self.taken_at:%Y-%m-%d %H:%M} UTC"

    @property
    def warning(self) -> BackhaulError:
        """What is to be known of an old one."""
        return BackhaulError(
            "W_INVENTORY_OLD",
            f"{self.text} is over {OLD_AFTER.days} days old: it knows nothing of what came since",
        )


@contextmanager
def open_inventory(
    where: str,
    aws: AwsSession,
    store: ObjectStore,
    *,
    sources: Sequence[tuple[str, str]],
    now: datetime,
) -> Iterator[OpenInventory]:
    """Read the report and sort it on disk, for the block.

    Args:
        where: Path or `s3://` address of its manifest.
        store: S3, for all but the listing.
        sources: Bucket and prefix of what is needed, all of one bucket; empty: anything.

    Raises:
        BadArgument: E_INVENTORY_*: the report cannot be used; the text has what is wrong with it.
        TransientError: E_INVENTORY_DENIED.
        BackhaulError: S3 does not answer.
    """
    # Imported late: no other command needs SQLite's sorter.
    from backhaul.adapters.inventory.reading import read_into
    from backhaul.adapters.inventory.sorted_objects import sorted_objects
    from backhaul.adapters.inventory.store import InventoryStore

    buckets = {bucket for bucket, _ in sources}
    if len(buckets) > 1:
        raise BadArgument(
            "E_INVENTORY_BUCKET",
            f"the route has sources in {len(buckets)} buckets, and an inventory is of one",
            hint="leave --inventory out, or make a route for each bucket",
        )
    files = _files(where, aws)
    manifest = load_manifest(files, min(buckets, default=None))
    prefix = os.path.commonprefix([prefix for _, prefix in sources])  # noqa: RUF071 - wanted
    if manifest.taken_at > now:
        raise BadArgument(
            "E_INVENTORY_MANIFEST",
            f"{files.name}: was taken at {manifest.taken_at:%Y-%m-%d %H:%M} UTC, which is to come",
            hint="check this machine's clock: NTP",
        )
    with sorted_objects() as objects:
        read_into(objects, files, manifest, prefix)
        if not objects.count:
            raise BadArgument(
                "E_INVENTORY_EMPTY",
                f"{files.name}: has no object below s3://{manifest.bucket}/{prefix}",
                hint="is the inventory of another prefix? leave --inventory out to list the bucket",
            )
        yield OpenInventory(
            name=files.name,
            store=InventoryStore(objects, manifest, prefix, store),
            taken_at=manifest.taken_at,
            objects=objects.count,
            received_bytes=files.received_bytes,
            is_old=now - manifest.taken_at > OLD_AFTER,
        )


def _files(where: str, aws: AwsSession) -> InventoryFiles:
    from backhaul.adapters.inventory.local_files import LocalInventoryFiles

    address = _S3.fullmatch(where)
    if address is not None:
        from backhaul.adapters.aws.inventory.s3_files import S3InventoryFiles

        return S3InventoryFiles(aws, address[1], address[2])
    if _SCHEME.match(where) or not where:
        raise BadArgument(
            "E_INVENTORY_URL",
            f"--inventory {printable(where, 80)!r} is neither a file nor s3://BUCKET/KEY",
            hint="name the manifest.json of a report: a path, or s3://BUCKET/.../manifest.json",
        )
    return LocalInventoryFiles(Path(where))
