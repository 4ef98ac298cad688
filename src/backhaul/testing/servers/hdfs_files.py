"""The files that a small HDFS needs: configuration, empty web directories, the command shim."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from xml.sax.saxutils import escape

from backhaul.testing.servers.jars import JVM_OPTIONS

# The NameNode and the DataNode die without these on the class path; Maven's jars lack them.
_WEB_DIRECTORIES = ("hdfs", "datanode", "secondary", "journal")

# log4j 1 settings, which Hadoop's reload4j reads. Everything on stderr: stdout belongs to the
# answers of the commands.
LOG4J = """\
hadoop.root.logger=INFO,console
log4j.rootLogger=${hadoop.root.logger}
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
# "Unable to load native-hadoop library": true of every Hadoop made of Maven's jars.
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
"""

# Seconds for which a JMX page shows the same figures; Hadoop's default is ten.
METRICS = "*.period=1\n"

_SHIM = """\
#!/bin/sh
# hadoop and hdfs (one file, two names) for the test bed: a command word becomes a Java class.
# HADOOP_CONF_DIR chooses the cluster; default: the one that this file was written for.
conf=${{HADOOP_CONF_DIR:-{conf}}}
[ $# -gt 0 ] || set -- help
word=$1
shift
case "${{0##*/}} $word" in
    'hadoop fs' | 'hdfs dfs') class=org.apache.hadoop.fs.FsShell ;;
    'hdfs dfsadmin') class=org.apache.hadoop.hdfs.tools.DFSAdmin ;;
    'hdfs fsck') class=org.apache.hadoop.hdfs.tools.DFSck ;;
    'hdfs haadmin') class=org.apache.hadoop.hdfs.tools.DFSHAAdmin ;;
    'hdfs ec') class=org.apache.hadoop.hdfs.tools.ECAdmin ;;
    'hdfs crypto') class=org.apache.hadoop.hdfs.tools.CryptoAdmin ;;
    'hdfs getconf') class=org.apache.hadoop.hdfs.tools.GetConf ;;
    *' version') class=org.apache.hadoop.util.VersionInfo ;;
    *' classpath') echo "$conf:"{lib}'/*'; exit 0 ;;
    *)
        echo "${{0##*/}}: no command '$word' in this test bed; there are" \\
            "hadoop fs, hdfs dfs|dfsadmin|haadmin|fsck|ec|crypto|getconf, version and classpath" >&2
        exit 1
        ;;
esac
exec {java} {options} -Xmx256m -cp "$conf:"{lib}'/*' \\
    -Dhadoop.root.logger="${{HADOOP_ROOT_LOGGER:-WARN,console}}" $HADOOP_OPTS "$class" "$@"
"""

HADOOP_JVM_OPTIONS = (
    *JVM_OPTIONS,
    # Hadoop 3.4 reaches into the JDK.
    *("--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED"),
)


@dataclass(frozen=True)
class DataNodePorts:
    """Ports of one DataNode."""

    transfer: int
    http: int
    rpc: int
    # Behind `http`; without the setting it is a port of the ephemeral range.
    inner_http: int


@dataclass(frozen=True)
class HdfsPorts:
    """Ports of the daemons, all on 127.0.0.1."""

    namenode_rpc: int
    namenode_http: int
    datanodes: tuple[DataNodePorts, ...]

    @staticmethod
    def count(datanodes: int) -> int:
        """How many ports a cluster needs."""
        return 2 + datanodes * len(fields(DataNodePorts))

    @classmethod
    def of(cls, ports: Sequence[int]) -> HdfsPorts:
        """As many DataNodes as there are ports for."""
        step = len(fields(DataNodePorts))
        rpc, http, *rest = ports
        datanodes = (rest[at : at + step] for at in range(0, len(rest), step))
        return cls(rpc, http, tuple(DataNodePorts(*each) for each in datanodes))


def datanode_name(number: int) -> str:
    """Of the process, its log and its directory: ``datanode``, ``datanode-1`` and so on."""
    return f"datanode-{number}" if number else "datanode"


def datanode_site(ports: DataNodePorts, directory: Path, number: int) -> dict[str, str]:
    """Settings of one DataNode alone."""
    data = datanode_name(number).replace("datanode", "data")
    return {
        "dfs.datanode.address": f"127.0.0.1:{ports.transfer}",
        "dfs.datanode.http.address": f"127.0.0.1:{ports.http}",
        "dfs.datanode.ipc.address": f"127.0.0.1:{ports.rpc}",
        "dfs.datanode.http.internal-proxy.port": str(ports.inner_http),
        "dfs.datanode.data.dir": f"file://{directory}/{data}",
    }


def site(ports: HdfsPorts, directory: Path) -> dict[str, str]:
    """Settings of hdfs-site.xml that make it small, local and quick to start.

    Where there are several DataNodes these are the first one's; the others get their own.
    """
    return {
        "dfs.namenode.rpc-bind-host": "127.0.0.1",
        "dfs.namenode.http-address": f"127.0.0.1:{ports.namenode_http}",
        "dfs.namenode.http-bind-host": "127.0.0.1",
        "dfs.namenode.name.dir": f"file://{directory}/name",
        # No wait for more blocks to be reported once there are enough.
        "dfs.namenode.safemode.extension": "0",
        # No reverse look-up of 127.0.0.1, which not every machine can do.
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.datanode.hostname": "localhost",
        **datanode_site(ports.datanodes[0], directory, 0),
        # 3 by default; with 1 the DataNode finds a restarted NameNode 4 s sooner.
        "dfs.heartbeat.interval": "1",
        "dfs.replication": "1",
        "dfs.permissions.enabled": "true",
    }


def write(
    ports: HdfsPorts,
    directory: Path,
    *,
    java: Path,
    lib: Path,
    core: Mapping[str, str],
    extra: Mapping[str, str],
    jvm_options: Sequence[str],
) -> None:
    """Write conf/, web/ and bin/ below the directory; what is there is replaced.

    Args:
        ports: For the configuration.
        directory: The cluster's own; absolute.
        java: The program that the shim runs.
        lib: Directory of Hadoop's jars.
        core: Settings of core-site.xml, `fs.defaultFS` among them.
        extra: Settings for hdfs-site.xml; they win over the ones of `site`.
        jvm_options: For the shim.
    """
    conf, binaries = directory / "conf", directory / "bin"
    conf.mkdir(exist_ok=True)
    (directory / "scratch").mkdir(exist_ok=True)
    binaries.mkdir(exist_ok=True)
    for name in _WEB_DIRECTORIES:
        (directory / "web" / "webapps" / name).mkdir(parents=True, exist_ok=True)
    core = {"hadoop.tmp.dir": str(directory / "scratch"), **core}
    (conf / "core-site.xml").write_text(site_xml(core), encoding="utf-8")
    hdfs = {**site(ports, directory), **extra}
    (conf / "hdfs-site.xml").write_text(site_xml(hdfs), encoding="utf-8")
    (conf / "log4j.properties").write_text(LOG4J, encoding="utf-8")
    (conf / "hadoop-metrics2.properties").write_text(METRICS, encoding="utf-8")
    shim = _SHIM.format(
        conf=shlex.quote(str(conf)),
        lib=shlex.quote(str(lib)),
        java=shlex.quote(str(java)),
        options=" ".join(map(shlex.quote, jvm_options)),
    )
    for name in ("hadoop", "hdfs"):
        (binaries / name).write_text(shim, encoding="utf-8")
        (binaries / name).chmod(0o755)


def site_xml(settings: Mapping[str, str]) -> str:
    """The text of a `*-site.xml`."""
    lines = [
        f"  <property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in settings.items()
    ]
    return "\n".join(['<?xml version="1.0"?>', "<configuration>", *lines, "</configuration>", ""])
