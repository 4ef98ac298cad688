"""Whether the HDFS user may make names in a directory, without making one.

The NameNode decides (`checkAccess`, since Hadoop 2.6), so groups, ACLs, sticky bits, plug-ins such
as Ranger and the superuser count as they will for the copy. With Kerberos the node's
`hdfs dfs -test -w` makes the call. Without either, nothing is known.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from functools import partial

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.shell import FsShell
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    AclEntryProto,
    CheckAccessRequestProto,
    CheckAccessResponseProto,
)
from backhaul.adapters.hadoop.rpc import ActiveNameNode, NoActiveNameNode, RemoteError
from backhaul.core.ports import WriteRefusal

TIMEOUT_S = 5.0
_USER = re.compile(r"user=([^,\s]+)")
_DENIED = "AccessControlException"

AccessCheck = Callable[[str], WriteRefusal | None]


def access_check(cluster: HdfsCluster) -> AccessCheck | None:
    """For this file system; None where nothing on this node can find it out."""
    if namenodes := cluster.direct_namenodes:
        return partial(_by_rpc, namenodes)
    shell = FsShell.installed(cluster)
    return partial(_by_command, shell, cluster) if shell else None


def _by_rpc(addresses: Sequence[tuple[str, int]], path: str) -> WriteRefusal | None:
    namenode = ActiveNameNode(addresses, TIMEOUT_S)
    try:
        (response,) = check_access(namenode, [path])
    except NoActiveNameNode:
        return None  # a NameNode that is down shows in every other call
    finally:
        namenode.close()
    return write_refusal(response)


def check_access(
    namenode: ActiveNameNode, paths: Sequence[str]
) -> list[CheckAccessResponseProto | RemoteError]:
    """The NameNode's responses for `write_refusal`; raises `NoActiveNameNode`."""
    mode = AclEntryProto.WRITE_EXECUTE
    requests = [CheckAccessRequestProto(path=path, mode=mode) for path in paths]
    return namenode.call("checkAccess", requests, CheckAccessResponseProto)


def write_refusal(response: CheckAccessResponseProto | RemoteError) -> WriteRefusal | None:
    """What a response means; only a refusal of the user is one."""
    if not isinstance(response, RemoteError) or response.java != _DENIED:
        return None
    why = str(response).removeprefix(f"{_DENIED}: ")
    user = _USER.search(why)
    return WriteRefusal(user=user[1] if user else "", why=why)


def _by_command(shell: FsShell, cluster: HdfsCluster, path: str) -> WriteRefusal | None:
    try:
        lines, status = shell.run(["-test", "-w"], [path])
    except (OSError, subprocess.SubprocessError):
        return None
    # 1 without a complaint means no; with one, the command failed.
    if status != 1 or any(re.search(r"^test: |Exception", line) for line in lines):
        return None
    login = cluster.login
    user = login.run_as or (login.principal or "").partition("@")[0].partition("/")[0]
    return WriteRefusal(user=user, why=f"`hdfs dfs -test -w {path}` answers no")
