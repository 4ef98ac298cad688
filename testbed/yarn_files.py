"""The files that a small YARN with MapReduce and S3A needs: configuration and command shims."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backhaul.testing.servers.hdfs_files import HADOOP_JVM_OPTIONS, LOG4J, site_xml
from backhaul.testing.servers.jars import jars, java

_SHIM = """\
#!/bin/sh
# hadoop, hdfs, yarn and mapred (one file, four names) for the test bed.
# HADOOP_CONF_DIR chooses the cluster; default: the one that this file was written for.
conf=${{HADOOP_CONF_DIR:-{conf}}}
[ $# -gt 0 ] || set -- help
word=$1
shift
case "${{0##*/}} $word" in
    'hadoop fs' | 'hdfs dfs') class=org.apache.hadoop.fs.FsShell ;;
    'hadoop distcp') class=org.apache.hadoop.tools.DistCp ;;
    'hadoop credential') class=org.apache.hadoop.security.alias.CredentialShell ;;
    'hdfs dfsadmin') class=org.apache.hadoop.hdfs.tools.DFSAdmin ;;
    'hdfs getconf') class=org.apache.hadoop.hdfs.tools.GetConf ;;
    'yarn application' | 'yarn app')
        class=org.apache.hadoop.yarn.client.cli.ApplicationCLI
        set -- application "$@" ;;
    'yarn rmadmin') class=org.apache.hadoop.yarn.client.cli.RMAdminCLI ;;
    'mapred job') class=org.apache.hadoop.mapred.JobClient ;;
    *' version') class=org.apache.hadoop.util.VersionInfo ;;
    *' classpath') echo "$conf:"{lib}'/*'; exit 0 ;;
    *)
        echo "${{0##*/}}: no command '$word' in this test bed" >&2
        exit 1
        ;;
esac
exec {java} {options} -Xmx384m -cp "$conf:"{lib}'/*' \\
    -Dhadoop.root.logger="${{HADOOP_ROOT_LOGGER:-WARN,console}}" $HADOOP_OPTS "$class" "$@"
"""

# Two queues: `default` has the cluster, `closed` takes no application.
_SCHEDULER = {
    "yarn.scheduler.capacity.maximum-applications": "100",
    "yarn.scheduler.capacity.maximum-am-resource-percent": "0.8",
    "yarn.scheduler.capacity.resource-calculator": (
        "org.apache.hadoop.yarn.util.resource.DefaultResourceCalculator"
    ),
    "yarn.scheduler.capacity.root.queues": "default,closed",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    "yarn.scheduler.capacity.root.closed.capacity": "0",
    "yarn.scheduler.capacity.root.closed.maximum-capacity": "0",
}


@dataclass(frozen=True)
class YarnPorts:
    """Ports of the two daemons, all on 127.0.0.1."""

    manager_http: int
    manager_rpc: int
    manager_scheduler: int
    manager_tracker: int
    manager_admin: int
    node_rpc: int
    node_localizer: int
    node_http: int
    shuffle: int
    history_http: int
    history_rpc: int
    history_admin: int
    second_http: int
    second_rpc: int
    second_scheduler: int
    second_tracker: int
    second_admin: int


MANAGERS = ("rm1", "rm2")


def managers(ports: YarnPorts, *, is_pair: bool) -> dict[str, str]:
    """Where the ResourceManager listens, or the two of which one is made active."""
    here = "127.0.0.1"
    first = (
        *(ports.manager_http, ports.manager_rpc, ports.manager_scheduler),
        *(ports.manager_tracker, ports.manager_admin),
    )
    second = (
        *(ports.second_http, ports.second_rpc, ports.second_scheduler),
        *(ports.second_tracker, ports.second_admin),
    )
    kinds = ("webapp.", "", "scheduler.", "resource-tracker.", "admin.")
    named = dict(zip([f".{one}" for one in MANAGERS], (first, second), strict=True))
    named = named if is_pair else {"": first}
    found = {}
    for suffix, its in named.items():
        found[f"yarn.resourcemanager.hostname{suffix}"] = here
        for kind, port in zip(kinds, its, strict=True):
            found[f"yarn.resourcemanager.{kind}address{suffix}"] = f"{here}:{port}"
    if is_pair:
        found |= {
            "yarn.resourcemanager.ha.enabled": "true",
            "yarn.resourcemanager.ha.rm-ids": ",".join(MANAGERS),
            "yarn.resourcemanager.ha.automatic-failover.enabled": "false",
            "yarn.resourcemanager.cluster-id": "bed",
        }
    return found


def yarn_site(ports: YarnPorts, directory: Path) -> dict[str, str]:
    """Settings of yarn-site.xml: one node, small containers, no checks that need a real machine."""
    here = "127.0.0.1"
    return {
        "yarn.resourcemanager.bind-host": here,
        # A killed ResourceManager knows its applications again.
        "yarn.resourcemanager.recovery.enabled": "true",
        "yarn.resourcemanager.store.class": (
            "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore"
        ),
        "yarn.resourcemanager.fs.state-store.uri": f"file://{directory}/state",
        "yarn.resourcemanager.connect.retry-interval.ms": "1000",
        "yarn.resourcemanager.connect.max-wait.ms": "20000",
        "yarn.nodemanager.bind-host": here,
        "yarn.nodemanager.hostname": here,
        "yarn.nodemanager.address": f"{here}:{ports.node_rpc}",
        "yarn.nodemanager.localizer.address": f"{here}:{ports.node_localizer}",
        "yarn.nodemanager.webapp.address": f"{here}:{ports.node_http}",
        "yarn.nodemanager.aux-services": "mapreduce_shuffle",
        "yarn.nodemanager.resource.memory-mb": "4096",
        "yarn.nodemanager.resource.cpu-vcores": "8",
        "yarn.nodemanager.local-dirs": f"{directory}/node",
        "yarn.nodemanager.log-dirs": f"{directory}/containers",
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.pmem-check-enabled": "false",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
        "yarn.nodemanager.delete.debug-delay-sec": "0",
        "yarn.scheduler.minimum-allocation-mb": "256",
        # Faster than a real cluster has any need to be: 3 s and 1 s by default.
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "200",
    }


def mapred_site(
    ports: YarnPorts, conf: Path, lib: Path, jvm_options: Sequence[str]
) -> dict[str, str]:
    """Settings of mapred-site.xml: class path from this machine's disk, small JVMs."""
    options = " ".join(jvm_options)
    return {
        "mapreduce.framework.name": "yarn",
        "mapreduce.application.classpath": f"{conf},{lib}/*",
        "mapreduce.shuffle.port": str(ports.shuffle),
        "yarn.app.mapreduce.am.staging-dir": "/stage",
        "yarn.app.mapreduce.am.resource.mb": "512",
        "yarn.app.mapreduce.am.command-opts": f"{options} -Xmx384m",
        "yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms": "200",
        "mapreduce.map.memory.mb": "512",
        "mapreduce.map.java.opts": f"{options} -Xmx384m",
        "mapreduce.job.ubertask.enable": "false",
        "mapreduce.jobhistory.webapp.address": f"127.0.0.1:{ports.history_http}",
        "mapreduce.jobhistory.address": f"127.0.0.1:{ports.history_rpc}",
        "mapreduce.jobhistory.admin.address": f"127.0.0.1:{ports.history_admin}",
        "mapreduce.jobhistory.bind-host": "127.0.0.1",
    }


def s3a_site(endpoint: str, access_key: str, secret_key: str) -> dict[str, str]:
    """Settings of core-site.xml by which S3A finds the S3 server."""
    return {
        "fs.s3a.endpoint": endpoint,
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.access.key": access_key,
        "fs.s3a.secret.key": secret_key,
        "fs.s3a.aws.credentials.provider": (
            "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
        ),
    }


def write(
    ports: YarnPorts,
    directory: Path,
    *,
    core: Mapping[str, str],
    hdfs_site: Path,
    extra: Mapping[str, str],
    jvm_options: Sequence[str] = HADOOP_JVM_OPTIONS,
    is_pair: bool = False,
) -> None:
    """Write conf/ and bin/ below the directory; what is there is replaced.

    Args:
        core: For core-site.xml.
        hdfs_site: The cluster's hdfs-site.xml, copied.
        extra: Settings for yarn-site.xml; they win over the ones of `yarn_site`.
        jvm_options: For the shim, and for masters and mappers.
        is_pair: There are two ResourceManagers.
    """
    conf, binaries, lib = directory / "conf", directory / "bin", jars("yarn")
    for each in (conf, binaries, directory / "state"):
        each.mkdir(exist_ok=True)
    sites = {
        "core": dict(core),
        "yarn": {
            **managers(ports, is_pair=is_pair),
            **yarn_site(ports, directory),
            **extra,
        },
        "mapred": mapred_site(ports, conf, lib, jvm_options),
    }
    for name, values in sites.items():
        (conf / f"{name}-site.xml").write_text(site_xml(values), encoding="utf-8")
    (conf / "hdfs-site.xml").write_bytes(hdfs_site.read_bytes())
    (conf / "capacity-scheduler.xml").write_text(site_xml(_SCHEDULER), encoding="utf-8")
    (conf / "log4j.properties").write_text(LOG4J, encoding="utf-8")
    shim = _SHIM.format(
        conf=shlex.quote(str(conf)),
        lib=shlex.quote(str(lib)),
        java=shlex.quote(str(java())),
        options=" ".join(map(shlex.quote, jvm_options)),
    )
    for name in ("hadoop", "hdfs", "yarn", "mapred"):
        (binaries / name).write_text(shim, encoding="utf-8")
        (binaries / name).chmod(0o755)
