"""Runs a program of the configuration: no shell, bounded in time and output, no secret inherited.

Notifications and replies are handed to such programs. What an end means, and in which words, is
their callers'.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

# Of the environment, what every program needs.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_LOOK_S = 0.1
_END_S = 1.0
_TAIL_BYTES = 4096
_READ_BYTES = 65_536
_WORDS = 300  # characters of its output


@dataclass(frozen=True, kw_only=True)
class ProgramEnd:
    """How a program ended.

    Attributes:
        code: Its exit code, or the negative number of a signal; None: it was killed here.
        is_abandoned: It was killed because `abandon` wanted it, not for its time.
        last_words: The end of its output, on one line. Foreign text, which may hold secrets.
        tail: More of it, as it is: at most 4 KiB.
    """

    code: int | None
    is_abandoned: bool
    last_words: str
    tail: str = ""

    @property
    def how(self) -> str:
        """`ended with 3`, `was ended by SIGSEGV`."""
        if self.code is None:
            return "was killed"
        if self.code >= 0:
            return f"ended with {self.code}"
        try:
            return f"was ended by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"was ended by signal {-self.code}"


@dataclass(frozen=True, kw_only=True)
class ProgramUser:
    """Who a program runs as, with all groups of that user."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def named(cls, name: str) -> ProgramUser:
        """From the machine's users.

        Raises:
            KeyError: There is no such user.
        """
        found = pwd.getpwnam(name)
        return cls(name=name, uid=found.pw_uid, gid=found.pw_gid, home=found.pw_dir)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}


def run_program(
    command: Sequence[str],
    given: bytes,
    variables: Mapping[str, str],
    *,
    limit_s: float,
    abandon: Callable[[], bool] = lambda: False,
    user: ProgramUser | None = None,
    output: BinaryIO | None = None,
    output_most: int = _READ_BYTES,
) -> ProgramEnd:
    """Run it in `/`, as a process group of its own, which is killed when its time is over.

    Args:
        given: Its standard input.
        variables: Added to the few that it inherits.
        abandon: True: kill it now; queried every tenth of a second.
        user: None: this process's own. Another one needs the rights of root.
        output: A file that gets its standard output, so that its words are what it writes to its
            standard error alone.
        output_most: It is killed when it has written more bytes than these to it.

    Raises:
        OSError, ValueError: It cannot be started.
    """
    deadline_s = time.monotonic() + limit_s
    process = _started(command, given, variables, user, output)
    running = _RunningProgram(process)
    try:
        while not running.has_ended(_LOOK_S):
            is_abandoned = abandon()
            is_too_much = output is not None and os.fstat(output.fileno()).st_size > output_most
            if is_abandoned or is_too_much or time.monotonic() >= deadline_s:
                return running.end(None, is_abandoned=is_abandoned)
    finally:
        running.close()
    return running.end(process.returncode)


def _started(
    command: Sequence[str],
    given: bytes,
    variables: Mapping[str, str],
    user: ProgramUser | None,
    output: BinaryIO | None,
) -> subprocess.Popen[bytes]:
    """The process, with its input already complete: nothing here waits until it reads."""
    inherited = {name: value for name, value in os.environ.items() if name in _KEPT}
    other = user if user is not None and user.uid != os.geteuid() else None
    with open(os.memfd_create("input"), "w+b") as file:  # noqa: PTH123
        file.write(given)
        file.seek(0)
        return subprocess.Popen(
            tuple(command),
            stdin=file,
            stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.STDOUT if output is None else subprocess.PIPE,
            cwd="/",
            env={**inherited, **(other.environment if other else {}), **variables},
            start_new_session=True,
            user=other.uid if other else None,
            group=other.gid if other else None,
            extra_groups=os.getgrouplist(other.name, other.gid) if other else None,
        )


class _RunningProgram:
    """A process and the last bytes that it writes; it may write without end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._tail = b""
        self._selector = selectors.DefaultSelector()
        self._pipe = process.stdout or process.stderr
        if self._pipe is not None:
            os.set_blocking(self._pipe.fileno(), False)
            self._selector.register(self._pipe, selectors.EVENT_READ)

    def has_ended(self, wait_s: float) -> bool:
        """Read what is there, and look at the process; a child of it may keep the pipe open."""
        if not self._selector.get_map():  # it has closed its output and goes on
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        elif self._selector.select(wait_s):
            self._read()
        has_ended = self._process.poll() is not None
        if has_ended:
            self._read()
        return has_ended

    def close(self) -> None:
        """Kill its group, unless it has ended, and close the pipe."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # in a call that no signal ends
                self._process.wait(_END_S)
        self._selector.close()
        if self._pipe is not None:
            self._pipe.close()

    def end(self, code: int | None, *, is_abandoned: bool = False) -> ProgramEnd:
        """What is known of it by now."""
        tail = self._tail.decode("utf-8", "replace")
        words = " ".join(tail.split())[-_WORDS:]
        return ProgramEnd(code=code, is_abandoned=is_abandoned, last_words=words, tail=tail)

    def _read(self) -> None:
        if self._pipe is None or not self._selector.get_map():
            return
        with contextlib.suppress(BlockingIOError):
            found = os.read(self._pipe.fileno(), _READ_BYTES)
            self._tail = (self._tail + found)[-_TAIL_BYTES:]
            if not found:
                self._selector.unregister(self._pipe)
