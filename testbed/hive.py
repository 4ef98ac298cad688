"""HiveServer2 with a metastore of its own in an embedded Derby, and a beeline that knows neither.

One process. It keeps tables and their partitions and reads text files; what needs an engine
(`count(*)`, `INSERT`) fails. Locations are full addresses, `hdfs://127.0.0.1:PORT/…` or `file:/…`,
so that it needs no configuration of a cluster. The user who runs it is who reads the files.

Not as a cluster has it: beeline is 3.1.3 and the server 4.0.1, nobody has to log in, nothing is
authorized.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
from contextlib import closing
from pathlib import Path

from backhaul.testing.servers.base import HttpServer
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.hdfs_files import site_xml
from backhaul.testing.servers.jars import JVM_OPTIONS, java
from backhaul.testing.servers.jars import jars as jars_of
from backhaul.testing.servers.process import ServerProcess, server_environment

# 9 s on an idle machine of two cores; 20 s were seen under load.
START_TIMEOUT_S = 180.0
_COMMAND_TIMEOUT_S = 400  # hundreds of statements on a busy machine
_POM = Path(__file__).with_name("hive.pom.xml")
_SERVER = "org.apache.hive.service.server.HiveServer2"
_BEELINE = "org.apache.hive.beeline.BeeLine"
_OPENED = (
    *("java.lang", "java.util", "java.net", "java.io", "java.nio", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "java.util.regex", "java.time", "sun.nio.ch"),
)
_JVM_OPTIONS = (*JVM_OPTIONS, *(f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in _OPENED))
_CONNECT_S = 2.0
_CLEANER = "org.apache.hadoop.hive.metastore.events.EventCleanerTask"


def answers(endpoint: str) -> bool:
    """Whether something listens at this JDBC address; a suspended server does, too."""
    host, _, port = endpoint.removeprefix("jdbc:hive2://").partition("/")[0].partition(":")
    try:
        with closing(socket.create_connection((host, int(port)), _CONNECT_S)):
            return True
    except OSError:
        return False


def prepare_hive() -> None:
    """Fetch its jars: 190 MB beside those of HDFS.

    Raises:
        ServerUnavailable: Java or Maven is missing, or Maven could not fetch.
    """
    java()
    jars_of("hdfs")
    for profile in ("beeline", "hive"):
        jars_of(profile, _POM)


def _site(directory: Path, port: int) -> dict[str, str]:
    """hive-site.xml: one process, one port, loopback, nothing in the background."""
    return {
        "fs.defaultFS": "file:///",
        "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={directory}/derby;create=true",
        "datanucleus.schema.autoCreateAll": "true",
        "hive.metastore.schema.verification": "false",
        "hive.metastore.uris": "",
        "hive.metastore.warehouse.dir": f"file://{directory}/warehouse",
        "hive.metastore.warehouse.external.dir": f"file://{directory}/external",
        "hive.metastore.event.db.notification.api.auth": "false",
        "hive.metastore.housekeeping.threads.on": "false",
        # Its default names classes that are not there.
        "metastore.task.threads.always": _CLEANER,
        "metastore.task.threads.remote": _CLEANER,
        "hive.compactor.initiator.on": "false",
        "hive.server2.thrift.bind.host": "127.0.0.1",
        "hive.server2.thrift.port": str(port),
        "hive.server2.webui.port": "-1",
        "hive.server2.authentication": "NOSASL",
        "hive.server2.enable.doAs": "false",
        "hive.server2.logging.operation.enabled": "false",
        "hive.server2.materializedviews.registry.impl": "DUMMY",
        "hive.server2.tez.initialize.default.sessions": "false",
        "hive.scheduled.queries.executor.enabled": "false",
        "hive.execution.engine": "mr",
        "hive.support.concurrency": "false",
        "hive.txn.manager": "org.apache.hadoop.hive.ql.lockmgr.DummyTxnManager",
        "hive.stats.autogather": "false",
        "hive.exec.scratchdir": f"file://{directory}/scratch",
        "hive.exec.local.scratchdir": f"{directory}/local",
        "hive.downloaded.resources.dir": f"{directory}/resources",
        "hive.querylog.location": f"{directory}/querylog",
    }


class Hive(HttpServer):
    """HiveServer2 4.0.1. Its tables are gone with its directory."""

    name = "hive"

    @property
    def endpoint(self) -> str:
        """For `beeline -u`."""
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        return f"jdbc:hive2://127.0.0.1:{self._ports[0]}/;auth=noSasl"

    @property
    def beeline(self) -> Path:
        """The program; it needs nothing of the environment."""
        return self.directory / "bin" / "beeline"

    def execute(self, script: str) -> str:
        """Run statements through beeline, which ends each with `;`; 3 s for its start alone.

        Returns:
            Rows, a line each, columns with a tab between.

        Raises:
            ServerFailed: A statement failed; the text has the server's words.
        """
        done = subprocess.run(
            [
                *(str(self.beeline), "-u", self.endpoint, "--silent=true"),
                *("--showHeader=false", "--outputformat=tsv2", "-f", "/dev/stdin"),
            ],
            env={**server_environment(), "LC_ALL": "C.UTF-8"},
            input=script,
            capture_output=True,
            encoding="utf-8",
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        # Its status is 0 even when it could not connect.
        if done.returncode != 0 or "Error: " in done.stderr:
            raise ServerFailed(f"beeline: status {done.returncode}\n{done.stderr}")
        return done.stdout

    def _prepare(self) -> None:
        prepare_hive()

    def _start(self) -> None:
        (port,) = self._ports
        conf, scratch = self.directory / "conf", self.directory / "scratch"
        for each in (conf, scratch, self.beeline.parent):
            each.mkdir(exist_ok=True)
        (conf / "hive-site.xml").write_text(site_xml(_site(self.directory, port)), encoding="utf-8")
        server = f"{jars_of('hive', _POM)}/*:{jars_of('hdfs')}/*"
        options = [str(java()), *_JVM_OPTIONS]
        self._write_beeline([*options, "-Xmx256m", "-cp", f"{jars_of('beeline', _POM)}/*:{server}"])
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [
                *(*options, "-Xmx512m", f"-Djava.io.tmpdir={scratch}"),
                f"-Dderby.stream.error.file={self.directory}/derby.log",
                *("-cp", f"{conf}:{server}", _SERVER),
            ]
        )
        self._process.wait_until(lambda: True, port=port, timeout_s=START_TIMEOUT_S)

    def _write_beeline(self, options: list[str]) -> None:
        command = " ".join(map(shlex.quote, [*options, _BEELINE]))
        self.beeline.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        self.beeline.chmod(0o755)
