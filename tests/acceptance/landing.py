"""Where data lands, looked at with clients of the tests' own: a local directory, or HDFS."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path, PurePosixPath

import hdfs_native

STAGING = ".backhaul"


class Landing(ABC):
    """The directory that a test's route allows.

    Attributes:
        uri: Without a slash at the end, as messages and routes name it.
    """

    uri: str

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Everything below it by relative path, staging included."""

    @abstractmethod
    def put(self, relative: str, data: bytes) -> None:
        """A file that was there before."""

    @abstractmethod
    def make_directory(self, relative: str) -> None:
        """An empty directory that was there before."""

    @abstractmethod
    def everything(self) -> list[str]:
        """Relative paths of all files and directories, staging included."""

    @abstractmethod
    def above(self) -> list[str]:
        """Staging directories above it: there it goes while the landing directory is absent."""

    def staging(self) -> list[str]:
        """What is left of staging."""
        below = [path for path in self.everything() if STAGING in path.split("/")]
        return below + self.above()


class LocalLanding(Landing):
    """`file://`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"file://{path}"

    def files(self) -> dict[str, bytes]:
        found = {}
        for name in self.everything():
            # An agent at work may rename or remove it meanwhile.
            with suppress(FileNotFoundError):
                if (self.path / name).is_file():
                    found[name] = (self.path / name).read_bytes()
        return found

    def everything(self) -> list[str]:
        # Unlike `rglob`, this goes on where a directory is removed meanwhile.
        return [
            str((Path(directory) / name).relative_to(self.path))
            for directory, directories, files in os.walk(self.path)
            for name in [*directories, *files]
        ]

    def above(self) -> list[str]:
        return [str(path) for path in self.path.parent.glob(f"{STAGING}/**/*")]

    def make_directory(self, relative: str) -> None:
        (self.path / relative).mkdir(parents=True)

    def put(self, relative: str, data: bytes) -> None:
        path = self.path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class HdfsLanding(Landing):
    """A directory in HDFS.

    Args:
        filesystem: `hdfs://host:port`.
        path: Absolute.
        is_named: Whether messages name the file system, or leave it to HADOOP_CONF_DIR.
        conf_dir: Where a name service is explained.
    """

    def __init__(
        self, filesystem: str, path: str, *, is_named: bool = True, conf_dir: Path | None = None
    ) -> None:
        self.path = path
        self.uri = f"{filesystem}{path}" if is_named else path
        self.client = hdfs_native.Client(
            filesystem, config_dir=None if conf_dir is None else str(conf_dir)
        )

    def _walk(self, path: str) -> list[hdfs_native.FileStatus]:
        found = []
        try:
            listed = list(self.client.list_status(path))
        except FileNotFoundError:
            return []
        for one in listed:
            found.append(one)
            if one.isdir:
                found += self._walk(one.path)
        return found

    def _relative(self, status: hdfs_native.FileStatus) -> str:
        return status.path.removeprefix(f"{self.path}/")

    def files(self) -> dict[str, bytes]:
        return {
            self._relative(one): self.read(one.path)
            for one in self._walk(self.path)
            if not one.isdir
        }

    def sizes(self) -> dict[str, int]:
        """Length of every file below it by relative path, staging included."""
        return {self._relative(one): one.length for one in self._walk(self.path) if not one.isdir}

    def make_directory(self, relative: str) -> None:
        self.client.mkdirs(f"{self.path}/{relative}", create_parent=True)

    def read(self, path: str) -> bytes:
        return bytes(self.client.read(path).read())

    def everything(self) -> list[str]:
        return [self._relative(one) for one in self._walk(self.path)]

    def above(self) -> list[str]:
        parents = [str(path) for path in PurePosixPath(self.path).parents]
        return [one.path for each in parents for one in self._walk(f"{each.rstrip('/')}/{STAGING}")]

    def put(self, relative: str, data: bytes) -> None:
        with self.client.create(f"{self.path}/{relative}", hdfs_native.WriteOptions()) as writer:
            writer.write(data)


def landing_on(hdfs_uri: str, name: str) -> HdfsLanding:
    """A landing directory of a test's own in HDFS."""
    return HdfsLanding(hdfs_uri, f"/landing/{name}", is_named=False)
