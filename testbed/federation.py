"""Two HDFS under one name: a Router before them, and a viewfs mount table for clients.

The Router keeps its mount table in files; there is no ZooKeeper. Either NameNode and the Router can
be killed on its own. Both ways to the same directories::

    hdfs://ns0/d       Router /data          viewfs://bed/data
    hdfs://ns0/m       Router /mixed         viewfs://bed/mixed
    hdfs://ns1/o       Router /mixed/other   viewfs://bed/mixed/other
    hdfs://ns1/in      Router /deep/in       viewfs://bed/deep/in
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

from hdfs_native import Client

from backhaul.testing.servers import hdfs_files
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.hdfs import _NAMENODE, START_TIMEOUT_S, Hdfs, _started
from backhaul.testing.servers.hdfs_files import HdfsPorts, site_xml
from backhaul.testing.servers.hdfs_state import is_answering, is_writable
from backhaul.testing.servers.jars import jars, java
from backhaul.testing.servers.process import ServerProcess, server_environment

MOUNT_TABLE = "bed"
MOUNTS = (
    ("/data", 0, "/d"),
    ("/mixed", 0, "/m"),
    ("/mixed/other", 1, "/o"),
    ("/deep/in", 1, "/in"),
)
_ROUTER = "org.apache.hadoop.hdfs.server.federation.router.DFSRouter"
_ADMIN = "org.apache.hadoop.hdfs.tools.federation.RouterAdmin"
_STORE = "org.apache.hadoop.hdfs.server.federation.store.driver.impl.StateStoreFileImpl"
_POM = Path(__file__).with_name("router.pom.xml")
_SETTLE_S = 30.0


@dataclass(frozen=True)
class FederationPorts(HdfsPorts):
    """And those of the second NameNode and of the Router."""

    second_rpc: int
    second_http: int
    router_rpc: int
    router_admin: int
    router_http: int


def site(ports: FederationPorts, directory: Path) -> dict[str, str]:
    """Settings of hdfs-site.xml for both NameNodes, the DataNode and the Router."""
    router = {
        "store.driver.class": _STORE,
        "store.driver.file.directory": f"{directory}/store",
        "monitor.namenode": "ns0,ns1",
        "monitor.localnamenode.enable": "false",
        "safemode.enable": "false",
        "heartbeat.interval": "1000",
        "cache.ttl": "1000",
        "default.nameserviceId": "ns0",
        "default.nameservice.enable": "false",
        "rpc-address": f"127.0.0.1:{ports.router_rpc}",
        "rpc-bind-host": "127.0.0.1",
        "admin-address": f"127.0.0.1:{ports.router_admin}",
        "admin-bind-host": "127.0.0.1",
        "http-address": f"127.0.0.1:{ports.router_http}",
        "http-bind-host": "127.0.0.1",
        "https-address": "127.0.0.1:0",
    }
    found = {f"dfs.federation.router.{name}": value for name, value in router.items()}
    found["dfs.nameservices"] = "ns0,ns1"
    for name, rpc, http in (
        ("ns0", ports.namenode_rpc, ports.namenode_http),
        ("ns1", ports.second_rpc, ports.second_http),
    ):
        found[f"dfs.namenode.rpc-address.{name}"] = f"127.0.0.1:{rpc}"
        found[f"dfs.namenode.http-address.{name}"] = f"127.0.0.1:{http}"
        found[f"dfs.namenode.name.dir.{name}"] = f"file://{directory}/name-{name}"
    return found


class Federation(Hdfs):
    """Two NameNodes, one DataNode for both, a Router; replication 1, no Kerberos.

    `conf_dir` is a client's: its default file system is ``viewfs://bed``.
    """

    name = "federation"

    def __init__(self, directory: Path | None = None, *, detached: bool = False) -> None:
        """See `Hdfs`."""
        super().__init__(directory, detached=detached)
        self._second: ServerProcess | None = None
        self._router: ServerProcess | None = None

    @property
    def uri(self) -> str:
        """The Router's, for clients, such as ``hdfs://127.0.0.1:24680``."""
        return f"hdfs://127.0.0.1:{self._named_ports.router_rpc}"

    @property
    def namenode_uris(self) -> tuple[str, str]:
        """Of ns0 and ns1, past the Router."""
        ports = self._named_ports
        return f"hdfs://127.0.0.1:{ports.namenode_rpc}", f"hdfs://127.0.0.1:{ports.second_rpc}"

    @property
    def conf_dir(self) -> Path:
        """For HADOOP_CONF_DIR of clients; the daemons have another one."""
        return self.directory / "client"

    @property
    def is_alive(self) -> bool:
        """Whether a daemon is running; a suspended one counts."""
        return any(each is not None and each.is_alive for each in self._ours)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of ``ns0``, ``ns1``, ``datanode`` and ``router``."""
        return {each.name: each.pid for each in self._ours if each is not None}

    # What can be done to it

    def kill_router(self) -> None:
        """End the Router at once (SIGKILL); the NameNodes go on."""
        _started(self._router, "router").kill()

    def suspend_router(self) -> None:
        """Let the Router hang (SIGSTOP): it accepts connections and never answers."""
        _started(self._router, "router").suspend()

    def resume_router(self) -> None:
        """Let the Router go on after `suspend_router`."""
        _started(self._router, "router").resume()

    def start_router(self) -> None:
        """Start the Router after `kill_router`; return when it finds every mount."""
        self._run_router()

    # How

    @property
    def _ours(self) -> tuple[ServerProcess | None, ...]:
        return (*self._datanodes, self._router, self._namenode, self._second)

    @property
    def _named_ports(self) -> FederationPorts:
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        rest = HdfsPorts.count(1)
        common = HdfsPorts.of(self._ports[:rest])
        return FederationPorts(
            common.namenode_rpc, common.namenode_http, common.datanodes, *self._ports[rest:]
        )

    @property
    def _port_count(self) -> int:
        return HdfsPorts.count(1) + len(fields(FederationPorts)) - len(fields(HdfsPorts))

    def _prepare(self) -> None:
        super()._prepare()
        jars("router", _POM)

    def _daemon(self, java_class: str, *arguments: str) -> list[str]:
        found = super()._daemon(java_class, *arguments)
        path = found.index("-cp") + 1
        found[path] += f":{jars('router', _POM)}/*"
        return found

    def _start(self) -> None:
        ports = self._named_ports
        hdfs_files.write(
            ports,
            self.directory,
            java=java(),
            lib=jars("hdfs"),
            core={"fs.defaultFS": self.namenode_uris[0]},
            extra=site(ports, self.directory),
            jvm_options=self._jvm_options,
        )
        (self.directory / "web" / "webapps" / "router").mkdir(exist_ok=True)
        self._write_client()
        if not (self.directory / "name-ns0" / "current").exists():
            for name in ("ns0", "ns1"):
                # A DataNode takes two NameNodes of one cluster alone.
                self._format(_id(name), more=("-clusterid", MOUNT_TABLE))
        self._run_namenode()
        self._run_second()
        self._run_datanode(0)
        self._wait()
        self._await_second()
        for _, number, target in MOUNTS:
            Client(self.namenode_uris[number]).mkdirs(target, create_parent=True)
        self._run_router()

    def _write_client(self) -> None:
        links = {
            f"fs.viewfs.mounttable.{MOUNT_TABLE}.link.{name}": f"{self.namenode_uris[number]}{path}"
            for name, number, path in MOUNTS
        }
        self.conf_dir.mkdir(exist_ok=True)
        core = {"fs.defaultFS": f"viewfs://{MOUNT_TABLE}", **links}
        (self.conf_dir / "core-site.xml").write_text(site_xml(core), encoding="utf-8")
        replication = {"dfs.replication": "1"}
        (self.conf_dir / "hdfs-site.xml").write_text(site_xml(replication), encoding="utf-8")

    def _run_namenode(self) -> None:
        self._namenode = self._run(self._namenode, "ns0", self.log_path, _NAMENODE, _id("ns0"))

    def _run_second(self) -> None:
        log = self.directory / "namenode-2.log"
        self._second = self._run(self._second, "ns1", log, _NAMENODE, _id("ns1"))

    def _await_second(self) -> None:
        ports = self._named_ports
        if self._second is not None:
            self._second.wait_until(
                lambda: is_writable(f"http://127.0.0.1:{ports.second_http}"),
                port=ports.second_rpc,
                timeout_s=START_TIMEOUT_S,
            )

    def _run_router(self) -> None:
        ports = self._named_ports
        is_new = not (self.directory / "store" / "MountTable").is_dir()
        log = self.directory / "router.log"
        self._router = self._run(self._router, "router", log, _ROUTER)
        self._router.wait_until(
            lambda: is_answering(f"http://127.0.0.1:{ports.router_http}"),
            port=ports.router_rpc,
            timeout_s=START_TIMEOUT_S,
        )
        if is_new or not list((self.directory / "store" / "MountTable").iterdir()):
            self._add_mounts()
        self._router.wait_until(self._has_mounts, port=ports.router_rpc, timeout_s=_SETTLE_S)

    def _has_mounts(self) -> bool:
        client = Client(self.uri)
        try:
            for name, _, _ in MOUNTS:
                client.mkdirs(f"{name}/.ready", create_parent=True)
                client.delete(f"{name}/.ready", recursive=True)
        except (OSError, RuntimeError):
            return False
        return True

    def _add_mounts(self) -> None:
        words: list[str] = []
        for name, number, path in MOUNTS:
            words += [",", name, f"ns{number}", path]
        done = subprocess.run(
            self._daemon(_ADMIN, "-addAll", *words[1:]),
            env=server_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"mounts of the Router:\n{done.stdout}{done.stderr}")

    def _end(self) -> None:
        for each in self._ours:
            if each is not None:
                each.stop()


def _id(name: str) -> str:
    # Both are on one address: neither could find out which of the two it is.
    return f"-Ddfs.nameservice.id={name}"
