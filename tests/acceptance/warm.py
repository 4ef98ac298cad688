"""`backhaul` started in a process that has imported all of it already.

Importing takes far more CPU than what most commands then do, and the acceptance tests start many
hundreds of commands and agents. So one process per test session imports everything, and forks for
each. What runs in the fork is `python -m backhaul`: with its own argv, environment, standard
streams, session, signals and exit code, to the interpreter's ordinary end. It is started in the
ordinary way where a fork would be different: with other settings of the interpreter, in another
directory, by another program.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Self

# The interpreter and the C library read these once, when they start.
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_")
_REQUEST_MAX_BYTES = 1 << 17
_STANDARD = 3  # stdin, stdout and stderr
_INT_BYTES = 4


class WarmProcess:
    """A command that was forked; the part of `subprocess.Popen` that tests use."""

    def __init__(self, argv: Sequence[str], answers: socket.socket) -> None:
        self._argv = list(argv)
        self._answers = answers
        self._one_waits = threading.RLock()
        self.returncode: int | None = None
        self.pid = self._number(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
            self.wait()

    def poll(self) -> int | None:
        """The exit code, as `Popen` has it; None while the process runs."""
        if not self._one_waits.acquire(blocking=False):
            return None  # another thread waits for it
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._one_waits.release()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code.

        Raises:
            TimeoutExpired: The process runs on.
        """
        with self._one_waits:
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(self._number(timeout))
                self._answers.close()
            return self.returncode

    def kill(self) -> None:
        """SIGKILL, unless it is over."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _number(self, timeout: float | None) -> int:
        self._answers.settimeout(timeout)
        try:
            answer = self._answers.recv(_INT_BYTES)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(self._argv, timeout or 0) from None
        assert answer, "the process that starts commands has ended"
        return int.from_bytes(answer, sys.byteorder)


Start = Callable[
    [Sequence[str], Mapping[str, str], IO[bytes], IO[bytes]],
    WarmProcess | subprocess.Popen[bytes],
]


class _Parent:
    """The process that has imported everything."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        self._control = ours
        self._directory = os.getcwd()  # noqa: PTH109 - as the kernel has it
        self._at_start = _at_start(os.environ)

    def suits(self, environment: Mapping[str, str]) -> bool:
        return os.getcwd() == self._directory and _at_start(environment) == self._at_start  # noqa: PTH109

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
    ) -> WarmProcess:
        request = json.dumps(
            {"argv": list(argv), "environment": dict(environment), "umask": _umask()}
        ).encode()
        assert len(request) < _REQUEST_MAX_BYTES
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its, open(os.devnull, "rb") as nothing:  # noqa: PTH123
            descriptors = [nothing.fileno(), out.fileno(), err.fileno(), its.fileno()]
            socket.send_fds(self._control, [request], descriptors)
        return WarmProcess(argv, ours)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


_parent: _Parent | None = None
_one_at_a_time = threading.Lock()


def start(
    argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
) -> WarmProcess | subprocess.Popen[bytes]:
    """`backhaul` with these arguments, in a session of its own, with nothing on standard input.

    Args:
        argv: As for `subprocess.Popen`: interpreter, `-m`, `backhaul`, arguments.
        environment: The whole of it.
        out: Takes standard output; a file, as nobody reads while the process runs.
        err: Takes standard error.
    """
    global _parent  # noqa: PLW0603 - one for all tests of this process
    if list(argv[:3]) == [sys.executable, "-m", "backhaul"]:
        with _one_at_a_time:
            if _parent is None:
                _parent = _Parent()
                atexit.register(_parent.close)
        if _parent.suits(environment):
            return _parent.start(argv, environment, out, err)
    return start_cold(argv, environment, out, err)


def start_cold(
    argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
) -> subprocess.Popen[bytes]:
    """The same in the ordinary way."""
    return subprocess.Popen(
        argv,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )


def _umask() -> int:
    """Of this process, which a child has, too."""
    now = os.umask(0o077)
    os.umask(now)
    return now


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(_AT_START)}


# ---------------------------------------------------------------- in the process that forks


def _import_everything() -> None:
    import backhaul

    for one in pkgutil.walk_packages(backhaul.__path__, "backhaul."):
        words = one.name.split(".")
        # Servers for tests and steps of Alembic are no part of a command.
        if "__main__" not in words and words[1] not in {"testing", "migrations"}:
            importlib.import_module(one.name)
    for name in ("alembic.command", "alembic.config"):
        importlib.import_module(name)
    assert threading.active_count() == 1, "a thread would not be in the forks"
    gc.freeze()  # so that a collection in a fork copies none of it


def _next_request(control: socket.socket) -> dict[str, Any]:
    """Returns in the fork that is to be the command; ends the process when nobody asks any more."""
    while True:
        text, descriptors, _, _ = socket.recv_fds(control, _REQUEST_MAX_BYTES, _STANDARD + 1)
        if not text:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return _watched(text, descriptors)
        for one in descriptors:
            os.close(one)


def _watched(text: bytes, descriptors: list[int]) -> dict[str, Any]:
    """This process waits for the command, and tells the test how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, answers = descriptors
    with socket.socket(fileno=answers) as told:
        child = os.fork()
        if child:
            told.send(child.to_bytes(_INT_BYTES, sys.byteorder))
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(BrokenPipeError):  # the test may be over
                told.send(status.to_bytes(_INT_BYTES, sys.byteorder))
            os._exit(0)
    for number, one in enumerate(standard):
        os.dup2(one, number)
        os.close(one)
    request: dict[str, Any] = json.loads(text)
    return request


def _become(argv: list[str], environment: dict[str, str], umask: int) -> None:
    os.setsid()
    os.umask(umask)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = argv[2:]


def _main() -> None:
    # Ctrl-C at a terminal is for the tests; and nobody waits here for the forks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as control:
        _import_everything()
        request = _next_request(control)
    _become(**request)
    runpy.run_module("backhaul", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
