"""What directories of HDFS give to what is made in them: groups, default ACLs and policies.

ACLs come through hdfs-native, policies from `policies` where the cluster allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backhaul.adapters.hadoop.hdfs.creation import FILE_MODE, CreationRules
from backhaul.adapters.hadoop.hdfs.errors import found, repeated, translated
from backhaul.adapters.hadoop.hdfs.policies import Policies, erasure_coding, storage_policy
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import HdfsFileStatusProto
from backhaul.adapters.hadoop.rpc import text
from backhaul.core.model import STAGING_NAME
from backhaul.core.ports import Inherited, WriteRefusal
from backhaul.core.transfer.write_access import file_in_the_way

if TYPE_CHECKING:
    from hdfs_native import Client

_REMEMBERED = 10_000  # directories of which it is kept whether they have a default ACL


class Directories:
    """Of one HDFS; safe to use from several threads.

    Args:
        rules: What new files and directories get from the client's configuration.

    Attributes:
        policies: Of erasure coding and storage; None: they are unknown.
    """

    def __init__(self, client: Client, filesystem: str, rules: CreationRules) -> None:
        self._client = client
        self._filesystem = filesystem
        self._rules = rules
        self.policies: Policies | None = None
        self._have_default_acls: dict[str, bool] = {}
        self._acls_are_off = False

    # ------------------------------------------------------------ modes of what is new

    def file_mode(self, path: str) -> int:
        """The mode to send for a new file."""
        return self._rules.file_mode(has_default_acl=self._has_default_acl(_parent(path)))

    def correct_mode(self, path: str) -> None:
        """Set the mode of a client that sends the unmasked one; DistCp sends the masked one alone.

        That makes a difference only below a default ACL.
        """
        if not self._rules.acl_overrides_umask or not self._has_default_acl(_parent(path)):
            return
        mode = FILE_MODE & mode_of(self._default_acl(_parent(path)) or ())
        with translated(self._uri(path)):
            repeated(lambda: self._client.set_permission(path, mode))

    def make(self, path: str, *, create_parent: bool) -> None:
        """A directory, with what is missing above it or not."""
        has_default_acl = self._has_default_acl(_parent(path))
        mode = self._rules.directory_mode(has_default_acl=has_default_acl)
        with translated(self._uri(path)):
            repeated(
                lambda: self._client.mkdirs(path, permission=mode, create_parent=create_parent)
            )
        if _parent(_parent(path)).endswith(f"/{STAGING_NAME}"):
            # A new epoch in its root; a directory further down may have come from elsewhere.
            self._remember(path, has_default_acl=has_default_acl)

    def _has_default_acl(self, directory: str) -> bool:
        """Whether a default ACL decides the modes of what is new here.

        Where the directory is missing, the nearest one above it counts.
        """
        known = self._have_default_acls.get(directory)
        if known is None:
            above = directory
            while (acl := self._default_acl(above)) is None and above != "/":
                above = _parent(above)
            known = bool(acl)
            self._remember(directory, has_default_acl=known)
        return known

    def _remember(self, directory: str, *, has_default_acl: bool) -> None:
        """For directories of staging alone: those are made for one attempt, with one ACL."""
        if f"/{STAGING_NAME}/" not in directory:
            return
        if len(self._have_default_acls) >= _REMEMBERED:
            self._have_default_acls.clear()
        self._have_default_acls[directory] = has_default_acl

    def _default_acl(self, directory: str) -> tuple[str, ...] | None:
        """Its entries for what is made in it; None where nothing is."""
        if self._acls_are_off:
            return ()
        with translated(self._uri(directory)):
            try:
                status = repeated(lambda: self._client.get_acl_status(directory))
            except FileNotFoundError:
                return None
            except BaseException as error:  # its text alone shows what it is
                if "AclException" not in str(error):
                    raise
                self._acls_are_off = True  # dfs.namenode.acls.enabled = false
                return ()
        return tuple(
            sorted(
                f"{entry.type}:{entry.name or ''}:{entry.permissions}"
                for entry in status.entries
                if entry.scope == "default"
            )
        )

    # ------------------------------------------------------------ core.ports.TargetFs

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        """See the port."""
        policies = self.policies
        if policies is None:
            return [self._inherited(path) for path in paths]
        if not paths:
            return []
        with translated(self._uri(paths[0])):
            statuses = dict(zip(paths, policies.statuses(paths), strict=True))
            existing = [path for path, status in statuses.items() if status is not None]
            refused = dict(zip(existing, policies.refusals(existing), strict=True))
            roots = dict(zip(existing, policies.are_roots(existing), strict=True))
        return [
            None
            if (status := statuses[path]) is None
            else self._shown(path, status, refused[path], is_root=roots[path])
            for path in paths
        ]

    def _shown(
        self, path: str, status: HdfsFileStatusProto, refused: WriteRefusal | None, *, is_root: bool
    ) -> Inherited:
        if status.fileType != HdfsFileStatusProto.IS_DIR:
            raise file_in_the_way(path)
        has_acl = status.flags & HdfsFileStatusProto.HAS_ACL
        is_encrypted = bool(status.flags & HdfsFileStatusProto.HAS_CRYPT)
        return Inherited(
            refused=refused,
            group=text(status.group),
            acl=(self._default_acl(path) or ()) if has_acl else (),
            erasure_coding=erasure_coding(status),
            storage_policy=storage_policy(status),
            is_encrypted=is_encrypted,
            is_mount=is_root and not is_encrypted,  # a zone is known by itself
        )

    def _inherited(self, path: str) -> Inherited | None:
        status = found(lambda: self._client.get_file_info(path), self._uri(path))
        if status is None:
            return None
        if not status.isdir:
            raise file_in_the_way(path)
        return Inherited(group=status.group, acl=self._default_acl(path) or ())

    def set_policies(self, path: str, wanted: Inherited) -> None:
        """See the port."""
        policies = self.policies
        if policies is None:
            return
        with translated(self._uri(path)):
            (here,) = policies.statuses([path])
            coding, storage = wanted.erasure_coding, wanted.storage_policy
            if coding is not None and (here is None or coding != erasure_coding(here)):
                policies.set_erasure_coding(path, coding)
            if storage and (here is None or storage != storage_policy(here)):
                policies.set_storage_policy(path, storage)

    def _uri(self, path: str) -> str:
        return f"{self._filesystem}{path}"


def mode_of(acl: Sequence[str]) -> int:
    """The mode bits that the entries of an ACL make: user, mask or else group, other."""
    permissions = {"user": 0, "group": 0, "other": 0}
    for entry in acl:
        kind, name, letters = entry.split(":")
        if not name:
            permissions[kind] = sum(
                bit for bit, on in zip((4, 2, 1), letters, strict=True) if on != "-"
            )
    group = permissions.get("mask", permissions["group"])
    return permissions["user"] << 6 | group << 3 | permissions["other"]


def _parent(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"
