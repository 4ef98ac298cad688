"""Who the HDFS client is, and that the cluster asks for it: before every attempt, in the worker.

The HDFS client decides by what the NameNode offers. Left alone it goes on without Kerberos where a
NameNode takes anybody, and hangs for minutes where it has no ticket to show. Both are refused here,
within seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos, namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.rpc import KERBEROS, SIMPLE, HandshakeError, offered
from backhaul.core.errors import OutageError

HANDSHAKE_TIMEOUT_S = 5.0
KINIT_TIMEOUT_S = 30
KEY_PROVIDER = "hadoop.security.key.provider.path"
_HA_MAX = 8


@dataclass(frozen=True, kw_only=True)
class Login:
    """How the agent proves who it is; names files and holds no secret, so it may be pickled.

    Attributes:
        principal: Needed with a keytab or a cache; None: the first of the default cache.
        keytab: The client takes new tickets from it whenever it needs one.
        cache: A ticket cache such as `FILE:/run/backhaul/krb5cc`; None: KRB5CCNAME, or Kerberos'
            own default.
        run_as: The user for whom the agent is a proxy.
    """

    principal: str | None = None
    keytab: str | None = None
    cache: str | None = None
    run_as: str | None = None


@contextmanager
def ticket(login: Login) -> Iterator[dict[str, str]]:
    """KRB5CCNAME for the block, where the agent has a cache or a keytab; else empty.

    For Hadoop's commands, which take no ticket from a keytab and find that of their user's cache
    alone.
    """
    kinit = shutil.which("kinit")
    if login.cache is not None:
        yield {"KRB5CCNAME": login.cache}
    elif login.keytab is None or login.principal is None or kinit is None:
        yield {}
    else:
        with tempfile.TemporaryDirectory(prefix="backhaul-ticket-") as directory:
            cache = f"FILE:{directory}/cache"
            done = subprocess.run(
                [kinit, "-k", "-t", login.keytab, "-c", cache, login.principal],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=KINIT_TIMEOUT_S,
                check=False,
            )
            # Without a ticket the command itself says so.
            yield {"KRB5CCNAME": cache} if done.returncode == 0 else {}


class Cluster:
    """What the node's Hadoop configuration says of one HDFS.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        configuration: The node's.
    """

    def __init__(self, filesystem: str, configuration: HadoopConfiguration) -> None:
        self._filesystem = filesystem
        self._configuration = configuration

    @property
    def is_secure(self) -> bool:
        """True when the configuration demands Kerberos."""
        return demands_kerberos(self._configuration)

    @property
    def key_provider(self) -> str:
        """Where the keys of encryption zones are, such as `kms://http@host:9600/kms`; or empty."""
        return self._configuration.get(KEY_PROVIDER) or ""

    @property
    def namenodes(self) -> list[tuple[str, int]]:
        """Host and port of each, as many as are looked at.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VALUE, E_CFG_HADOOP_VARIABLE.
        """
        return namenodes(self._configuration, self._filesystem)[:_HA_MAX]

    def check(self, login: Login) -> None:
        """Refuse what the HDFS client would not.

        Raises:
            OutageError: E_HDFS_UNREACHABLE, no NameNode answers; E_HDFS_AUTH, configuration and
                NameNode disagree about Kerberos; E_HDFS_KERBEROS, the keytab cannot be read.
        """
        if self.is_secure:
            self._check_keytab(login)
        addresses = self.namenodes
        with ThreadPoolExecutor(len(addresses)) as threads:
            answers = list(threads.map(_ask, addresses))
        for (host, port), answer in zip(addresses, answers, strict=True):
            if isinstance(answer, frozenset):
                self._judge(f"{host}:{port}", answer)
        if not any(isinstance(answer, frozenset) for answer in answers):
            (host, port), answer = addresses[0], answers[0]
            raise OutageError.of(
                "hdfs",
                "E_HDFS_UNREACHABLE",
                f"{self._filesystem}: NameNode {host}:{port}: {answer}",
                hint="check that the NameNode runs and that HADOOP_CONF_DIR or the URI names it",
            )

    def _judge(self, namenode: str, methods: frozenset[str]) -> None:
        if self.is_secure and SIMPLE in methods:
            raise OutageError.of(
                "credentials",
                "E_HDFS_AUTH",
                f"{self._filesystem}: core-site.xml demands Kerberos, and NameNode {namenode} "
                "takes anybody without",
                hint="secure that NameNode, or correct hadoop.security.authentication in "
                "HADOOP_CONF_DIR; Backhaul never falls back to SIMPLE",
            )
        if not self.is_secure and KERBEROS in methods and SIMPLE not in methods:
            raise OutageError.of(
                "credentials",
                "E_HDFS_AUTH",
                f"{self._filesystem}: NameNode {namenode} demands Kerberos, and core-site.xml does "
                "not say so",
                hint="point HADOOP_CONF_DIR at the cluster's own files, with "
                "hadoop.security.authentication = kerberos",
            )

    def _check_keytab(self, login: Login) -> None:
        if login.keytab is None:
            return
        reason = "" if os.path.isfile(login.keytab) else "no such file"  # noqa: PTH113
        if not reason and not os.access(login.keytab, os.R_OK):
            reason = "this user may not read it"
        if reason:
            raise OutageError.of(
                "credentials",
                "E_HDFS_KERBEROS",
                f"{self._filesystem}: keytab {login.keytab}: {reason}",
                hint="put it there, readable for the agent's user alone",
            )


def _ask(namenode: tuple[str, int]) -> frozenset[str] | str:
    """What it offers, or why it says nothing."""
    try:
        return offered(*namenode, timeout_s=HANDSHAKE_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {HANDSHAKE_TIMEOUT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except HandshakeError as error:
        return f"is no NameNode, or a broken one: {error}"
