"""What directories of HDFS give to what is made in them: groups, default ACLs and policies.

ACLs come through hdfs-native, policies from `hdfs_policies` where the NameNode can be asked
without a client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from backhaul.adapters.hadoop.hdfs_creation import FILE_MODE, CreationRules
from backhaul.adapters.hadoop.hdfs_policies import Policies
from backhaul.adapters.hadoop.namenode_rpc import NoNameNode, RemoteError
from backhaul.adapters.hadoop.protobuf_wire import Malformed
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import STAGING_NAME
from backhaul.core.ports import Inherited
from backhaul.core.transfer.write_access import file_in_the_way

if TYPE_CHECKING:
    from hdfs_native import Client

Answer = TypeVar("Answer")

CUT = "RPC listener disconnected"  # in the middle of a call, whose answer is lost
_REMEMBERED = 10_000  # directories of which it is kept whether they have a default ACL


class Directories:
    """Of one HDFS; safe to use from several threads.

    Args:
        rules: What new files and directories get from the client's configuration.
        translate: A foreign error and a path to ours.

    Attributes:
        policies: Of erasure coding and storage; None: they are not known.
    """

    def __init__(
        self,
        client: Client,
        rules: CreationRules,
        translate: Callable[[BaseException, str], BackhaulError],
    ) -> None:
        self._client = client
        self._rules = rules
        self.policies: Policies | None = None
        self._translate = translate
        self._have_default_acls: dict[str, bool] = {}
        self._acls_are_off = False

    # ------------------------------------------------------------ modes of what is new

    def file_mode(self, path: str) -> int:
        """The mode to send for a new file."""
        return self._rules.file_mode(has_default_acl=self._has_default_acl(_above(path)))

    def correct_mode(self, path: str) -> None:
        """As a client gives it that sends the unmasked mode; DistCp sends the masked one alone.

        That makes a difference only below a default ACL.
        """
        if not self._rules.acl_overrides_umask or not self._has_default_acl(_above(path)):
            return
        mode = FILE_MODE & mode_of(self._default_acl(_above(path)) or ())
        try:
            twice(lambda: self._client.set_permission(path, mode))
        except BaseException as error:
            raise self._translate(error, path) from error

    def make(self, path: str, *, create_parent: bool) -> None:
        """A directory, with what is missing above it or not."""
        has_default_acl = self._has_default_acl(_above(path))
        mode = self._rules.directory_mode(has_default_acl=has_default_acl)
        try:
            twice(lambda: self._client.mkdirs(path, permission=mode, create_parent=create_parent))
        except BaseException as error:
            raise self._translate(error, path) from error
        if _above(_above(path)).endswith(f"/{STAGING_NAME}"):
            # A new epoch in its root; a directory further down may have come from elsewhere.
            self._remember(path, has_default_acl=has_default_acl)

    def _has_default_acl(self, directory: str) -> bool:
        """Whether a default ACL decides the modes of what is new here.

        Where the directory is missing, the nearest one above it answers.
        """
        known = self._have_default_acls.get(directory)
        if known is None:
            above = directory
            while (acl := self._default_acl(above)) is None and above != "/":
                above = _above(above)
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
        try:
            entries = twice(lambda: self._client.get_acl_status(directory)).entries
        except FileNotFoundError:
            return None
        except BaseException as error:
            if "AclException" not in str(error):
                raise self._translate(error, directory) from error
            self._acls_are_off = True  # dfs.namenode.acls.enabled = false
            return ()
        return tuple(
            sorted(
                f"{entry.type}:{entry.name or ''}:{entry.permissions}"
                for entry in entries
                if entry.scope == "default"
            )
        )

    # ------------------------------------------------------------ core.ports.TargetFs

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        """See the port."""
        if self.policies is None:
            return [self._inherited(path) for path in paths]
        policies = self.policies
        shown = self._asked(paths[0], lambda: policies.directories(paths)) if paths else []
        for path, one in zip(paths, shown, strict=True):
            if one is not None and one.is_file:
                raise file_in_the_way(path)
        there = [path for path, one in zip(paths, shown, strict=True) if one is not None]
        refusals = self._asked(there[0], lambda: policies.refusals(there)) if there else []
        refused = dict(zip(there, refusals, strict=True))
        return [
            None
            if one is None
            else Inherited(
                refused=refused[path],
                group=one.group,
                acl=(self._default_acl(path) or ()) if one.has_acl else (),
                erasure_coding=one.erasure_coding,
                storage_policy=one.storage_policy,
                is_encrypted=one.is_encrypted,
            )
            for path, one in zip(paths, shown, strict=True)
        ]

    def _inherited(self, path: str) -> Inherited | None:
        try:
            found = twice(lambda: self._client.get_file_info(path))
        except FileNotFoundError:
            return None
        except BaseException as error:
            raise self._translate(error, path) from error
        if not found.isdir:
            raise file_in_the_way(path)
        return Inherited(group=found.group, acl=self._default_acl(path) or ())

    def set_policies(self, path: str, wanted: Inherited) -> None:
        """See the port."""
        policies = self.policies
        if policies is None:
            return
        (here,) = self._asked(path, lambda: policies.directories([path]))
        coding, storage = wanted.erasure_coding, wanted.storage_policy
        if coding is not None and (here is None or coding != here.erasure_coding):
            self._asked(path, lambda: policies.set_erasure_coding(path, coding))
        if storage and (here is None or storage != here.storage_policy):
            self._asked(path, lambda: policies.set_storage_policy(path, storage))

    def _asked(self, path: str, ask: Callable[[], Answer]) -> Answer:
        try:
            return ask()
        except RemoteError as error:
            raise self._translate(error, path) from error
        except (NoNameNode, Malformed, OSError) as error:
            raise OutageError.of(
                "hdfs",
                "E_HDFS_UNREACHABLE",
                f"{path}: {error}",
                hint="check that the NameNode runs and that HADOOP_CONF_DIR or the URI names it",
            ) from error


def twice(call: Callable[[], Answer]) -> Answer:
    """Once more where the NameNode went away under the call; only for what may be repeated.

    The second call waits for a NameNode that starts again, for about as long as the HDFS client
    waits.
    """
    try:
        return call()
    except OSError as error:
        if CUT not in str(error):
            raise
        return call()


def mode_of(acl: Sequence[str]) -> int:
    """The mode bits that the entries of an ACL stand for: user, mask or else group, other."""
    permissions = {"user": 0, "group": 0, "other": 0}
    for entry in acl:
        kind, name, letters = entry.split(":")
        if not name:
            permissions[kind] = sum(
                bit for bit, on in zip((4, 2, 1), letters, strict=True) if on != "-"
            )
    group = permissions.get("mask", permissions["group"])
    return permissions["user"] << 6 | group << 3 | permissions["other"]


def _above(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"
