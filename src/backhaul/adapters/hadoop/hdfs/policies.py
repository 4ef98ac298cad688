"""Group, policies and encryption of directories, from the NameNode itself.

hdfs-native shows neither erasure coding nor storage policy nor encryption zone, and sets none. Many
directories cost one round trip: the calls of a batch are under way together. With Kerberos they
are unknown.

Source: Hadoop's `SystemErasureCodingPolicies` and `HdfsConstants.StoragePolicy`.
"""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.write_access import check_access, write_refusal
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    GetEnclosingRootRequestProto,
    GetEnclosingRootResponseProto,
    GetFileInfoRequestProto,
    GetFileInfoResponseProto,
    HdfsFileStatusProto,
    SetErasureCodingPolicyRequestProto,
    SetErasureCodingPolicyResponseProto,
    SetStoragePolicyRequestProto,
    SetStoragePolicyResponseProto,
)
from backhaul.adapters.hadoop.rpc import ActiveNameNode, RemoteError, text
from backhaul.core.ports import WriteRefusal

TIMEOUT_S = 10.0
# The NameNode sends names of its own policies as numbers.
_CODINGS = {
    1: "RS-6-3-1024k",
    2: "RS-3-2-1024k",
    3: "RS-LEGACY-6-3-1024k",
    4: "XOR-2-1-1024k",
    5: "RS-10-4-1024k",
}
_NO_SUCH_METHOD = "RpcNoSuchMethodException"
_REPLICATION = "replication"  # a directory's own, against a policy above it
_STORAGE = {
    1: "PROVIDED",
    2: "COLD",
    5: "WARM",
    7: "HOT",
    10: "ONE_SSD",
    12: "ALL_SSD",
    14: "ALL_NVDIMM",
    15: "LAZY_PERSIST",
}


def policies(cluster: HdfsCluster) -> Policies | None:
    """For this file system; None where `rpc` cannot call its NameNodes."""
    namenodes = cluster.direct_namenodes
    return Policies(ActiveNameNode(namenodes, TIMEOUT_S)) if namenodes else None


class Policies:
    """Safe to use from several threads."""

    def __init__(self, namenode: ActiveNameNode) -> None:
        self._namenode = namenode
        self._has_roots = True  # until it is known to be older than Hadoop 3.4

    def close(self) -> None:
        """Forget the connection."""
        self._namenode.close()

    def statuses(self, paths: Sequence[str]) -> list[HdfsFileStatusProto | None]:
        """One for each path, in order; None where nothing is.

        Raises:
            NoActiveNameNode: No NameNode answers as the active one.
            RemoteError: The NameNode refuses one of them.
        """
        requests = [GetFileInfoRequestProto(src=path) for path in paths]
        found = []
        for response in self._namenode.call("getFileInfo", requests, GetFileInfoResponseProto):
            if isinstance(response, RemoteError):
                raise response
            found.append(response.fs if response.HasField("fs") else None)
        return found

    def refusals(self, paths: Sequence[str]) -> list[WriteRefusal | None]:
        """Why no name can be made in each of these directories; raises `NoActiveNameNode`."""
        return [write_refusal(response) for response in check_access(self._namenode, paths)]

    def are_roots(self, paths: Sequence[str]) -> list[bool]:
        """Whether each of these directories is one out of which and into which nothing is renamed.

        That is a mount of a Router, or an encryption zone. False for `/`, and where it is not
        known: of a directory that this user may not read, and before Hadoop 3.4.

        Raises:
            NoActiveNameNode: No NameNode answers as the active one.
        """
        found = [False] * len(paths)
        if not self._has_roots:
            return found
        requests = [GetEnclosingRootRequestProto(filename=path) for path in paths]
        responses = self._namenode.call("getEnclosingRoot", requests, GetEnclosingRootResponseProto)
        for number, response in enumerate(responses):
            if isinstance(response, RemoteError):
                self._has_roots &= response.java != _NO_SUCH_METHOD
            else:
                found[number] = response.enclosingRootPath == paths[number] != "/"
        return found

    def set_erasure_coding(self, path: str, name: str) -> None:
        """Of an empty directory; empty: files in it are replicated, whatever is set above."""
        request = SetErasureCodingPolicyRequestProto(src=path, ecPolicyName=name or _REPLICATION)
        self._namenode.call_one(
            "setErasureCodingPolicy", request, SetErasureCodingPolicyResponseProto
        )

    def set_storage_policy(self, path: str, name: str) -> None:
        """Of a directory; raises as `statuses`."""
        request = SetStoragePolicyRequestProto(src=path, policyName=name)
        self._namenode.call_one("setStoragePolicy", request, SetStoragePolicyResponseProto)


def erasure_coding(status: HdfsFileStatusProto) -> str:
    """The policy in force; empty: none."""
    return text(status.ecPolicy.name) or _CODINGS.get(status.ecPolicy.id, "")


def storage_policy(status: HdfsFileStatusProto) -> str:
    """The policy in force; empty: none."""
    return _STORAGE.get(status.storagePolicy, "")
