"""One script through beeline or impala-shell: as a program with arguments, never through a shell.

The script is the program's standard input, so it is in no file and in no list of processes. Whether
it did what it was to do is known from its rows alone: beeline ends with 0 when it could not even
connect.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backhaul.adapters.hive.faults import fault
from backhaul.child_process import ProgramUser, run_program
from backhaul.core.errors import TransientError
from backhaul.core.replies.hiveql import HiveDialect
from backhaul.core.replies.secret_values import SecretValues, password_files
from backhaul.core.text import printable, redacted, shown

_BEELINE = ("--silent=true", "--showHeader=false", "--outputformat=tsv2", "-f", "/dev/stdin")
_IMPALA = ("-B", "--quiet", "-f", "-")
# What beeline, Hadoop and Java are configured by. AWS's variables are not passed on.
_INHERITED = ("BEELINE_", "HADOOP_", "HIVE_", "IMPALA_", "JAVA_", "KRB5")
_MOST_BYTES = 64 * 1024 * 1024  # of output; a hundred thousand partitions of Impala's are 20 MB
_LINE_MOST = 100_000  # characters


@dataclass(frozen=True, kw_only=True)
class WarehouseShell:
    """How the warehouse is reached.

    Attributes:
        command: Program and arguments, without any for output or script.
        limit_s: Of one script; the program and all that it starts are killed then.
        user: Who it runs as; None: the agent's own user.
    """

    command: tuple[str, ...]
    dialect: HiveDialect
    limit_s: float
    user: ProgramUser | None = None

    def run(self, statements: Sequence[str], where: str) -> list[str]:
        """Rows of all statements, a text each, columns with a tab between.

        Args:
            statements: Each ends in `;` and is one line.
            where: What it is about, for errors.

        Raises:
            TransientError, PermanentError: E_HIVE_PROGRAM, E_HIVE_TIMEOUT, or as `faults.fault`.
        """
        more = _IMPALA if self.dialect is HiveDialect.IMPALA else _BEELINE
        name = shown(self.command[0])
        # The first line is empty: a program that asks for a password gets that, and no statement.
        script = "\n" + "\n".join(statements) + "\n"
        with tempfile.TemporaryFile() as output:
            try:
                end = run_program(
                    [*self.command, *more],
                    script.encode("ascii"),
                    _variables(),
                    limit_s=self.limit_s,
                    user=self.user,
                    output=output,
                    output_most=_MOST_BYTES,
                )
            except (OSError, ValueError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                raise TransientError(
                    "E_HIVE_PROGRAM",
                    f"{name} cannot be started: {reason}",
                    hint="install it on this node, or write its path in [hive] command",
                ) from exc
            output.seek(0)
            if end.code is None:
                raise self._killed(where, self._secrets().hidden_in(end.tail))
            head = output.read(_LINE_MOST).decode("utf-8", "replace")
            if end.code != 0 or "Error: " in end.tail or "ERROR: " in end.tail:
                hidden_in = self._secrets().hidden_in
                words = f"{hidden_in(head[:1000])}\n{hidden_in(end.tail)}"
                raise fault(words, end.how, where, hidden_in)
            output.seek(0)
            return [line.decode("utf-8", "replace").rstrip("\r\n") for line in output]

    def _secrets(self) -> SecretValues:
        """What it was given, and may repeat."""
        found = SecretValues.of_program(self.command, _variables(), is_warehouse=True)
        return found.and_values(map(_first_line, password_files(self.command)))

    def _killed(self, where: str, words: str) -> TransientError:
        return TransientError(
            "E_HIVE_TIMEOUT",
            f"{where}: {shown(self.command[0])} was killed: it ran for {self.limit_s:g} s, or"
            f" printed more than {_MOST_BYTES // 1024**2} MiB"
            + (f": {printable(' '.join(redacted(words).split())[-200:])}" if words.strip() else ""),
            hint="run it by hand: it may wait for the server, or for someone to type; a slow"
            " server needs a longer timeout in [hive]",
        )


def _first_line(name: str) -> str:
    """Of a password file; empty where the program's user alone may read it."""
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            return file.readline().strip()
    except (OSError, ValueError, RuntimeError):
        return ""


def _variables() -> dict[str, str]:
    """With a locale of UTF-8: else Java prints `?` for most characters of a location."""
    inherited = {name: text for name, text in os.environ.items() if name.startswith(_INHERITED)}
    return {**inherited, "LC_ALL": "C.UTF-8"}
