"""Deleting a tree of a mounted file system relative to descriptors.

`shutil.rmtree` needs a descriptor and a stack frame for each level, and deletes through mounts.
Here a tree of any depth takes at most `MAX_DEPTH` descriptors, no link is followed whatever is
swapped meanwhile, and a file system that is mounted inside is not touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid

from backhaul.adapters.local.walk import LIST

MAX_DEPTH = 64  # levels that are open at a time
MAX_PASSES = 3  # over a directory that another process fills meanwhile


def remove_entry(parent: int, name: str) -> None:
    """Delete a file, a link itself, or a directory with all below it.

    Args:
        parent: The open directory that has the entry.

    Raises:
        OSError: FileNotFoundError where there is none; EXDEV at a mount; ENOTEMPTY where new
            entries appear faster than they are deleted.
    """
    passes = 0
    while True:
        try:
            top = os.open(name, LIST, dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            os.unlink(name, dir_fd=parent)
            return
        try:
            removal = _Removal(top, os.fstat(parent).st_dev)
            removal.empty(top, 1)
        finally:
            os.close(top)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            passes += not removal.lifted
            if passes == MAX_PASSES:
                raise
        else:
            return


class _Removal:
    """One pass over one tree.

    Attributes:
        lifted: Directories that were too deep and were moved to the top, for the next pass.
    """

    def __init__(self, top: int, device: int) -> None:
        self._top = top
        self._device = device
        self.lifted = 0

    def empty(self, directory: int, depth: int) -> None:
        if os.fstat(directory).st_dev != self._device:
            raise OSError(errno.EXDEV, "another file system is mounted inside")
        with os.scandir(directory) as found:
            entries = [(one.name, one.is_dir(follow_symlinks=False)) for one in found]
        for name, is_directory in entries:
            # Another process may have deleted the entry meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if is_directory:
                    self._remove_directory(directory, name, depth)
                else:
                    os.unlink(name, dir_fd=directory)

    def _remove_directory(self, above: int, name: str, depth: int) -> None:
        if depth == MAX_DEPTH:
            fresh = uuid.uuid4().hex
            os.rename(name, fresh, src_dir_fd=above, dst_dir_fd=self._top)
            self.lifted += 1
            return
        try:
            directory = os.open(name, LIST, dir_fd=above)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            os.unlink(name, dir_fd=above)  # swapped since it was listed: the link itself goes
            return
        try:
            self.empty(directory, depth + 1)
        finally:
            os.close(directory)
        try:
            os.rmdir(name, dir_fd=above)
        except OSError as error:
            # The next pass finds what appeared in it meanwhile.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
