"""Probes of the target and of S3 from processes started for that, at the agent's end.

A worker that hangs cannot report what it hangs on, so another process tries both sides (`probing`)
and is killed afterwards, whatever it does by then. Transfers that wait for the same two sides share
what a probe found of them: a dependency that is down is not probed by each of them. Whether a byte
can be written depends on the directory, so that is found out for each transfer's own staging.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.ports import Endpoint
from backhaul.engines.session import Worker, WorkerSession

WAIT_S = 20.0  # for a process that starts on a busy machine and then probes for `probing.PROBE_S`
FRESH_S = 3.0
ROOTS_MOST = 1000  # roots whose last result is kept; each is of use for `FRESH_S` only
OF_ONE_ROOT = "E_TARGET_NO_WRITE"


class ProbeWorker(Worker, Protocol):
    """What a probe needs of a process."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(kw_only=True)
class _Last:
    """The last probe of the same sides, or of one root on them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ended_s: float = float("-inf")
    found: Sequence[OutageError] = ()

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.ended_s <= FRESH_S

    def keep(self, found: Sequence[OutageError]) -> Sequence[OutageError]:
        self.found, self.ended_s = found, time.monotonic()
        return found


_Sides = tuple[str, str | None, str]


class Prober:
    """Safe to use from several threads.

    Args:
        start: Starts a worker process for this user.
    """

    def __init__(self, start: Callable[[str | None], ProbeWorker]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._last: dict[_Sides, _Last] = defaultdict(_Last)
        self._last_of_root: dict[tuple[_Sides, str | None], _Last] = defaultdict(_Last)
        self._running: set[ProbeWorker] = set()
        self._is_aborted = False

    def probe(
        self, filesystem: str, user: str | None, root: str | None, endpoint: Endpoint | None
    ) -> Sequence[OutageError]:
        """See `ports.TargetSession.probe`; takes `WAIT_S` at most, or as long as one that runs."""
        sides = (filesystem, user, endpoint.base_url if endpoint else "")
        with self._lock:
            if len(self._last_of_root) >= ROOTS_MOST:
                self._last_of_root.clear()
            of_all, own = self._last[sides], self._last_of_root[sides, root]
        with of_all.lock:
            if not of_all.is_fresh:
                found = own.keep(self._probe(filesystem, user, root, endpoint))
                of_all.keep([one for one in found if one.code != OF_ONE_ROOT])
                return found
            if of_all.found:
                return of_all.found
        with own.lock:  # both sides answer: what is left to find out is the write
            if not own.is_fresh:
                own.keep(self._probe(filesystem, user, root, endpoint))
            return own.found

    def abort(self) -> None:
        """Kill the probes that run, and start none any more."""
        with self._lock:
            self._is_aborted = True
            running = list(self._running)
        for worker in running:
            worker.kill()

    def _probe(
        self, filesystem: str, user: str | None, root: str | None, endpoint: Endpoint | None
    ) -> Sequence[OutageError]:
        worker = self._started(user)
        if worker is None:
            return ()
        session = WorkerSession(worker, filesystem, WAIT_S)
        try:
            return session.outages(root, endpoint)
        except OutageError as error:
            # Not even a client of the target could be made; or this process gave no answer.
            return () if session.fault else (error,)
        except BackhaulError:
            return ()
        finally:
            worker.kill()
            with self._lock:
                self._running.discard(worker)
            worker.close()

    def _started(self, user: str | None) -> ProbeWorker | None:
        with self._lock:
            if self._is_aborted:
                return None
            try:
                worker = self._start(user)
            except OSError:  # no process or descriptor left: then nothing is known
                return None
            self._running.add(worker)
            return worker
