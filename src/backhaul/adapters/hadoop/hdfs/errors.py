"""Foreign errors of HDFS as ours: hdfs-native's exceptions and Java exceptions of NameNodes.

hdfs-native raises OSError kinds, RuntimeError with a Java class in its text, and Rust panics, which
are BaseExceptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

from backhaul.adapters.hadoop.hdfs.cluster import KEY_PROVIDER
from backhaul.adapters.hadoop.hdfs.creation import BLOCK_SIZE, REPLICATION
from backhaul.adapters.hadoop.rpc import NoActiveNameNode, RemoteError
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    OutcomeUnknown,
    PermanentError,
    TargetExists,
    TargetMissing,
    TransientError,
)
from backhaul.core.transfer.write_access import hdfs_permission_hint

Result = TypeVar("Result")

_CONNECTION_LOST = "RPC listener disconnected"  # in the middle of a call, whose answer is lost
_NOT_CONNECTED = ("Connection refused", "failed to lookup address", "No route to host")
_DEBUG = re.compile(r'\w+\("')
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))")
_JAVA = re.compile(r'RPCError\("(?P<name>[\w.$]+)", "(?P<text>.*)', re.DOTALL)

_NO_KEY_SERVER = "no KMS provider is configured"


# ---------------------------------------------------------------- the table


class _Rule(NamedTuple):
    """One kind of foreign error.

    Attributes:
        pattern: Of Java's `SimpleClass: first line`, or of the client's text.
        error: Makes ours of a code, a message and a hint.
        text: What the message shows; `{line}` is the first line of the foreign one.
    """

    pattern: str
    error: Callable[..., BackhaulError]
    code: str
    text: str = "{line}"


_outage = partial(OutageError.of, "hdfs")

# The first that matches counts.
_JAVA_RULES = (
    _Rule("^SafeMode", _outage, "E_HDFS_SAFE_MODE", "the NameNode is in safe mode: {line}"),
    _Rule("^(Standby|ObserverRetry)", _outage, "E_HDFS_STANDBY", "no active NameNode: {line}"),
    # Of a Router, which answers for NameNodes that do not.
    _Rule("No namenodes? available", _outage, "E_HDFS_STANDBY", "no active NameNode: {line}"),
    # Nothing is renamed out of what is in no mount, either: so it needs no fence.
    _Rule("^RouterResolveException", CannotWrite, "E_DST_NO_MOUNT"),
    _Rule("no eligible destination in the same namesp", CannotWrite, "E_DST_MOUNT"),
    _Rule("^AccessControl.* because the path: .* is a mount point$", CannotWrite, "E_DST_MOUNT"),
    _Rule("^Retriable", _outage, "E_HDFS_STARTING", "the NameNode is not ready: {line}"),
    _Rule("^NSQuota", _outage, "E_DST_QUOTA", "the name quota is used up: {line}"),
    _Rule("^DSQuota", _outage, "E_DST_QUOTA", "the space quota is used up: {line}"),
    _Rule("^QuotaBy", _outage, "E_DST_QUOTA", "the storage type quota is used up: {line}"),
    _Rule("^InvalidPath", PermanentError, "E_DST_INVALID", "HDFS does not take this name: {line}"),
    _Rule("PathComponentTooLongEx", PermanentError, "E_DST_LIMIT", "name too long: {line}"),
    _Rule("MaxDirectoryItemsEx", PermanentError, "E_DST_LIMIT", "directory is full: {line}"),
    _Rule("^(Snapshot)?AccessControlException", CannotWrite, "E_DST_DENIED"),
    _Rule("^ParentNotDirectory|is not a directory", CannotWrite, "E_DST_PARENT_FILE"),
    _Rule(
        "must both be directories|directory is not empty",
        TargetExists,
        "E_DST_EXISTS",
        "a directory is where a file should go",
    ),
    # EncryptionZoneManager.checkMoveValidity
    _Rule("be moved .*encryption zone", CannotWrite, "E_DST_EZ"),
    # FSNamesystem.startFileInt, BlockManager.verifyReplication
    _Rule("block size .*less than configured", _outage, "E_HDFS_SETTING"),
    _Rule("equested replication factor of", _outage, "E_HDFS_SETTING"),
    _Rule("could only be written to 0 of|^NotReplicatedYet", TransientError, "E_HDFS_OVERLOADED"),
    _Rule("^(LeaseExpired|FileNotFound)Exception", TargetMissing, "E_DST_MISSING"),
)
_CLIENT_RULES = (
    # The key server of encryption zones, which the client calls when it opens a file there.
    _Rule(_NO_KEY_SERVER, CannotWrite, "E_DST_NO_KMS"),
    _Rule(r"KMS request failed \((401|403)|KMS rejected SPNEGO", CannotWrite, "E_DST_KEY"),
    _Rule("KMS", _outage, "E_HDFS_KMS"),
    _Rule(
        "No NameNode hosts found",
        PermanentError,
        "E_DST_AUTHORITY",
        "no such nameservice is configured, and there is no port",
    ),
    _Rule("GSSAPI|Kerberos|SASL", partial(OutageError.of, "credentials"), "E_HDFS_KERBEROS"),
    _Rule(
        "All DataNodes failed",
        TransientError,
        "E_HDFS_NO_REPLICA",
        "no DataNode gave a block of it: each is down, or fails the block's checksum",
    ),
    # A DataNode that has too much open drops connections, as one that dies does: do less at once
    # and write the file again.
    _Rule("DataTransferError", TransientError, "E_HDFS_OVERLOADED"),
)
_HINTS = {
    "E_DST_AUTHORITY": "write hdfs://host:port/dir, or set HADOOP_CONF_DIR to the cluster's files",
    "E_DST_EXISTS": "remove the directory or choose another destination",
    "E_DST_EZ": "the destination holds an encryption zone of its own: let a message have that "
    "directory, or one in it, as its destination",
    "E_DST_INVALID": "send it under another name",
    "E_DST_KEY": "let the key server give the agent's user DECRYPT_EEK on the zone's key",
    "E_DST_LIMIT": "send it under another name",
    "E_DST_MOUNT": "let a message have the mounted directory, or one in it, as its destination; "
    "`hdfs dfsrouteradmin -ls` shows the mounts",
    "E_DST_NO_MOUNT": "name a directory below a mount; `hdfs dfsrouteradmin -ls` shows them",
    "E_DST_NO_KMS": f"set {KEY_PROVIDER} in this node's core-site.xml to the cluster's kms:// "
    "address, or choose a destination outside the encryption zone",
    "E_DST_PARENT_FILE": "a file is where a directory is needed; remove it or choose another path",
    "E_HDFS_KERBEROS": "run kinit, or check the settings of [kerberos], KRB5CCNAME and krb5.conf",
    "E_HDFS_KMS": f"check that the key server runs and that {KEY_PROVIDER} names it",
    "E_HDFS_NO_REPLICA": "`hdfs fsck PATH -files -blocks -locations` names them",
    "E_HDFS_SETTING": f"correct {REPLICATION} or {BLOCK_SIZE} in this node's hdfs-site.xml and "
    "restart the agent; the NameNode's limits are the administrator's",
}


# ---------------------------------------------------------------- around calls


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Foreign errors of the block become ours.

    Args:
        where: URI of the path concerned.
    """
    try:
        yield
    except BackhaulError:
        raise
    except BaseException as error:
        raise translate(error, where) from error


def repeated(call: Callable[[], Result]) -> Result:
    """Repeat a call once if the connection was lost under it; only for what may be done twice.

    The second call waits for a NameNode that restarts, for about as long as the HDFS client waits.
    """
    try:
        return call()
    except OSError as error:
        if not is_connection_lost(error):
            raise
        return call()


def found(call: Callable[[], Result], where: str) -> Result | None:
    """The result of a call that only reads; None where the path does not exist."""
    with translated(where):
        try:
            return repeated(call)
        except FileNotFoundError:
            return None


def is_connection_lost(error: BaseException) -> bool:
    """The NameNode may have carried out the call."""
    return _CONNECTION_LOST in str(error)


def needs_key_server(error: BaseException) -> bool:
    """The file is in an encryption zone, and the client has no key server."""
    return _NO_KEY_SERVER in str(error)


# ---------------------------------------------------------------- one error


def translate(error: BaseException, where: str) -> BackhaulError:
    """A foreign error as ours.

    Args:
        where: URI of the path concerned.
    """
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise error
    text = plain(str(error))
    if isinstance(error, FileNotFoundError):
        return TargetMissing("E_DST_MISSING", f"{where}: {_first_line(text)}")
    if isinstance(error, FileExistsError):
        if "lease" in text:
            return TransientError("E_HDFS_LEASE", f"{where}: {_first_line(text)}")
        return TargetExists(
            "E_DST_EXISTS", f"{where} exists", hint="remove it or choose another directory"
        )
    if isinstance(error, RemoteError):
        return _of_java(error.java, text, where)
    if match := _JAVA.search(text):
        return _of_java(match["name"].rsplit(".", 1)[-1], match["text"], where)
    if isinstance(error, (OSError, NoActiveNameNode)):
        return unreachable(f"{where}: {_first_line(text)}")
    return _of_client(error, text, where)


def of_rename(error: BaseException, where: str) -> BackhaulError:
    """As `translate`, for a rename: a call that was sent and not answered may have happened."""
    translated_error = translate(error, where)
    was_sent = isinstance(error, OSError) and not any(sign in str(error) for sign in _NOT_CONNECTED)
    if isinstance(translated_error, OutageError) and was_sent:
        return OutcomeUnknown("E_HDFS_UNKNOWN", f"no answer to the rename to {where}")
    return translated_error


def of_open_file(error: BaseException, where: str) -> BackhaulError:
    """As `translate`, for write and close: a connection that breaks there is a DataNode's.

    Others may take the file, so it is written again. Should it have been the NameNode's, the next
    call to it shows that.
    """
    translated_error = translate(error, where)
    if translated_error.code == "E_HDFS_UNREACHABLE":
        return TransientError("E_HDFS_OVERLOADED", f"{translated_error.message} (from a DataNode)")
    return translated_error


def unreachable(message: str) -> OutageError:
    """No NameNode answers."""
    return OutageError.of(
        "hdfs",
        "E_HDFS_UNREACHABLE",
        message,
        hint="check that the NameNode runs and that HADOOP_CONF_DIR or the URI names it",
    )


def proxy_refused(filesystem: str, user: str, error: BaseException) -> OutageError:
    """A NameNode refuses a proxy by closing the connection after the handshake."""
    return OutageError.of(
        "credentials",
        "E_HDFS_PROXY",
        f"{filesystem}: the NameNode does not let the agent act for {user}: {error}",
        hint="grant hadoop.proxyuser.<agent>.users and .hosts in the NameNode's core-site.xml, "
        "then hdfs dfsadmin -refreshSuperUserGroupsConfiguration",
    )


def parity_refused(where: str, how: str) -> CannotWrite:
    """hdfs-native would write parity of the wrong codec."""
    return CannotWrite(
        "E_DST_EC",
        f"{where}: erasure-coded {how}; the HDFS client writes the parity of Reed-Solomon policies "
        "alone",
        hint='let the route have engine = "distcp", or choose a destination with a policy of '
        "Reed-Solomon (RS-6-3-1024k and the like) or without one",
    )


def plain(text: str) -> str:
    """The client's text as the NameNode wrote it.

    Rust shows an error of its own as `Name("text", ...)` with the texts escaped: quotes,
    backslashes, line breaks.
    """
    if not _DEBUG.match(text):
        return text
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}.get(match[2], match[2])


def _of_java(name: str, text: str, where: str) -> BackhaulError:
    line = _first_line(text)
    if error := _by_rule(_JAVA_RULES, f"{name}: {line}", where, line):
        return error
    return TransientError("E_HDFS_RPC", f"{where}: {name}: {line}")


def _of_client(error: BaseException, text: str, where: str) -> BackhaulError:
    line = _first_line(text)
    if found := _by_rule(_CLIENT_RULES, text, where, line):
        return found
    if type(error).__name__ == "PanicException":
        return TransientError("E_HDFS_PANIC", f"{where}: the HDFS client crashed: {line}")
    return TransientError("E_HDFS_CLIENT", f"{where}: {line}")


def _by_rule(rules: Sequence[_Rule], text: str, where: str, line: str) -> BackhaulError | None:
    for rule in rules:
        if re.search(rule.pattern, text):
            is_denied = rule.code == "E_DST_DENIED"
            hint = hdfs_permission_hint(line) if is_denied else _HINTS.get(rule.code, "")
            message = f"{where}: {rule.text.replace('{line}', line)}"
            return rule.error(rule.code, message, hint=hint)
    return None


def _first_line(text: str) -> str:
    """Without the Java stack that follows."""
    line = re.split(r"\n|\tat ", text, maxsplit=1)[0].strip().removesuffix('")')[:300]
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)
