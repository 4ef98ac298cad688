"""What a file system in HDFS shows of each path, and what `hdfs dfs` makes of the same files.

Looked at by WebHDFS, which no part of Backhaul uses.
"""

from __future__ import annotations

import getpass
import json
import shlex
import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3

from backhaul.testing.servers import Hdfs
from backhaul.testing.servers.jars import jars, java

USER = "etl"  # is in no group that any directory belongs to

# `hdfs dfs` with one start of Java for many commands: each line is one, words quoted for a shell.
_SHELL = """
import java.nio.file.*;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.util.ToolRunner;
public class Shell {
  public static void main(String[] files) throws Exception {
    for (String line : Files.readAllLines(Path.of(files[0]))) {
      FsShell shell = new FsShell();
      shell.setConf(new HdfsConfiguration());
      int status = ToolRunner.run(shell, line.split("\\t"));
      shell.close();
      FileSystem.closeAll();  // its clients keep the settings that they were made with
      if (status != 0) { System.err.println("failed: " + line); System.exit(1); }
    }
  }
}
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that a path keeps besides its bytes, its name and its times."""

    kind: str
    owner: str
    group: str
    mode: str
    acl: tuple[str, ...]
    replication: int
    block_bytes: int
    storage_policy: int
    erasure_coding: str


class WebHdfs:
    """As the superuser, unless another user is named."""

    def __init__(self, hdfs: Hdfs) -> None:
        self._base = f"{hdfs.endpoint}/webhdfs/v1"

    def ask(self, method: str, path: str, op: str, **words: str) -> Any:
        asked = urllib.parse.urlencode({"op": op, "user.name": getpass.getuser(), **words})
        url = f"{self._base}{urllib.parse.quote(path)}?{asked}"
        answer = urllib3.request(method, url, timeout=60)
        assert answer.status == HTTPStatus.OK, f"{op} {path}: {answer.data!r}"
        return json.loads(answer.data or b"{}")

    def mkdir(self, path: str, *, owner: str = USER, group: str = USER, mode: str = "755") -> None:
        self.ask("PUT", path, "MKDIRS")
        self.ask("PUT", path, "SETOWNER", owner=owner, group=group)
        self.ask("PUT", path, "SETPERMISSION", permission=mode)

    def default_acl(self, path: str, *entries: str) -> None:
        spec = ",".join(f"default:{entry}" for entry in entries)
        self.ask("PUT", path, "MODIFYACLENTRIES", aclspec=spec)

    def storage_policy(self, path: str, name: str) -> None:
        self.ask("PUT", path, "SETSTORAGEPOLICY", storagepolicy=name)

    def erasure_coding(self, path: str, name: str) -> None:
        self.ask("PUT", path, "SETECPOLICY", ecpolicy=name)

    def shown(self, path: str) -> Shown:
        status = self.ask("GET", path, "GETFILESTATUS")["FileStatus"]
        acl = self.ask("GET", path, "GETACLSTATUS")["AclStatus"]
        return Shown(
            kind=status["type"],
            owner=status["owner"],
            group=status["group"],
            mode=status["permission"],
            acl=tuple(sorted(acl["entries"])),
            replication=status["replication"],
            block_bytes=status["blockSize"],
            storage_policy=status["storagePolicy"],
            erasure_coding=status.get("ecPolicy", ""),
        )

    def below(self, path: str) -> dict[str, Shown]:
        """Everything at and below a directory, by relative path."""
        found = {"": self.shown(path)}
        listed = self.ask("GET", path, "LISTSTATUS")["FileStatuses"]["FileStatus"]
        for one in listed:
            name = one["pathSuffix"]
            if one["type"] == "DIRECTORY":
                deeper = self.below(f"{path}/{name}")
                found |= {f"{name}/{key}".rstrip("/"): each for key, each in deeper.items()}
            else:
                found[name] = self.shown(f"{path}/{name}")
        return found


def hdfs_dfs(hdfs: Hdfs, scratch: Path, commands: Sequence[Sequence[str]]) -> None:
    """`hdfs dfs WORD...` for each, as `USER`, in one start of Java.

    Raises:
        AssertionError: One failed; with all that was printed.
    """
    source, script = scratch / "Shell.java", scratch / "commands"
    source.write_text(_SHELL)
    script.write_text("".join("\t".join(words) + "\n" for words in commands))
    class_path = f"{hdfs.conf_dir}:{jars('hdfs')}/*"
    done = subprocess.run(
        [str(java()), "-cp", class_path, str(source), str(script)],
        env={"HADOOP_USER_NAME": USER, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{shlex.join(done.args)}\n{done.stdout}\n{done.stderr}"


def configuration(hdfs: Hdfs, directory: Path, properties: Mapping[str, str]) -> Path:
    """A HADOOP_CONF_DIR for this cluster with these client settings and no others."""
    directory.mkdir(parents=True)
    own = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in properties.items()
    )
    core = f"<property><name>fs.defaultFS</name><value>{hdfs.uri}</value></property>"
    # Hadoop reads both files for both kinds.
    (directory / "core-site.xml").write_text(f"<configuration>{core}</configuration>")
    (directory / "hdfs-site.xml").write_text(f"<configuration>{own}</configuration>")
    return directory


def defined(properties: Mapping[str, str]) -> list[str]:
    """The same as options of `hdfs dfs`; the testbed's own replication is left out."""
    return [f"-D{name}={value}" for name, value in {"dfs.replication": "3", **properties}.items()]


def write_tree(directory: Path, files: Mapping[str, bytes]) -> Path:
    """A local tree, as `-put` takes it."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory
