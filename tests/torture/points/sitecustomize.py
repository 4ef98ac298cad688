"""Fail points, put into the installed program from outside: nothing of this ships.

Python imports `sitecustomize` from PYTHONPATH in every process, so in the agent and in its workers.
Here it wraps the methods named in `METHODS` as their modules are loaded. `TORTURE_POINT` says
where to strike and how, such as `ledger.finish:after:1:kill`:

    kill    SIGKILL to this process
    stop    SIGSTOP to this process
    parent  SIGKILL to its parent: a worker's is the agent
    hang    this call never returns
    raise   an exception that nothing expects

`TORTURE_MARK` is a file that gets a line first, so that it strikes once and the torturer knows.

`TORTURE_CLOCK` is a file with the seconds that the clock is off, read at each look. It is the
agent's own clock, `SystemClock.now`: what signs requests for AWS keeps the right time.

`TORTURE_LEASE` is a factor for all times by which agents on one ledger judge each other dead.

`TORTURE_NODE` names the process's node: agents of other nodes cannot see by the kernel of this
machine that it is gone, as if each were on a host of its own.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.machinery
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_LEDGER = "backhaul.adapters.ledger.store:SqlLedger"
_QUEUE = "backhaul.adapters.aws.sqs:SqsQueue"
_SESSION = "backhaul.engines.session:WorkerSession"
_TARGET = "backhaul.adapters.hadoop.hdfs.target:HdfsTarget"
_WRITER = "backhaul.adapters.hadoop.hdfs.writer:HdfsWriter"

AGENT = {
    "queue.receive": f"{_QUEUE}.receive",
    "queue.delete": f"{_QUEUE}.delete",
    "queue.extend": f"{_QUEUE}.extend",
    "queue.send_dead_letter": f"{_QUEUE}.send_dead_letter",
    "ledger.begin": f"{_LEDGER}.begin",
    "ledger.claim": f"{_LEDGER}.claim",
    "ledger.record_staged": f"{_LEDGER}.record_staged",
    "ledger.intend": f"{_LEDGER}.intend",
    "ledger.finish": f"{_LEDGER}.finish",
    "ledger.fail": f"{_LEDGER}.fail",
    "session.fence": f"{_SESSION}.fence",
    "session.publish_tree": f"{_SESSION}.publish_tree",
    "session.publish_files": f"{_SESSION}.publish_files",
    "session.remove_staging": f"{_SESSION}.remove_staging",
}
WORKER = {
    "target.create": f"{_TARGET}.create",
    "target.mkdir": f"{_TARGET}.mkdir",
    "target.mkdirs": f"{_TARGET}.mkdirs",
    "target.stored_checksums": f"{_TARGET}.stored_checksums",
    "target.rename": f"{_TARGET}.rename",
    "target.remove": f"{_TARGET}.remove",
    "writer.write": f"{_WRITER}.write",
    "writer.close": f"{_WRITER}.close",
}
_LEASE = "backhaul.core.fleet.liveness:BEAT_S,DEAD_S,GAP_S,TRUST_S"
METHODS = {**AGENT, **WORKER}


class Point:
    """One place to strike at, in this process."""

    def __init__(self, text: str, mark: str) -> None:
        self.name, self._when, nth, self._action = text.split(":")
        self._left = int(nth)
        self._mark = mark
        self._lock = threading.Lock()

    def reached(self, when: str) -> None:
        if when != self._when:
            return
        with self._lock:
            self._left -= 1
            if self._left != 0:
                return
            try:
                # Exclusive: of several workers one is struck.
                handle = os.open(self._mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return
            os.write(handle, f"{os.getpid()}\n".encode())
            os.close(handle)
        self._strike()

    def _strike(self) -> None:
        match self._action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "parent":
                os.kill(os.getppid(), signal.SIGKILL)
            case "hang":
                threading.Event().wait()
            case "raise":
                raise ArithmeticError("told so")
            case other:
                raise ValueError(other)

    def wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def with_point(*arguments: Any, **named: Any) -> Any:
            self.reached("before")
            result = method(*arguments, **named)
            self.reached("after")
            return result

        return with_point


class Finder:
    """Loads one module as Python does, then wraps its method, or whatever else it has.

    Args:
        place: `module:Class.method`, or `module:name`; several of one module between commas.
    """

    def __init__(self, place: str, wrapped: Callable[[Any], Any]) -> None:
        self._wrapped = wrapped
        self._module, _, paths = place.partition(":")
        self._paths = paths.split(",")

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_wrap(module: ModuleType) -> None:
            load(module)
            for each in self._paths:
                owner, _, name = each.rpartition(".")
                holder = getattr(module, owner) if owner else module
                setattr(holder, name, self._wrapped(getattr(holder, name)))

        spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec


def stepping(now: Callable[..., Any]) -> Callable[..., Any]:
    """A clock that is off by what the file says."""

    @functools.wraps(now)
    def with_step(*arguments: Any) -> Any:
        with open(os.environ["TORTURE_CLOCK"], encoding="ascii") as told:  # noqa: PTH123 - early
            return now(*arguments) + dt.timedelta(seconds=float(told.read() or 0))

    return with_step


def shortened(seconds: float) -> float:
    """One of the times in `_LEASE`."""
    return seconds * float(os.environ["TORTURE_LEASE"])


def on_its_node(namespace: Callable[..., str]) -> Callable[..., str]:
    """Of process numbers, of this node alone."""
    return lambda: f"{namespace()}-{os.environ['TORTURE_NODE']}"


if "TORTURE_POINT" in os.environ:
    point = Point(os.environ["TORTURE_POINT"], os.environ["TORTURE_MARK"])
    sys.meta_path.insert(0, Finder(METHODS[point.name], point.wrapped))
if "TORTURE_CLOCK" in os.environ:
    sys.meta_path.insert(0, Finder("backhaul.adapters.system.clock:SystemClock.now", stepping))
if "TORTURE_LEASE" in os.environ:
    sys.meta_path.insert(0, Finder(_LEASE, shortened))
if "TORTURE_NODE" in os.environ:
    sys.meta_path.insert(
        0, Finder("backhaul.adapters.ledger.postgres.members.member:_namespace", on_its_node)
    )
