"""HDFS: a NameNode and DataNodes, each a real daemon that can be killed on its own.

Made of Maven's jars, Hadoop 3.4.2. The user who runs it is the superuser, unless it is given a
`HdfsSecurity`: then every client needs a Kerberos ticket.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from backhaul.testing.servers import hdfs_files
from backhaul.testing.servers.base import Server
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.hdfs_files import HADOOP_JVM_OPTIONS, HdfsPorts
from backhaul.testing.servers.hdfs_state import is_registered, is_writable
from backhaul.testing.servers.jars import jars, java
from backhaul.testing.servers.process import ServerProcess, server_environment

# 4 s on an idle machine of two cores; 30 s were seen under load.
START_TIMEOUT_S = 120.0
_COMMAND_TIMEOUT_S = 120.0
_NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"


class HdfsSecurity(Protocol):
    """How a cluster demands Kerberos; `testbed` has one, as it needs a KDC."""

    @property
    def krb5_conf(self) -> Path:
        """The realm's krb5.conf."""

    def settings(self, directory: Path) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Of core-site.xml and hdfs-site.xml; keytabs are written to `directory`."""

    def ticket(self, directory: Path) -> Path:
        """A ticket cache of the superuser's, below `directory`."""


class Hdfs(Server):
    """One NameNode, one DataNode or several, replication 1.

    `start` returns when a file can be written. Files survive `kill_namenode` and `kill_datanode`,
    and `stop` too when a directory was given.
    """

    name = "hdfs"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        core: Mapping[str, str] | None = None,
        security: HdfsSecurity | None = None,
        datanodes: int = 1,
        detached: bool = False,
    ) -> None:
        """Describe the cluster; nothing is started or written.

        Args:
            directory: See `Server`.
            settings: Further settings of hdfs-site.xml, for daemons and clients.
            core: Further settings of core-site.xml, such as who may be a proxy for whom.
            security: None: no authentication, as in Hadoop's default.
            datanodes: How many; each is a JVM of some 150 MB. They are numbered from 0.
            detached: See `Server`.
        """
        super().__init__(directory, detached=detached)
        self._settings = dict(settings or {})
        self._core = dict(core or {})
        self._security = security
        self._namenode: ServerProcess | None = None
        self._datanodes: list[ServerProcess | None] = [None] * datanodes
        self._killed: set[int] = set()

    # Where it is

    @property
    def uri(self) -> str:
        """For clients, such as ``hdfs://127.0.0.1:24680``."""
        return f"hdfs://{self._host}:{self._named_ports.namenode_rpc}"

    @property
    def endpoint(self) -> str:
        """The NameNode's web address (JMX, WebHDFS), not for `hdfs://` clients; such as ``http://127.0.0.1:24681``."""
        return f"http://127.0.0.1:{self._named_ports.namenode_http}"

    @property
    def _host(self) -> str:
        # The NameNode's principal has this name in it.
        return "127.0.0.1" if self._security is None else "localhost"

    @property
    def conf_dir(self) -> Path:
        """For HADOOP_CONF_DIR: core-site.xml and hdfs-site.xml."""
        return self.directory / "conf"

    @property
    def bin_dir(self) -> Path:
        """For PATH: `hadoop` and `hdfs`, as far as HDFS clients need them."""
        return self.directory / "bin"

    @property
    def log_path(self) -> Path:
        """The NameNode's log; a DataNode's is `datanode_log_path`."""
        return self.directory / "namenode.log"

    def datanode_log_path(self, number: int = 0) -> Path:
        """A DataNode's log."""
        return self.directory / f"{hdfs_files.datanode_name(number)}.log"

    def datanode_address(self, number: int = 0) -> tuple[str, int]:
        """Where a DataNode takes and gives blocks: host and port."""
        return "127.0.0.1", self._named_ports.datanodes[number].transfer

    @property
    def is_alive(self) -> bool:
        """Whether a daemon is running; a suspended one counts."""
        daemons = (self._namenode, *self._datanodes)
        return any(each is not None and each.is_alive for each in daemons)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of ``namenode``, ``datanode``, ``datanode-1`` and so on."""
        datanodes = [self._dn(number) for number in range(len(self._datanodes))]
        return {each.name: each.pid for each in (self._nn, *datanodes)}

    # What can be done to it

    def command(
        self, *arguments: str, user: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `hdfs ARGUMENT...`, such as ``command("dfs", "-ls", "/")``; a JVM start, 1 to 3 s.

        Args:
            arguments: As on the command line.
            user: HADOOP_USER_NAME; default: who runs this process, the superuser.
            check: Raise when its exit status is not 0.

        Raises:
            ServerFailed: With `check`, the command failed; the text has its stderr.
        """
        environment = server_environment()
        if self._security is not None:
            environment["KRB5CCNAME"] = f"FILE:{self._security.ticket(self.directory)}"
        if user is not None:
            environment["HADOOP_USER_NAME"] = user
        done = subprocess.run(
            [str(self.bin_dir / "hdfs"), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        if check and done.returncode != 0:
            raise ServerFailed(
                f"hdfs {' '.join(arguments)}: status {done.returncode}\n{done.stderr}"
            )
        return done

    def safemode(self, action: Literal["enter", "leave"]) -> None:
        """Refuse every change from now on, or accept changes again."""
        self.command("dfsadmin", "-safemode", action)

    def start_namenode(self) -> None:
        """Start the NameNode after `kill_namenode`; return when a file can be written."""
        self._run_namenode()
        self._wait()

    def kill_namenode(self) -> None:
        """End the NameNode at once (SIGKILL). What it has acknowledged is on disk."""
        self._nn.kill()

    def suspend_namenode(self) -> None:
        """Let the NameNode hang (SIGSTOP): it accepts connections and never answers."""
        self._nn.suspend()

    def resume_namenode(self) -> None:
        """Let the NameNode go on after `suspend_namenode`."""
        self._nn.resume()

    def start_datanode(self, number: int = 0) -> None:
        """Start a DataNode after `kill_datanode`; return when a file can be written."""
        self._run_datanode(number)
        self._wait()

    def kill_datanode(self, number: int = 0) -> None:
        """End a DataNode at once (SIGKILL). Blocks that were written stay on its disk.

        The NameNode goes on naming it to readers and writers for some 10 minutes.
        """
        self._killed.add(number)
        self._dn(number).kill()

    def suspend_datanode(self, number: int = 0) -> None:
        """Let a DataNode hang (SIGSTOP)."""
        self._dn(number).suspend()

    def resume_datanode(self, number: int = 0) -> None:
        """Let a DataNode go on after `suspend_datanode`."""
        self._dn(number).resume()

    # How

    def _prepare(self) -> None:
        java()
        jars("hdfs")

    @property
    def _port_count(self) -> int:
        return HdfsPorts.count(len(self._datanodes))

    def _start(self) -> None:
        core, site = dict(self._core), dict(self._settings)
        if self._security is not None:
            secure_core, secure_site = self._security.settings(self.directory)
            core, site = {**secure_core, **core}, {**secure_site, **site}
        hdfs_files.write(
            self._named_ports,
            self.directory,
            java=java(),
            lib=jars("hdfs"),
            core={"fs.defaultFS": self.uri, **core},
            extra=site,
            jvm_options=self._jvm_options,
        )
        if not (self.directory / "name" / "current").exists():
            self._format()
        self._run_namenode()
        for number in range(len(self._datanodes)):
            self._run_datanode(number)
        self._wait()

    @property
    def _jvm_options(self) -> tuple[str, ...]:
        if self._security is None:
            return HADOOP_JVM_OPTIONS
        return (*HADOOP_JVM_OPTIONS, f"-Djava.security.krb5.conf={self._security.krb5_conf}")

    def _end(self) -> None:
        # The DataNodes first: they would only complain about the NameNode's end.
        for each in (*self._datanodes, self._namenode):
            if each is not None:
                each.stop()

    def _format(self, *options: str, how: str = "-format", more: Sequence[str] = ()) -> None:
        log_path = self.directory / "format.log"
        arguments = self._daemon(_NAMENODE, *options, how, *more, "-nonInteractive")
        with log_path.open("wb") as log:
            done = subprocess.run(
                arguments,
                env=server_environment(),  # HADOOP_USER_NAME would come to own the root directory.
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            tail = log_path.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise ServerFailed(
                f"namenode {how}: status {done.returncode}\n\nhint: {log_path}:\n{tail}"
            )

    def _run_namenode(self) -> None:
        self._namenode = self._run(self._namenode, "namenode", self.log_path, _NAMENODE)

    def _run_datanode(self, number: int) -> None:
        self._killed.discard(number)
        own = hdfs_files.datanode_site(self._named_ports.datanodes[number], self.directory, number)
        self._datanodes[number] = self._run(
            self._datanodes[number],
            hdfs_files.datanode_name(number),
            self.datanode_log_path(number),
            _DATANODE,
            # The first one's are in hdfs-site.xml.
            *(f"-D{name}={value}" for name, value in own.items() if number),
        )

    def _run(
        self,
        current: ServerProcess | None,
        name: str,
        log_path: Path,
        java_class: str,
        *arguments: str,
    ) -> ServerProcess:
        if current is not None and current.is_alive:
            raise ServerFailed(f"{name} is running already (process {current.pid})")
        process = ServerProcess(name, log_path, detached=self._detached)
        process.start(self._daemon(java_class, *arguments))
        return process

    def _daemon(self, java_class: str, *arguments: str) -> list[str]:
        home = self.directory
        return [
            *(str(java()), *self._jvm_options, "-Xmx384m"),
            # The web servers unpack themselves into the second, and leave that at a SIGKILL.
            *(f"-Dhadoop.log.dir={home}", f"-Djava.io.tmpdir={home}/scratch"),
            *("-cp", f"{home}/conf:{home}/web:{jars('hdfs')}/*"),
            *(java_class, *arguments),
        ]

    def _wait(self) -> None:
        """Wait for all that run: after the restart of one, the others may have to find it again."""
        ports = self._named_ports
        running = [
            (self._dn(number), own)
            for number, own in enumerate(ports.datanodes)
            if number not in self._killed
        ]

        def is_writable_unless_a_datanode_died() -> bool:
            for process, _ in running:
                process.check()
            return is_writable(self.endpoint, datanodes=max(1, len(running)))

        self._nn.wait_until(
            is_writable_unless_a_datanode_died, port=ports.namenode_rpc, timeout_s=START_TIMEOUT_S
        )
        # The NameNode counts a killed DataNode as live for some 10 minutes, so each is checked.
        # Only now: checked before it has registered, it fills its log with stack traces.
        for process, own in running:
            endpoint = f"http://127.0.0.1:{own.http}"
            process.wait_until(
                partial(is_registered, endpoint), port=own.transfer, timeout_s=START_TIMEOUT_S
            )

    @property
    def _named_ports(self) -> HdfsPorts:
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        return HdfsPorts.of(self._ports)

    @property
    def _nn(self) -> ServerProcess:
        return _started(self._namenode, "namenode")

    def _dn(self, number: int) -> ServerProcess:
        return _started(self._datanodes[number], hdfs_files.datanode_name(number))


def _started(process: ServerProcess | None, name: str) -> ServerProcess:
    if process is None:
        raise ServerFailed(f"{name} was not started")
    return process
