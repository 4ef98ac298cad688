"""A closer look at NameNodes and DataNodes that do not answer: which of them, and in which way.

Every connection has a time limit, so this runs in the doctor's own process. Calls to a NameNode are
made without Kerberos alone.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import NamedTuple

from backhaul.adapters.hadoop.configuration.filesystems import namenodes, nameservices
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.file_status import files_with_blocks
from backhaul.adapters.hadoop.rpc import (
    ActiveNameNode,
    MalformedResponse,
    NoActiveNameNode,
    RemoteError,
    authentication_methods,
    text,
)
from backhaul.core.errors import BackhaulError

TIMEOUT_S = 5.0
HOSTNAME_PROPERTY = "dfs.client.use.datanode.hostname"
_HTTP = b"HTTP"


class Reach(Enum):
    """What a connection to a NameNode's port showed."""

    ANSWERS = auto()
    NO_NAME = auto()
    REFUSED = auto()
    SILENT = auto()
    OTHER = auto()


class Looked(NamedTuple):
    """One NameNode."""

    host: str
    port: int
    reach: Reach
    why: str

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def look_at(address: tuple[str, int]) -> Looked:
    """Whether a NameNode answers there."""
    host, port = address
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = f"the name {host} cannot be resolved: {error.strerror}"
        return Looked(host, port, Reach.NO_NAME, why)
    try:
        authentication_methods(host, port, TIMEOUT_S)
    except TimeoutError:
        return Looked(host, port, Reach.SILENT, f"no answer within {TIMEOUT_S:g} s")
    except ConnectionRefusedError:
        return Looked(host, port, Reach.REFUSED, "nothing listens on that port")
    except OSError as error:
        return Looked(host, port, Reach.SILENT, error.strerror or str(error))
    except MalformedResponse as error:
        kind = "a web server" if str(int.from_bytes(_HTTP, "big")) in str(error) else "another one"
        return Looked(host, port, Reach.OTHER, f"no NameNode's RPC port: {kind} answers there")
    return Looked(host, port, Reach.ANSWERS, "answers")


def look_at_all(configuration: HadoopConfiguration, filesystem: str) -> list[Looked]:
    """Each NameNode of it, at once."""
    addresses = namenodes(configuration, filesystem)
    with ThreadPoolExecutor(len(addresses)) as threads:
        return list(threads.map(look_at, addresses))


def namenode_fixes(
    configuration: HadoopConfiguration, filesystem: str, looked: Sequence[Looked]
) -> Iterator[str]:
    """What to do about those that do not answer; each line once."""
    seen = set()
    for one in looked:
        for line in _fixes(configuration, filesystem, one):
            if line not in seen:
                seen.add(line)
                yield line


def _fixes(configuration: HadoopConfiguration, filesystem: str, one: Looked) -> Iterator[str]:
    where = "the route's destination"
    if filesystem.removeprefix("hdfs://") in nameservices(configuration):
        where = "dfs.namenode.rpc-address.* in hdfs-site.xml"
    match one.reach:
        case Reach.ANSWERS:
            return
        case Reach.NO_NAME:
            yield f"getent hosts {one.host}    # add it to DNS or /etc/hosts, or correct {where}"
        case Reach.REFUSED | Reach.OTHER:
            yield "hdfs getconf -nnRpcAddresses    # on a node of the cluster: host and port"
            yield f"correct {where}: the RPC port is usually 8020 or 9000; 9870 is for browsers"
            if one.reach is Reach.REFUSED:
                yield f"is it running? on {one.host}: jps | grep NameNode; ss -ltn"
        case Reach.SILENT:
            yield f"nc -vz -w 5 {one.host} {one.port}    # a firewall between here and there?"
            yield f"on {one.host}: jps | grep NameNode    # or it hangs"


# ---------------------------------------------------------------- DataNodes


class BlockHolder(NamedTuple):
    """A DataNode that was to take a block."""

    ip: str
    name: str
    port: int


def holders(cluster: HdfsCluster, paths: Sequence[str]) -> list[BlockHolder]:
    """The DataNodes that the NameNode chose for the last block of these files.

    A file whose writer has failed stays open, and the NameNode lists its block. Empty where it does
    not, and with Kerberos.
    """
    try:
        addresses = cluster.direct_namenodes
    except BackhaulError:
        return []
    if not addresses:
        return []
    namenode = ActiveNameNode(addresses, TIMEOUT_S)
    found: list[BlockHolder] = []
    with contextlib.suppress(NoActiveNameNode, OSError, MalformedResponse):
        for status in files_with_blocks(namenode, paths):
            if status is None or isinstance(status, RemoteError):
                continue
            for block in status.locations.blocks:
                for location in block.locs:
                    one = location.id
                    found.append(BlockHolder(text(one.ipAddr), text(one.hostName), one.xferPort))
    namenode.close()
    return list(dict.fromkeys(found))


def datanode_fixes(found: Sequence[BlockHolder], *, is_by_name: bool) -> tuple[str, list[str]]:
    """What is wrong with them, in words, and what to do about it.

    Args:
        is_by_name: They are reached by their names and not by their addresses.
    """
    if not found:
        return "", [
            "hdfs dfsadmin -report    # are DataNodes live, and at which addresses?",
            "nc -vz DATANODE 9866    # from this machine; the port is in dfs.datanode.address",
            f"hdfs-site.xml of this node: {HOSTNAME_PROPERTY} = true    # if names alone work",
        ]
    words, lines, taken = [], [], []
    for one in found:
        host, other = (one.name, one.ip) if is_by_name else (one.ip, one.name)
        if connects(host, one.port):
            taken.append(f"DataNode {host}:{one.port} takes a connection, and no block")
            continue
        words.append(f"DataNode {host}:{one.port} does not answer")
        lines.append(f"nc -vz -w 5 {host} {one.port}    # open this port from here to the DataNode")
        if other not in {"", host} and connects(other, one.port):
            value = "false" if is_by_name else "true"
            how = "its address" if is_by_name else "its name"
            words.append(f"it answers by {how}, {other}")
            lines.insert(0, f"hdfs-site.xml of this node: {HOSTNAME_PROPERTY} = {value}")
    lines.append("hdfs dfsadmin -report    # is it live, and has it room?")
    if not words:
        lines.append("its log on that node: it may hang, or have too much open")
    return "; ".join(words or taken), lines


def connects(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError:
        return False
    return True
