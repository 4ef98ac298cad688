"""The node's own `hadoop` and `yarn` as child processes: found, run without a shell, ended with us.

Hadoop finds its credentials itself: its configuration, its credential provider, its Kerberos
ticket. AWS's variables are not passed on: the maps on the cluster would not have them, so a client
that worked only with them would fail later.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from backhaul.core.errors import OutageError

_LAUNCHER = str(Path(__file__).with_name("die_with_parent.py"))
_WAIT_S = 1.0
_TAIL_BYTES = 64 * 1024
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_PROXY_USER = "HADOOP_PROXY_USER"  # set by a route's `run_as` alone, never by the shell
_KEPT_PREFIXES = ("HADOOP_", "YARN_", "MAPRED_", "HDFS_", "JAVA_", "KRB5")


def no_ticket() -> AbstractContextManager[Mapping[str, str]]:
    """No variables: the command finds its own ticket, or needs none."""
    return nullcontext({})


class Command:
    """One program of the Hadoop installation.

    Args:
        name: `hadoop` or `yarn`.
        configured: A path from the settings; else HADOOP_HOME/bin, else the PATH.
        conf_dir: For HADOOP_CONF_DIR.
        ticket: Makes a Kerberos ticket for one run, and yields the variables that point to it.
        variables: Further variables of the environment that Hadoop's files use, except AWS's own.
    """

    def __init__(
        self,
        name: str,
        configured: Path | None,
        conf_dir: Path | None,
        ticket: Callable[[], AbstractContextManager[Mapping[str, str]]] = no_ticket,
        *,
        variables: Collection[str] = (),
    ) -> None:
        self._variables = frozenset(name for name in variables if not name.startswith("AWS_"))
        self._ticket = ticket
        self._name = name
        self._configured = configured
        self._conf_dir = conf_dir

    @property
    def path(self) -> str | None:
        """Where it is; looked up at each use, as it may be installed meanwhile."""
        if self._configured is not None:
            return shutil.which(str(self._configured.expanduser()))
        if home := os.environ.get("HADOOP_HOME"):
            return shutil.which(f"{home}/bin/{self._name}")
        return shutil.which(self._name)

    def missing(self) -> OutageError | None:
        """Why it cannot be run; None when it is there."""
        if self.path is not None:
            return None
        where = self._configured or (
            f"{os.environ['HADOOP_HOME']}/bin/{self._name}"
            if os.environ.get("HADOOP_HOME")
            else f"{self._name} on the PATH"
        )
        return OutageError.of(
            "yarn",
            "E_HADOOP_MISSING",
            f"no program {where}",
            hint="install the Hadoop client, set HADOOP_HOME, or name it in [distcp] hadoop",
        )

    def run(self, arguments: tuple[str, ...], waiting: Callable[[], None]) -> tuple[int, str]:
        """Its exit code and the last 64 KiB of its output.

        Args:
            waiting: Called each second; when it raises, the command and its children are killed.

        Raises:
            OutageError: E_HADOOP_MISSING, E_HADOOP_COMMAND: it, or `kinit`, cannot be started.
        """
        path = self.path
        if path is None:
            raise self.missing() or AssertionError
        try:
            with self._ticket() as variables:
                return self._run([path, *arguments], variables, waiting)
        except subprocess.SubprocessError as exc:
            raise OutageError.of("yarn", "E_HADOOP_COMMAND", f"kinit: {exc}") from exc

    def _run(
        self, argv: list[str], variables: Mapping[str, str], waiting: Callable[[], None]
    ) -> tuple[int, str]:
        launcher = [sys.executable, "-I", "-S", _LAUNCHER]
        with tempfile.TemporaryFile() as output:
            try:
                child = subprocess.Popen(
                    [*launcher, str(os.getpid()), *argv],
                    env={**self._environment(), **variables},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as exc:
                raise OutageError.of(
                    "yarn", "E_HADOOP_COMMAND", f"{argv[0]} cannot be started: {exc.strerror}"
                ) from exc
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        code = child.wait(_WAIT_S)
                        break
                    waiting()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - _TAIL_BYTES))
            return code, output.read().decode("utf-8", "replace")

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if (name in self._variables or name in _KEPT or name.startswith(_KEPT_PREFIXES))
            and name != _PROXY_USER
        }
        if self._conf_dir is not None:
            kept["HADOOP_CONF_DIR"] = str(self._conf_dir)
        return kept
