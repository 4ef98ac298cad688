"""HDFS with two NameNodes, of which one is active: for failovers, by hand.

A JournalNode keeps the edits for both. Nothing watches them (no ZKFC): the user of the pair decides
when the other one takes over, as an operator does with `hdfs haadmin`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from backhaul.testing.servers import hdfs_files
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.hdfs import _NAMENODE, START_TIMEOUT_S, Hdfs
from backhaul.testing.servers.hdfs_files import HdfsPorts
from backhaul.testing.servers.hdfs_state import is_answering, is_writable
from backhaul.testing.servers.jars import jars, java
from backhaul.testing.servers.process import ServerProcess

NAMESERVICE = "bed"
Name = Literal["nn1", "nn2"]
_JOURNALNODE = "org.apache.hadoop.hdfs.qjournal.server.JournalNode"
_PROXY = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"


@dataclass(frozen=True)
class PairPorts(HdfsPorts):
    """And those of the second NameNode and of the JournalNode."""

    second_rpc: int
    second_http: int
    journal_rpc: int
    journal_http: int


def site(ports: PairPorts, directory: Path) -> dict[str, str]:
    """Settings of hdfs-site.xml that make it a pair."""
    ha = {
        "dfs.nameservices": NAMESERVICE,
        f"dfs.ha.namenodes.{NAMESERVICE}": "nn1,nn2",
        "dfs.namenode.shared.edits.dir": f"qjournal://127.0.0.1:{ports.journal_rpc}/{NAMESERVICE}",
        "dfs.journalnode.edits.dir": f"{directory}/journal",
        "dfs.journalnode.rpc-address": f"127.0.0.1:{ports.journal_rpc}",
        "dfs.journalnode.rpc-bind-host": "127.0.0.1",
        "dfs.journalnode.http-address": f"127.0.0.1:{ports.journal_http}",
        "dfs.journalnode.http-bind-host": "127.0.0.1",
        f"dfs.client.failover.proxy.provider.{NAMESERVICE}": _PROXY,
        "dfs.ha.fencing.methods": "shell(/bin/true)",
        "dfs.ha.automatic-failover.enabled": "false",
        "dfs.ha.tail-edits.in-progress": "true",
        "dfs.ha.tail-edits.period": "1s",
    }
    for name, rpc, http in (
        ("nn1", ports.namenode_rpc, ports.namenode_http),
        ("nn2", ports.second_rpc, ports.second_http),
    ):
        ha[f"dfs.namenode.rpc-address.{NAMESERVICE}.{name}"] = f"127.0.0.1:{rpc}"
        ha[f"dfs.namenode.http-address.{NAMESERVICE}.{name}"] = f"127.0.0.1:{http}"
        ha[f"dfs.namenode.name.dir.{NAMESERVICE}.{name}"] = f"file://{directory}/name-{name}"
    return ha


class HdfsPair(Hdfs):
    """Two NameNodes, a JournalNode, a DataNode; replication 1, no Kerberos.

    Clients need `conf_dir`: the name service is not an address. After `start` nn1 is active.
    """

    name = "hdfs-pair"

    def __init__(self, directory: Path | None = None, *, detached: bool = False) -> None:
        """See `Hdfs`."""
        super().__init__(directory, detached=detached)
        self._second: ServerProcess | None = None
        self._journal: ServerProcess | None = None
        self.active: Name = "nn1"

    @property
    def uri(self) -> str:
        """For clients, ``hdfs://bed``."""
        return f"hdfs://{NAMESERVICE}"

    @property
    def endpoint(self) -> str:
        """The web address of the active NameNode."""
        return self._http(self.active)

    @property
    def standby(self) -> Name:
        """The one that is not active."""
        return "nn2" if self.active == "nn1" else "nn1"

    @property
    def is_alive(self) -> bool:
        """Whether a daemon is running; a suspended one counts."""
        ours = (self._namenode, self._second, *self._datanodes, self._journal)
        return any(each is not None and each.is_alive for each in ours)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of ``nn1``, ``nn2``, ``datanode`` and ``journalnode``."""
        ours = (self._namenode, self._second, *self._datanodes, self._journal)
        return {each.name: each.pid for each in ours if each is not None}

    # What can be done to it

    def fail_over(self) -> None:
        """The standby takes over, whether the active one lives or not."""
        self.command("haadmin", "-failover", self.active, self.standby)
        self.active = self.standby
        self._of(self.active).wait_until(
            lambda: is_writable(self.endpoint), port=self._rpc(self.active), timeout_s=60
        )

    def kill_active(self) -> None:
        """End the active NameNode at once (SIGKILL)."""
        self._of(self.active).kill()

    def start_standby(self) -> None:
        """Start the one that was killed, as the standby."""
        self._start_one(self.standby)

    # How

    @property
    def _named_ports(self) -> PairPorts:
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        rest = HdfsPorts.count(1)
        common = HdfsPorts.of(self._ports[:rest])
        return PairPorts(
            common.namenode_rpc, common.namenode_http, common.datanodes, *self._ports[rest:]
        )

    @property
    def _port_count(self) -> int:
        return HdfsPorts.count(1) + len(fields(PairPorts)) - len(fields(HdfsPorts))

    def _http(self, name: Name) -> str:
        ports = self._named_ports
        return f"http://127.0.0.1:{ports.namenode_http if name == 'nn1' else ports.second_http}"

    def _rpc(self, name: Name) -> int:
        ports = self._named_ports
        return ports.namenode_rpc if name == "nn1" else ports.second_rpc

    def _of(self, name: Name) -> ServerProcess:
        process = self._namenode if name == "nn1" else self._second
        if process is None:
            raise ServerFailed(f"{name} was not started")
        return process

    def _start(self) -> None:
        self.active = "nn1"
        hdfs_files.write(
            self._named_ports,
            self.directory,
            java=java(),
            lib=jars("hdfs"),
            core={"fs.defaultFS": self.uri},
            extra={**site(self._named_ports, self.directory), **self._settings},
            jvm_options=self._jvm_options,
        )
        is_new = not (self.directory / "name-nn1" / "current").exists()
        log = self.directory / "journalnode.log"
        self._journal = self._run(self._journal, "journalnode", log, _JOURNALNODE)
        ports = self._named_ports
        self._journal.wait_until(
            lambda: is_answering(f"http://127.0.0.1:{ports.journal_http}"),
            port=ports.journal_rpc,
            timeout_s=START_TIMEOUT_S,
        )
        if is_new:
            self._format(_id("nn1"))
        self._start_one("nn1")
        if is_new:
            self._format(_id("nn2"), how="-bootstrapStandby")
        self._start_one("nn2")
        self._run_datanode(0)
        self.command("haadmin", "-transitionToActive", "nn1")
        self._wait()

    def _start_one(self, name: Name) -> None:
        log = self.log_path if name == "nn1" else self.directory / "namenode-2.log"
        current = self._namenode if name == "nn1" else self._second
        process = self._run(current, name, log, _NAMENODE, _id(name))
        if name == "nn1":
            self._namenode = process
        else:
            self._second = process
        process.wait_until(
            lambda: is_answering(self._http(name)), port=self._rpc(name), timeout_s=START_TIMEOUT_S
        )

    def _end(self) -> None:
        for each in (*self._datanodes, self._namenode, self._second, self._journal):
            if each is not None:
                each.stop()


def _id(name: Name) -> str:
    # Both are on one address: neither could find out which of the two it is.
    return f"-Ddfs.ha.namenode.id={name}"
