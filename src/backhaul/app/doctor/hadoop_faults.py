"""What a target's error means, as the check that fails and the lines that repair it.

One table for HDFS and mounted file systems, by the error's code; what needs a closer look at
NameNodes, DataNodes or Kerberos is in the modules beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from shlex import quote

from backhaul.core.errors import BackhaulError

_QUOTA = re.compile(
    r"(?P<kind>NameSpace|DiskSpace|[Qq]uota by storage type).*? of (?:directory )?(?P<path>/\S*)"
    r"|directory: (?P<typed>/\S*)"
)
_NUMBERS = re.compile(r"(?:quota ?= ?|count ?= ?|consumed ?= ?)(\d+)")
_TYPE = re.compile(r"storage type ?: ?(\w+)")
_INODE = re.compile(r'user=(?P<user>[^,\s]+), access=(?P<access>\w+), inode="(?P<path>[^"]+)"')
LEAST_NAMES, LEAST_BYTES = 1_000_000, 1 << 40

Fixes = Callable[[BackhaulError, str], Iterator[str]]


def _hint(error: BackhaulError, _path: str) -> Iterator[str]:
    yield from error.hint.splitlines()


def _safe_mode(_error: BackhaulError, _path: str) -> Iterator[str]:
    yield "hdfs dfsadmin -safemode get"
    yield "hdfs dfsadmin -safemode leave    # as the superuser, once the reason is known"
    yield "hdfs dfsadmin -report            # missing blocks or dead DataNodes keep it there"


def _standby(_error: BackhaulError, _path: str) -> Iterator[str]:
    yield "hdfs haadmin -getAllServiceState    # which of them is active"
    yield "hdfs haadmin -transitionToActive NAMENODE_ID    # where automatic failover is off"
    yield "write hdfs://NAMESERVICE/dir in the route, and no single NameNode's host"


def _starting(_error: BackhaulError, _path: str) -> Iterator[str]:
    yield "wait until it has started: hdfs dfsadmin -safemode wait"


def _authority(error: BackhaulError, path: str) -> Iterator[str]:
    yield from _hint(error, path)
    yield "hdfs getconf -confKey dfs.nameservices    # on a node of the cluster: its name"


def _quota(error: BackhaulError, path: str) -> Iterator[str]:
    found = _QUOTA.search(error.message)
    where = (found["path"] or found["typed"]) if found is not None else path
    directory = quote(where.rstrip(":"))
    most = max((int(one) for one in _NUMBERS.findall(error.message)), default=0)
    yield f"hdfs dfs -count -q -h -v {directory}"
    if found is not None and found["kind"] == "NameSpace":
        names = max(2 * most, LEAST_NAMES)
        yield f"hdfs dfsadmin -setQuota {names} {directory}    # as the superuser"
        yield f"hdfs dfsadmin -clrQuota {directory}    # or none at all"
        return
    size = max(4 * most, LEAST_BYTES)
    typed = _TYPE.search(error.message)
    more = f" -storageType {typed[1]}" if typed else ""
    yield f"hdfs dfsadmin -setSpaceQuota {size}{more} {directory}    # as the superuser"
    yield f"hdfs dfsadmin -clrSpaceQuota{more} {directory}    # or none at all"


def _denied(error: BackhaulError, path: str) -> Iterator[str]:
    found = _INODE.search(error.message)
    if found is None:
        yield from _hint(error, path)
        return
    user, where = found["user"], quote(found["path"])
    if found["access"] == "EXECUTE":
        yield f"hdfs dfs -setfacl -m user:{user}:--x {where}    # as the superuser: to pass through"
        return
    if is_above(found["path"], path):  # never the whole of what is above, which may be `/`
        shown = quote(path)
        yield f"hdfs dfs -mkdir -p {shown} && hdfs dfs -chown {user} {shown}    # as the superuser"
        return
    yield f"hdfs dfs -chown {user} {where}    # as the superuser"
    yield f"hdfs dfs -setfacl -m user:{user}:rwx {where}    # or beside its owner"
    yield "another user is meant? HADOOP_USER_NAME, [kerberos] principal, or run_as of the route"


def _no_kms(_error: BackhaulError, _path: str) -> Iterator[str]:
    yield "core-site.xml of this node, as it is on a node of the cluster:"
    yield as_property("hadoop.security.key.provider.path", "kms://http@KMS_HOST:9600/kms")
    yield "hdfs getconf -confKey hadoop.security.key.provider.path    # there, for the value"


def _key(_error: BackhaulError, path: str) -> Iterator[str]:
    yield "hdfs crypto -listZones    # as the superuser: the zone's key"
    yield "kms-acls.xml of the key server:"
    yield as_property("key.acl.KEY.DECRYPT_EEK", "THE_AGENT'S_USER")
    yield f"hdfs crypto -getFileEncryptionInfo -path {quote(path)}/FILE    # which key it is"


def _kms(_error: BackhaulError, path: str) -> Iterator[str]:
    yield "hadoop key list -metadata    # does the key server answer?"
    yield "hdfs getconf -confKey hadoop.security.key.provider.path    # where it is expected"
    yield f"{quote(path)} is in an encryption zone: nothing is written there without it"


def _full(_error: BackhaulError, path: str) -> Iterator[str]:
    yield f"df -h {quote(path)}; df -i {quote(path)}"
    yield f"du -xsh {quote(path)}/* | sort -h    # what fills it"


def _away(_error: BackhaulError, path: str) -> Iterator[str]:
    # Nothing that touches the path: it may hang as well.
    yield f"findmnt    # the mount point above {quote(path)}, and its server"
    yield "umount -l MOUNT_POINT && mount MOUNT_POINT    # once the server answers"


_HDFS: dict[str, tuple[str, Fixes]] = {
    "E_HDFS_SAFE_MODE": ("hdfs.safe_mode", _safe_mode),
    "E_HDFS_STANDBY": ("hdfs.standby", _standby),
    "E_HDFS_STARTING": ("hdfs.namenode", _starting),
    "E_HDFS_UNREACHABLE": ("hdfs.namenode", _hint),
    "E_DST_AUTHORITY": ("hdfs.namenode", _authority),
    "E_TARGET_STALLED": ("hdfs.namenode", _hint),
    "E_HDFS_AUTH": ("hdfs.authentication", _hint),
    "E_HDFS_PROXY": ("hdfs.proxy_user", _hint),
    "E_HDFS_KERBEROS": ("kerberos.ticket", _hint),
    "E_HDFS_SETTING": ("hadoop.configuration", _hint),
    "E_HDFS_OVERLOADED": ("hdfs.datanode", _hint),
    "E_HDFS_KMS": ("hdfs.encryption", _kms),
    "E_DST_NO_KMS": ("hdfs.encryption", _no_kms),
    "E_DST_KEY": ("hdfs.encryption", _key),
    "E_DST_EZ": ("hdfs.encryption", _hint),
    "E_DST_EC": ("hdfs.erasure_coding", _hint),
    "E_DST_QUOTA": ("hdfs.quota", _quota),
    "E_DST_DENIED": ("hdfs.permission", _denied),
    "E_DST_PARENT_FILE": ("hdfs.permission", _hint),
}
_MOUNTED: dict[str, tuple[str, Fixes]] = {
    "E_DST_DENIED": ("target.permission", _hint),
    "E_DST_READONLY": ("target.readonly", _hint),
    "E_DST_FULL": ("target.space", _full),
    "E_DST_AWAY": ("target.mount", _away),
    "E_TARGET_STALLED": ("target.mount", _away),
    "E_DST_MOUNT": ("target.mount", _hint),
    "E_DST_PARENT_FILE": ("target.permission", _hint),
}
# The whole file system refuses this user: its other directories need no second look.
OF_ALL = frozenset(
    {
        "E_HDFS_UNREACHABLE",
        "E_HDFS_STANDBY",
        "E_HDFS_STARTING",
        "E_HDFS_SAFE_MODE",
        "E_HDFS_AUTH",
        "E_HDFS_PROXY",
        "E_HDFS_KERBEROS",
        "E_DST_AUTHORITY",
        "E_TARGET_STALLED",
    }
)


def is_above(above: str, path: str) -> bool:
    """Whether `above` is a directory on the way to `path`, and not `path` itself."""
    return above != path and path.startswith(f"{above.rstrip('/')}/")


def as_property(name: str, value: str) -> str:
    """One property of a *-site.xml."""
    return f"<property><name>{name}</name><value>{value}</value></property>"


def fault_of(error: BackhaulError, scheme: str, path: str) -> tuple[str, tuple[str, ...]]:
    """The check that fails by this error, and its fix.

    Args:
        scheme: `hdfs` or `file`.
        path: Of the destination.
    """
    is_hdfs = scheme == "hdfs"
    table, other = (_HDFS, "hdfs.write") if is_hdfs else (_MOUNTED, "target.write")
    check, fixes = table.get(error.code, (other, _hint))
    return check, tuple(fixes(error, path))
