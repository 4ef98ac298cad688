"""What a mounted directory gives to what is made in it: its group, by the setgid bit, and ACLs.

Source: inode(7) for set-group-ID directories, acl(5) for default ACLs.
"""

from __future__ import annotations

import errno
import os
import stat

from backhaul.core.ports import Inherited

_DEFAULT_ACL = "system.posix_acl_default"
_NONE = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.ENOENT})


def inherited_from(directory: int) -> Inherited:
    """Of an open directory; O_PATH is enough.

    Raises:
        OSError: As the system raises it.
    """
    found = os.fstat(directory)
    group = str(found.st_gid) if found.st_mode & stat.S_ISGID else ""
    try:
        acl = os.getxattr(f"/proc/self/fd/{directory}", _DEFAULT_ACL).hex()
    except OSError as error:
        if error.errno not in _NONE:
            raise
        acl = ""
    return Inherited(group=group, acl=(acl,) if acl else ())
