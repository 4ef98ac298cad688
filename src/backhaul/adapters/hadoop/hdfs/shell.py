"""The node's `hdfs dfs`, else `hadoop fs`: one JVM for many paths, with Kerberos or without.

FsShell takes its arguments as globs, so every path is escaped.
Source: Apache Hadoop, FileSystem Shell and GlobPattern.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.kerberos import ticket

SILENCE_S = 60.0  # a JVM that prints nothing for this long is given up
_GLOB = re.compile(r"([\\*?\[\]{}^,])")


class FsShell:
    """Runs the file system shell on one HDFS.

    Args:
        program: `hdfs`, or `hadoop`.
    """

    def __init__(self, program: Path, cluster: HdfsCluster) -> None:
        self.name = program.name
        self._program = program
        self._cluster = cluster

    @classmethod
    def installed(cls, cluster: HdfsCluster) -> FsShell | None:
        """The node's; None where it has none."""
        program = find_program(os.environ)
        return cls(program, cluster) if program else None

    def uri(self, path: str) -> str:
        """A path as the command prints it."""
        return f"{self._cluster.filesystem}{path}"

    def run(self, options: Sequence[str], paths: Sequence[str]) -> tuple[list[str], int]:
        """Lines of both outputs, which warnings share, and the exit code.

        Raises:
            OSError: It cannot be started, or printed nothing for `SILENCE_S`.
            subprocess.SubprocessError: It closed its output and did not end.
        """
        word = "dfs" if self.name == "hdfs" else "fs"
        command = [str(self._program), word, *options, *(self.uri(escaped(p)) for p in paths)]
        # Java takes file names from its arguments by the locale; a daemon often has none.
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if self._cluster.conf_dir:
            environment["HADOOP_CONF_DIR"] = self._cluster.conf_dir
        with ticket(self._cluster.login) as variables:
            return _run(command, {**environment, **variables})


def escaped(path: str) -> str:
    """A path that FsShell's globbing leaves as it is."""
    return _GLOB.sub(r"\\\1", path)


def find_program(environment: Mapping[str, str]) -> Path | None:
    """The node's `hdfs`, else `hadoop`: in HADOOP_HOME/bin, else on PATH; None: not installed."""
    home = environment.get("HADOOP_HOME")
    where = [f"{home}/bin"] if home else []
    where.append(environment.get("PATH", os.defpath))
    for name in ("hdfs", "hadoop"):
        for path in where:
            if found := shutil.which(name, path=path):
                return Path(found)
    return None


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], int]:
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that the JVM below the shell script ends with it
    )
    try:
        lines = list(_lines(process))
        return lines, process.wait(SILENCE_S)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Lines as they come.

    Raises:
        TimeoutError: Nothing came for `SILENCE_S`.
    """
    stream = process.stdout
    assert stream is not None  # noqa: S101 - a pipe, by `Popen`
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(SILENCE_S):
                raise TimeoutError(f"it printed nothing for {SILENCE_S:.0f} s")
            data = os.read(stream.fileno(), 1 << 16)
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
            if not data:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return
