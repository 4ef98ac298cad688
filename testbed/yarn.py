"""YARN: a ResourceManager and a NodeManager with MapReduce, DistCp and S3A, on an HDFS of the bed.

Application masters listen on every address of the machine, so this runs only inside a network
namespace of its own: see `netns`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from typing import Any

from backhaul.testing.servers.base import HttpServer, Server, fetch
from backhaul.testing.servers.errors import ServerFailed, ServerUnavailable
from backhaul.testing.servers.hdfs import Hdfs
from backhaul.testing.servers.hdfs_files import HADOOP_JVM_OPTIONS
from backhaul.testing.servers.jars import jars, java
from backhaul.testing.servers.process import ServerProcess, server_environment
from testbed import hdfs_kerberos, netns, yarn_files, yarn_kerberos
from testbed.kdc import Kdc
from testbed.yarn_files import YarnPorts

START_TIMEOUT_S = 120.0
_MANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
_HISTORY = "org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer"
_NODE = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"


def answers(endpoint: str) -> bool:
    """Whether the ResourceManager at this web address has a node that runs containers.

    Where it answers only those with a ticket, that it is there: a job waits for a node by itself.
    """
    answer = fetch(f"{endpoint}/ws/v1/cluster/metrics")
    if answer is None or answer[0] != HTTPStatus.OK:
        return answer is not None and answer[0] == HTTPStatus.UNAUTHORIZED
    return bool(json.loads(answer[1])["clusterMetrics"]["activeNodes"])


class Yarn(Server):
    """One ResourceManager that remembers its applications, one NodeManager with 4 GiB.

    Its `conf_dir` and `bin_dir` know HDFS, YARN and the S3 server; give them to an agent.
    """

    name = "yarn"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        hdfs: Hdfs,
        s3: HttpServer,
        settings: Mapping[str, str] | None = None,
        is_pair: bool = False,
        kdc: Kdc | None = None,
        detached: bool = False,
    ) -> None:
        """Describe the cluster; nothing is started or written.

        Args:
            directory: See `Server`.
            hdfs: Where its jobs stage themselves; must run before this is started.
            s3: What S3A talks to; likewise.
            settings: Further settings of yarn-site.xml.
            is_pair: A second ResourceManager is on standby: see `fail_over`.
            kdc: The realm of an `hdfs` with Kerberos; then YARN demands it, too, of its REST API
                as well.
            detached: See `Server`.
        """
        super().__init__(directory, detached=detached)
        self._hdfs = hdfs
        self._s3 = s3
        self._settings = dict(settings or {})
        self._is_pair = is_pair
        self._kdc = kdc
        self._active = 0
        self._manager: ServerProcess | None = None
        self._standby: ServerProcess | None = None
        self._node: ServerProcess | None = None
        self._history: ServerProcess | None = None

    @property
    def endpoint(self) -> str:
        """The active ResourceManager's web address and REST API."""
        return f"http://127.0.0.1:{self._manager_http}"

    @property
    def conf_dir(self) -> Path:
        """For HADOOP_CONF_DIR: core-, hdfs-, yarn- and mapred-site.xml."""
        return self.directory / "conf"

    @property
    def bin_dir(self) -> Path:
        """For PATH: `hadoop`, `hdfs`, `yarn` and `mapred`."""
        return self.directory / "bin"

    @property
    def log_path(self) -> Path:
        """The ResourceManager's log."""
        return self.directory / "resourcemanager.log"

    @property
    def is_alive(self) -> bool:
        """Whether a daemon is running; a suspended one counts."""
        return any(each is not None and each.is_alive for each in (self._manager, self._node))

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of ``resourcemanager`` and ``nodemanager``."""
        found = (each for each in (self._manager, self._node) if each is not None)
        return {each.name: each.pid for each in found}

    def applications(self, tag: str | None = None) -> list[dict[str, Any]]:
        """All applications by the ResourceManager's REST API, or those with this tag."""
        query = f"?applicationTags={tag}" if tag else ""
        answer = fetch(f"{self.endpoint}/ws/v1/cluster/apps{query}")
        if answer is None:
            raise ServerFailed("the ResourceManager does not answer")
        found: list[dict[str, Any]] = (json.loads(answer[1])["apps"] or {}).get("app", [])
        return found

    def suspend_node(self) -> None:
        """Let the only node hang (SIGSTOP): the cluster has no room from now on."""
        if self._node is not None:
            self._node.suspend()

    def resume_node(self) -> None:
        """Let the node go on after `suspend_node`."""
        if self._node is not None:
            self._node.resume()

    def kill_manager(self) -> None:
        """End the ResourceManager at once; what it has accepted is on disk."""
        if self._manager is not None:
            self._manager.kill()

    def start_manager(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the ResourceManager after `kill_manager`; return when a node is back.

        Args:
            settings: For it alone, and until it is started again.
        """
        self._manager = self._run("resourcemanager", self.log_path, _MANAGER, settings)
        self._wait()

    def fail_over(self) -> None:
        """End the active of two ResourceManagers at once; the other takes over what it knew."""
        self.kill_manager()
        self._manager, self._standby = self._standby, None
        self._active = 1 - self._active
        self._activate()
        self._wait()

    def start_history(self) -> None:
        """Start MapReduce's history server, which nothing but a question for counters needs."""
        log_path = self.directory / "historyserver.log"
        self._history = self._run("historyserver", log_path, _HISTORY)
        endpoint = f"http://127.0.0.1:{self._named_ports.history_http}/ws/v1/history/info"

        def is_up() -> bool:
            answer = fetch(endpoint)
            return answer is not None and answer[0] == HTTPStatus.OK

        port = self._named_ports.history_http
        self._history.wait_until(is_up, port=port, timeout_s=START_TIMEOUT_S)

    def stop_history(self) -> None:
        """End the history server after `start_history`."""
        if self._history is not None:
            self._history.kill()

    # How

    def _prepare(self) -> None:
        if not netns.is_inside():
            raise ServerUnavailable(
                "YARN's application masters listen on every address: start this inside"
                " `python -m testbed.netns`, which needs root"
            )
        java()
        jars("yarn")

    @property
    def _port_count(self) -> int:
        return len(fields(YarnPorts))

    def _start(self) -> None:
        core = {
            "fs.defaultFS": self._hdfs.uri,
            "hadoop.tmp.dir": str(self.directory / "scratch"),
            **yarn_files.s3a_site(self._s3.endpoint, self._s3.access_key, self._s3.secret_key),
        }
        (self.directory / "scratch").mkdir(exist_ok=True)
        security: dict[str, str] = {}
        if self._kdc is not None:
            keytab = self._kdc.keytab(self.directory / "keytab", *yarn_kerberos.SERVICES)
            core |= hdfs_kerberos.core()
            core |= yarn_kerberos.web(keytab, self.directory / "web-secret")
            security = yarn_kerberos.site(keytab)
        yarn_files.write(
            self._named_ports,
            self.directory,
            core=core,
            hdfs_site=self._hdfs.conf_dir / "hdfs-site.xml",
            extra={**security, **self._settings},
            jvm_options=self._jvm_options,
            is_pair=self._is_pair,
        )
        if self._is_pair:
            self._manager, self._standby = (
                self._run(
                    f"resourcemanager-{one}",
                    self.directory / f"{one}.log",
                    _MANAGER,
                    {"yarn.resourcemanager.ha.id": one},
                )
                for one in yarn_files.MANAGERS
            )
            self._activate()
        else:
            self._manager = self._run("resourcemanager", self.log_path, _MANAGER)
        self._node = self._run("nodemanager", self.directory / "nodemanager.log", _NODE)
        self._wait()

    def _end(self) -> None:
        for each in (self._history, self._node, self._standby, self._manager):
            if each is not None:
                each.stop()
        if self._directory is not None:
            end_containers(self._directory)

    def _activate(self) -> None:
        """The test decides which one is active: there is no ZooKeeper."""
        one = yarn_files.MANAGERS[self._active]
        argv = [str(self.bin_dir / "yarn"), "rmadmin"]
        argv += ["-transitionToActive", "--forceactive", one]

        def is_active() -> bool:
            done = subprocess.run(
                argv,
                env=server_environment() | {"HADOOP_CONF_DIR": str(self.conf_dir)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=START_TIMEOUT_S,
                check=False,
            )
            return done.returncode == 0

        if self._manager is not None:
            self._manager.wait_until(is_active, port=self._manager_http, timeout_s=START_TIMEOUT_S)

    @property
    def _jvm_options(self) -> tuple[str, ...]:
        if self._kdc is None:
            return HADOOP_JVM_OPTIONS
        return (*HADOOP_JVM_OPTIONS, f"-Djava.security.krb5.conf={self._kdc.krb5_conf}")

    @property
    def _manager_http(self) -> int:
        ports = self._named_ports
        return (ports.manager_http, ports.second_http)[self._active]

    def _run(
        self,
        name: str,
        log_path: Path,
        java_class: str,
        settings: Mapping[str, str] | None = None,
    ) -> ServerProcess:
        process = ServerProcess(name, log_path, detached=self._detached)
        home = self.directory
        process.start(
            [
                *(str(java()), *self._jvm_options, "-Xmx384m"),
                *(f"-Dhadoop.log.dir={home}", f"-Djava.io.tmpdir={home}/scratch"),
                *("-cp", f"{home}/conf:{jars('yarn')}/*", java_class),
                *(f"-D{key}={value}" for key, value in (settings or {}).items()),
            ]
        )
        return process

    def _wait(self) -> None:
        if self._manager is None or self._node is None:
            raise ServerFailed("yarn was not started")
        node = self._node

        def has_node() -> bool:
            node.check()
            return answers(self.endpoint)

        self._manager.wait_until(has_node, port=self._manager_http, timeout_s=START_TIMEOUT_S)

    @property
    def _named_ports(self) -> YarnPorts:
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        return YarnPorts(*self._ports)


def end_containers(directory: Path) -> None:
    """Kill what a NodeManager left running: processes that work below a YARN's `directory`."""
    node = directory / "node"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(node):
                os.kill(int(entry.name), signal.SIGKILL)
