"""YARN with DistCp: applications that go on after their submitter has died."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from backhaul.core.errors import OutageError, TransientError
from backhaul.core.ports.cluster import (
    Application,
    AppState,
    ClusterRules,
    CopyJob,
    JobCounters,
    JobProgress,
)
from backhaul.testing.fakes.clock import FakeClock
from backhaul.testing.fakes.faults import Faults
from backhaul.testing.fakes.store import FakeStore
from backhaul.testing.fakes.target import FakeTarget

LOOK_S = 5.0


@dataclass(kw_only=True)
class _Submitted:
    job: CopyJob
    application: Application
    looks: int = 0
    counted: JobCounters | None = None


class FakeCluster:
    """Implements `core.ports.cluster.Cluster`. Each look at an application advances it.

    Attributes:
        room: Looks after which an application gets its container; None: never.
        looks: Looks that it then runs for.
        outcome: How applications end.
        ignores_kill: Applications do not end when they are killed.
        missing: The answer of `obstacle`.
        has_history: Its history server answers.
        reports_wait: Whether it reports how long an application has waited.
        spoil: Called with the target and its directory when an application has written its files.
        jobs: Everything that was submitted, in order.
        stop: Set to let `pause` end as when the agent stops.
    """

    def __init__(
        self,
        clock: FakeClock,
        store: FakeStore,
        target: FakeTarget,
        *,
        faults: Faults | None = None,
        rules: ClusterRules | None = None,
    ) -> None:
        self.rules = rules or ClusterRules(poll_s=1.0, queue_timeout_s=60.0)
        self.room: int | None = 1
        self.looks = 1
        self.outcome = AppState.SUCCEEDED
        self.ignores_kill = False
        self.has_history = True
        self.reports_wait = True
        self.missing: OutageError | None = None
        self.spoil: Callable[[FakeTarget, str], None] = lambda _target, _path: None
        self.jobs: list[CopyJob] = []
        self.stop = threading.Event()
        self._clock = clock
        self._store = store
        self._target = target
        self._faults = faults or Faults()
        self._submitted: list[_Submitted] = []

    # ------------------------------------------------------------ as an administrator sees it

    @property
    def applications(self) -> list[Application]:
        """All of them, oldest first."""
        return [one.application for one in self._submitted]

    @property
    def running(self) -> list[Application]:
        """Those that are not over."""
        return [one for one in self.applications if not one.state.is_over]

    def forget(self) -> None:
        """As a ResourceManager that is restarted without recovery."""
        self._submitted.clear()

    # ------------------------------------------------------------ the port

    def obstacle(self) -> OutageError | None:
        return self.missing

    def check_reachable(self) -> None:
        with self._faults.call("cluster.check_reachable", _unanswered):
            return

    def find(self, tag: str) -> list[Application]:
        with self._faults.call("cluster.find", _unanswered):
            found = [one for one in self._submitted if tag in one.application.tags]
            for one in found:
                self._advance(one)
            return [one.application for one in found]

    def submit(self, job: CopyJob, waiting: Callable[[], None]) -> None:
        with self._faults.call("cluster.submit", _client_failed):
            waiting()
            self.jobs.append(job)
            number = len(self.jobs)
            application = Application(
                id=f"application_1_{number:04}", state=AppState.QUEUED, tags=frozenset(job.tags)
            )
            self._submitted.append(_Submitted(job=job, application=application))

    def kill(self, application_id: str) -> None:
        with self._faults.call("cluster.kill", _unanswered):
            for one in [] if self.ignores_kill else self._submitted:
                if one.application.id == application_id and not one.application.state.is_over:
                    one.application = replace(one.application, state=AppState.KILLED)

    def progress(self, application: Application) -> JobProgress | None:
        with self._faults.call("cluster.progress", _unanswered):
            return JobProgress(maps_done=0, maps=1, size_bytes=int(application.progress))

    def counters(self, application: Application) -> JobCounters | None:
        if not self.has_history:
            return None
        return next(one.counted for one in self._submitted if one.application.id == application.id)

    def pause(self, seconds: float) -> None:
        if self.stop.is_set():
            raise TransientError("E_STOPPED", "the agent is stopping")
        self._clock.advance(seconds)

    # ------------------------------------------------------------ what it does

    def _advance(self, one: _Submitted) -> None:
        if one.application.state.is_over:
            return
        one.looks += 1
        state = one.application.state
        waited_s = one.looks * LOOK_S if self.reports_wait else 0.0
        if self.room is not None and one.looks > self.room:
            state = AppState.RUNNING
        if self.room is not None and one.looks > self.room + self.looks:
            state = self.outcome
            one.counted = self._copy(one.job)
        one.application = replace(one.application, state=state, waited_s=waited_s)

    def _copy(self, job: CopyJob) -> JobCounters:
        """Copy the present objects, as S3A would list them; a failed job copies half of them."""
        prefix = job.source.key
        root = job.target.split("/", 3)[3]
        written = self._store.below(job.source.bucket, prefix)
        if job.keys is not None:
            written = {key: data for key, data in written.items() if key in job.keys}
        names = sorted(written)
        if self.outcome is not AppState.SUCCEEDED:
            names = names[: len(names) // 2]
        for key in names:
            is_flat = job.keys is not None or key == prefix
            relative = key.rsplit("/", 1)[-1] if is_flat else key[len(prefix) :]
            self._target.put(f"/{root}/{relative}", written[key], kept=job.checksum_type)
        self.spoil(self._target, f"/{root}")
        size_bytes = sum(len(written[key]) for key in names)
        return JobCounters(copied=len(names), skipped=0, failed=0, size_bytes=size_bytes)


def _unanswered(name: str) -> OutageError:
    return OutageError.of("yarn", "E_YARN_UNREACHABLE", f"{name} was not answered")


def _client_failed(name: str) -> TransientError:
    return TransientError("E_DISTCP_CLIENT", f"{name}: the client failed")
