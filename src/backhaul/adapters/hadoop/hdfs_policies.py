"""Group, policies and encryption of directories, from the NameNode itself.

hdfs-native shows neither erasure coding nor storage policy nor encryption zone, and sets none. Many
directories are one conversation: no JVM, and the questions of a batch are on the way together. For
clusters without Kerberos, as all of `namenode_rpc`; elsewhere they are not known.

Source: Hadoop's hdfs.proto (HdfsFileStatusProto, ErasureCodingPolicyProto), erasurecoding.proto,
ClientNamenodeProtocol.proto; `SystemErasureCodingPolicies`, `HdfsConstants.StoragePolicy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos, namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs_access import ask_write_access, write_refusal
from backhaul.adapters.hadoop.namenode_rpc import ActiveNameNode, RemoteError
from backhaul.adapters.hadoop.protobuf_wire import fields_of, message, number, octets
from backhaul.core.ports import WriteRefusal

TIMEOUT_S = 10.0
_DIRECTORY = 1
_HAS_ACL = 1
_IS_ENCRYPTED = 2
# The NameNode sends names of its own policies as numbers.
_CODINGS = {
    1: "RS-6-3-1024k",
    2: "RS-3-2-1024k",
    3: "RS-LEGACY-6-3-1024k",
    4: "XOR-2-1-1024k",
    5: "RS-10-4-1024k",
}
_REPLICATION = "replication"  # a directory's own word against a policy above it
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


@dataclass(frozen=True, kw_only=True)
class Directory:
    """What the NameNode shows of a path.

    Attributes:
        is_file: It is none.
        has_acl: It has entries beyond its mode, for itself or for what is made in it.
        erasure_coding: The policy in force; empty: none.
        storage_policy: The same.
        is_encrypted: It is in an encryption zone.
    """

    is_file: bool
    group: str
    has_acl: bool
    erasure_coding: str
    storage_policy: str
    is_encrypted: bool


def policies(filesystem: str, configuration: HadoopConfiguration) -> Policies | None:
    """For this file system; None where its NameNode takes no question from here."""
    if demands_kerberos(configuration):
        return None
    addresses = namenodes(configuration, filesystem)
    return Policies(ActiveNameNode(addresses, TIMEOUT_S)) if addresses else None


class Policies:
    """Safe to use from several threads."""

    def __init__(self, namenode: ActiveNameNode) -> None:
        self._namenode = namenode

    def close(self) -> None:
        """Forget the connection."""
        self._namenode.close()

    def directories(self, paths: Sequence[str]) -> list[Directory | None]:
        """One answer for each path, in order; None where nothing is.

        Raises:
            NoNameNode: None is active, or none answers.
            RemoteError: The NameNode refuses one of them.
            Malformed: What came is no answer.
        """
        answers = self._namenode.ask("getFileInfo", [message((1, path)) for path in paths])
        return [_directory(_given(answer)) for answer in answers]

    def refusals(self, paths: Sequence[str]) -> list[WriteRefusal | None]:
        """Why no name can be made in each of these directories; raises as `directories`."""
        return [write_refusal(answer) for answer in ask_write_access(self._namenode, paths)]

    def set_erasure_coding(self, path: str, name: str) -> None:
        """Of an empty directory; empty: files in it are replicated, whatever is set above."""
        question = message((1, path), (2, name or _REPLICATION))
        self._set("setErasureCodingPolicy", question)

    def set_storage_policy(self, path: str, name: str) -> None:
        """Of a directory; raises as `directories`."""
        self._set("setStoragePolicy", message((1, path), (2, name)))

    def _set(self, method: str, question: bytes) -> None:
        (answer,) = self._namenode.ask(method, [question])
        _given(answer)


def _given(answer: bytes | RemoteError) -> bytes:
    if isinstance(answer, RemoteError):
        raise answer
    return answer


def _directory(answer: bytes) -> Directory | None:
    raw = octets(fields_of(answer), 1)
    if not raw:
        return None
    status = fields_of(raw)
    flags = number(status, 18)
    coding = fields_of(octets(status, 17))
    name = octets(coding, 1).decode("utf-8", "replace") or _CODINGS.get(number(coding, 4), "")
    return Directory(
        is_file=number(status, 1) != _DIRECTORY,
        group=octets(status, 6).decode("utf-8", "replace"),
        has_acl=bool(flags & _HAS_ACL),
        erasure_coding=name,
        storage_policy=_STORAGE.get(number(status, 16), ""),
        is_encrypted=bool(flags & _IS_ENCRYPTED),
    )
