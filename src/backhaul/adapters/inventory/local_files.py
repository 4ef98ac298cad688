"""A report in a directory of this machine, as `aws s3 sync` brings it there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from backhaul.core.errors import BadArgument
from backhaul.core.inventory.manifest import ByteStream

CHECKSUM_NAME = "manifest.checksum"
_HINT = "copy the whole report: manifest.json, manifest.checksum and its directory data/"


class LocalInventoryFiles:
    """Implements `core.inventory.manifest.InventoryFiles`.

    A data file's key begins with prefixes of the bucket that need not be there in the copy. It is
    looked for below each directory above the manifest, then by its name alone.

    Args:
        path: Of the manifest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        self.received_bytes = 0

    def manifest(self) -> AbstractContextManager[ByteStream]:
        """See the port."""
        return _opened(self._path)

    def checksum(self) -> AbstractContextManager[ByteStream]:
        """See the port."""
        return _opened(self._path.with_name(CHECKSUM_NAME))

    def data(self, key: str) -> AbstractContextManager[ByteStream]:
        """See the port."""
        return _opened(self._find(key))

    def _find(self, key: str) -> Path:
        here = self._path.absolute().parent
        name = key.rsplit("/", 1)[-1]
        places = [above / key for above in (here, *here.parents)]
        places += [here.parent / "data" / name, here / "data" / name, here / name]
        for place in places:
            if os.path.lexists(place):
                return place
        raise _refused(f"data file {name} is not there, beside {self._path}")


@contextmanager
def _opened(path: Path) -> Iterator[ByteStream]:
    """A regular file for reading; a link could lead anywhere, and a FIFO would wait for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refused(f"{path} is no file")
            yield file
    except OSError as exc:
        why = "is a symbolic link" if path.is_symlink() else f"cannot be read: {exc.strerror}"
        raise _refused(f"{path} {why}") from exc


def _refused(message: str) -> BadArgument:
    return BadArgument("E_INVENTORY_FILE", message, hint=_HINT)
