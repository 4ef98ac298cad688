"""The peers that every Hadoop node has, with S3A, on the bed's jars.

`hadoop fs -cp -t`, and DistCp without a cluster: its maps run one by one in its own process.
"""

from __future__ import annotations

from dataclasses import fields

from backhaul.testing.servers.errors import ServerUnavailable
from benchmarks.measure import Run, measured
from benchmarks.servers import BUCKET, Servers, tell
from testbed import yarn_files
from testbed.yarn_files import YarnPorts

THREADS = 64


class HadoopFs:
    """A configuration and a `hadoop` command for the bed's S3 and HDFS; no daemon of its own."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        name = "hadoop-fs" if servers.is_synced else "hadoop-fs-unsynced"
        self._home = servers.directory / name
        self._home.mkdir(exist_ok=True)
        core = {
            "fs.defaultFS": servers.hdfs.uri,
            "hadoop.tmp.dir": str(self._home / "scratch"),
            **yarn_files.s3a_site(
                servers.s3.endpoint, servers.s3.access_key, servers.s3.secret_key
            ),
        }
        yarn_files.write(
            YarnPorts(*[0 for _ in fields(YarnPorts)]),
            self._home,
            core=core,
            hdfs_site=servers.hdfs.conf_dir / "hdfs-site.xml",
            extra={},
        )

    def copy(self, prefix: str, directory: str) -> Run:
        """One `hadoop fs -cp` of a prefix into a new HDFS directory, the whole process."""
        source = f"s3a://{BUCKET}/{prefix.rstrip('/')}"
        return self._run(
            "fs", "-cp", "-t", str(THREADS), source, self._servers.hdfs.uri + directory
        )

    def distcp(self, prefix: str, directory: str) -> Run:
        """One `hadoop distcp` of a prefix into a new HDFS directory, in its own process alone."""
        source = f"s3a://{BUCKET}/{prefix.rstrip('/')}"
        local = "-Dmapreduce.framework.name=local"
        return self._run("distcp", local, "-direct", source, self._servers.hdfs.uri + directory)

    def _run(self, *arguments: str) -> Run:
        environment = self._servers.environment(hdfs=True) | {
            "HADOOP_CONF_DIR": str(self._home / "conf")
        }
        return measured([str(self._home / "bin" / "hadoop"), *arguments], environment)


def find_hadoop_fs(servers: Servers) -> HadoopFs | None:
    """None where its jars cannot be had."""
    try:
        return HadoopFs(servers)
    except ServerUnavailable as exc:
        tell(f"without hadoop fs: {exc}")
        return None
