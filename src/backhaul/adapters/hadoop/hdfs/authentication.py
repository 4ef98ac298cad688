"""Whether configuration and NameNodes agree about Kerberos: checked before every attempt.

hdfs-native decides by what the NameNode offers. It goes on without Kerberos where a NameNode
accepts anyone, and hangs for minutes where it has no ticket. Both are refused here within seconds.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.errors import unreachable
from backhaul.adapters.hadoop.kerberos import Login
from backhaul.adapters.hadoop.rpc import (
    KERBEROS,
    SIMPLE,
    MalformedResponse,
    authentication_methods,
)
from backhaul.core.errors import OutageError

HANDSHAKE_TIMEOUT_S = 5.0
_MAX_NAMENODES = 8  # probed at once


def check_authentication(cluster: HdfsCluster) -> None:
    """Refuse what hdfs-native would not.

    Raises:
        OutageError: E_HDFS_UNREACHABLE, no NameNode answers; E_HDFS_AUTH, configuration and
            NameNode disagree about Kerberos; E_HDFS_KERBEROS, the keytab cannot be read.
        ConfigurationError: E_CFG_HADOOP_VALUE, E_CFG_HADOOP_VARIABLE.
    """
    if cluster.is_secure:
        _check_keytab(cluster.filesystem, cluster.login)
    addresses = cluster.namenodes[:_MAX_NAMENODES]
    with ThreadPoolExecutor(len(addresses)) as threads:
        answers = list(threads.map(_probe, addresses))
    for (host, port), answer in zip(addresses, answers, strict=True):
        if isinstance(answer, frozenset):
            _check_methods(cluster, f"{host}:{port}", answer)
    if not any(isinstance(answer, frozenset) for answer in answers):
        (host, port), answer = addresses[0], answers[0]
        raise unreachable(f"{cluster.filesystem}: NameNode {host}:{port}: {answer}")


def _probe(namenode: tuple[str, int]) -> frozenset[str] | str:
    """What it accepts, or why that is unknown."""
    try:
        return authentication_methods(*namenode, timeout_s=HANDSHAKE_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {HANDSHAKE_TIMEOUT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except MalformedResponse as error:
        return f"is no NameNode, or a broken one: {error}"


def _check_methods(cluster: HdfsCluster, namenode: str, methods: frozenset[str]) -> None:
    if cluster.is_secure and SIMPLE in methods:
        raise OutageError.of(
            "credentials",
            "E_HDFS_AUTH",
            f"{cluster.filesystem}: core-site.xml demands Kerberos, and NameNode {namenode} "
            "accepts anyone without it",
            hint="secure that NameNode, or correct hadoop.security.authentication in "
            "HADOOP_CONF_DIR; Backhaul never falls back to SIMPLE",
        )
    if not cluster.is_secure and KERBEROS in methods and SIMPLE not in methods:
        raise OutageError.of(
            "credentials",
            "E_HDFS_AUTH",
            f"{cluster.filesystem}: NameNode {namenode} demands Kerberos, and core-site.xml does "
            "not set it",
            hint="point HADOOP_CONF_DIR at the cluster's own files, with "
            "hadoop.security.authentication = kerberos",
        )


def _check_keytab(filesystem: str, login: Login) -> None:
    if login.keytab is None:
        return
    reason = "" if os.path.isfile(login.keytab) else "no such file"  # noqa: PTH113
    if not reason and not os.access(login.keytab, os.R_OK):
        reason = "this user may not read it"
    if reason:
        raise OutageError.of(
            "credentials",
            "E_HDFS_KERBEROS",
            f"{filesystem}: keytab {login.keytab}: {reason}",
            hint="put it there, readable for the agent's user alone",
        )
