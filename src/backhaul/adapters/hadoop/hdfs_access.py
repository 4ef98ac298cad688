"""Whether the HDFS user may make names in a directory, without making one.

The NameNode decides (`checkAccess`), so groups, ACLs, sticky bits, plug-ins such as Ranger and the
superuser count as they will for the copy. Without Kerberos the question goes over Hadoop's RPC;
with Kerberos through the node's `hdfs dfs -test -w`. Where neither can be, nothing is known.

Source: ClientNamenodeProtocol.proto (`CheckAccessRequestProto`), acl.proto (`FsActionProto`); since
Hadoop 2.6.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos, namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs_command import escaped, find_program
from backhaul.adapters.hadoop.hdfs_security import Login, ticket
from backhaul.adapters.hadoop.namenode_rpc import ActiveNameNode, NoNameNode, RemoteError
from backhaul.adapters.hadoop.protobuf_wire import Malformed, message
from backhaul.core.ports import WriteRefusal

TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0  # a JVM on a busy node
_WRITE_AND_ENTER = 3  # FsActionProto.WRITE_EXECUTE
_USER = re.compile(r"user=([^,\s]+)")
_DENIED = "AccessControlException"

AccessCheck = Callable[[str], WriteRefusal | None]


def access_check(
    filesystem: str, configuration: HadoopConfiguration | str | None, login: Login
) -> AccessCheck | None:
    """For this file system; None where nothing on this node can find it out.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        configuration: The node's Hadoop configuration, or its directory.
        login: Who the agent is on a cluster with Kerberos.

    Raises:
        ConfigurationError: E_CFG_CORE_SITE.
    """
    configuration = HadoopConfiguration.of(configuration)
    if demands_kerberos(configuration):
        program = find_program(os.environ)
        conf_dir = str(configuration.directory) if configuration.directory else None
        return partial(_by_command, program, filesystem, conf_dir, login) if program else None
    addresses = namenodes(configuration, filesystem)
    return partial(_by_rpc, addresses) if addresses else None


def _by_rpc(addresses: Sequence[tuple[str, int]], path: str) -> WriteRefusal | None:
    namenode = ActiveNameNode(addresses, TIMEOUT_S)
    try:
        (answer,) = ask_write_access(namenode, [path])
    except (NoNameNode, Malformed):
        return None  # a NameNode that is down shows in every other call
    finally:
        namenode.close()
    return write_refusal(answer)


def ask_write_access(namenode: ActiveNameNode, paths: Sequence[str]) -> list[bytes | RemoteError]:
    """The NameNode's answers for `write_refusal`; raises as `ActiveNameNode.ask`."""
    questions = [message((1, path), (2, _WRITE_AND_ENTER)) for path in paths]
    return namenode.ask("checkAccess", questions)


def write_refusal(answer: bytes | RemoteError) -> WriteRefusal | None:
    """What an answer to `checkAccess` means; only a refusal of the user is one."""
    if not isinstance(answer, RemoteError) or answer.java != _DENIED:
        return None
    why = str(answer).removeprefix(f"{_DENIED}: ")
    user = _USER.search(why)
    return WriteRefusal(user=user[1] if user else "", why=why)


def _by_command(
    program: Path, filesystem: str, conf_dir: str | None, login: Login, path: str
) -> WriteRefusal | None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if conf_dir:
        environment["HADOOP_CONF_DIR"] = conf_dir
    word = "dfs" if program.name == "hdfs" else "fs"
    try:
        with ticket(login) as variables:
            done = subprocess.run(
                [str(program), word, "-test", "-w", f"{filesystem}{escaped(path)}"],
                env={**environment, **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
    except (OSError, subprocess.SubprocessError):
        return None
    # 1 without a complaint is the answer "no"; with one, the question failed.
    if done.returncode != 1 or re.search(r"^test: |Exception", done.stderr, re.MULTILINE):
        return None
    user = login.run_as or (login.principal or "").partition("@")[0].partition("/")[0]
    return WriteRefusal(user=user, why=f"`hdfs dfs -test -w {path}` answers no")
