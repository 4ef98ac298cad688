"""YARN, as the core sees it: applications, their progress, and the port to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backhaul.core.errors import OutageError
from backhaul.core.model import Source

TIB = 1024**4


@dataclass(frozen=True, kw_only=True)
class ClusterRules:
    """When DistCp is chosen and how it is run; `docs/decisions` explains the defaults.

    Attributes:
        auto_min_bytes: `engine = auto` leaves less than this to this node.
        auto_min_mean_bytes: And objects that are smaller on average: each costs a map some 0.1 s.
        max_maps: Mappers of one job at most.
        bytes_per_map: One more mapper for each so many bytes.
        bandwidth_bytes: Bytes per second over all mappers of one job; None: DistCp's own cap.
        queue: YARN's queue; None: the user's default.
        queue_timeout_s: An application that waits this long for its first container is killed.
        poll_s: Between two status requests for a running application.
    """

    auto_min_bytes: int = 2 * TIB
    auto_min_mean_bytes: int = 64 * 1024**2
    max_maps: int = 20
    bytes_per_map: int = 256 * 1024**2
    bandwidth_bytes: int | None = None
    queue: str | None = None
    queue_timeout_s: float = 900.0
    poll_s: float = 2.0


class AppState(StrEnum):
    """YARN's state and final status, as far as a transfer cares."""

    QUEUED = "queued"  # accepted; no container yet
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def is_over(self) -> bool:
        """Nothing of it runs any more."""
        return self in {AppState.SUCCEEDED, AppState.FAILED, AppState.KILLED}


_STATES = {
    **dict.fromkeys(("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED"), AppState.QUEUED),
    # Finishing: the master has gone, the containers may not have.
    **dict.fromkeys(("RUNNING", "FINAL_SAVING", "FINISHING", "KILLING"), AppState.RUNNING),
    "FAILED": AppState.FAILED,
    "KILLED": AppState.KILLED,
}
_FINAL = {"SUCCEEDED": AppState.SUCCEEDED, "KILLED": AppState.KILLED}


def app_state(state: str, final_status: str) -> AppState:
    """From the ResourceManager's state and final status; an unknown state counts as running."""
    if state == "FINISHED":
        return _FINAL.get(final_status, AppState.FAILED)
    return _STATES.get(state, AppState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Application:
    """One application as the ResourceManager reports it.

    Attributes:
        progress: 0 to 1.
        waited_s: Since it was submitted, by the ResourceManager's clock.
    """

    id: str
    state: AppState
    progress: float = 0.0
    waited_s: float = 0.0
    diagnostics: str = ""
    tracking_url: str = ""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class JobCounters:
    """What DistCp's mappers have counted: files copied, passed over, failed; bytes copied."""

    copied: int
    skipped: int
    failed: int
    size_bytes: int

    def __str__(self) -> str:
        """By DistCp's own names."""
        return (
            f"COPY {self.copied}, SKIP {self.skipped}, FAIL {self.failed},"
            f" BYTESCOPIED {self.size_bytes}"
        )

    def agree_with(self, objects: int, size_bytes: int) -> bool:
        """True when exactly these files were copied, and none skipped or failed."""
        return self == JobCounters(copied=objects, skipped=0, failed=0, size_bytes=size_bytes)


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """What the application's master reports while it runs.

    Attributes:
        objects: Files that its mappers have finished so far.
        counters: Once every map is done, so that they are final; None before.
    """

    maps_done: int
    maps: int
    size_bytes: int
    objects: int = 0
    counters: JobCounters | None = None


@dataclass(frozen=True, kw_only=True)
class CopyJob:
    """One `hadoop distcp`, complete.

    Attributes:
        tags: The transfer's, then the one of this epoch alone.
        source: Prefix (empty, or ending in `/`) or object.
        keys: Copy only these, all in one directory; None: everything at `source`.
        target: URI of an existing directory.
        checksum_type: HDFS's, `CRC32` or `CRC32C`, so that S3's own can be compared with it.
    """

    tags: tuple[str, str]
    source: Source
    keys: tuple[str, ...] | None
    target: str
    maps: int
    bandwidth_mb: int | None
    is_dynamic: bool
    list_threads: int
    checksum_type: str
    queue: str | None


class Cluster(Protocol):
    """YARN and the node's own `hadoop`.

    Raises (any method):
        OutageError: `yarn`: the ResourceManager or the command does not answer. Nothing is known.
        TransientError: E_STOPPED: the agent stops; applications go on.
    """

    rules: ClusterRules

    def obstacle(self) -> OutageError | None:
        """Why this node cannot submit at all; None when it can."""

    def check_reachable(self) -> None:
        """Raise unless YARN answers: a client would try for as long as Hadoop's settings allow."""

    def find(self, tag: str) -> list[Application]:
        """Every application with this tag that the ResourceManager remembers."""

    def submit(self, job: CopyJob, waiting: Callable[[], None]) -> None:
        """Run the client until it has listed and submitted; `find` by tag shows the outcome.

        Args:
            waiting: Called about every second while it lists.

        Raises:
            TransientError: E_DISTCP_CLIENT: it failed; it may have submitted all the same.
        """

    def kill(self, application_id: str) -> None:
        """Request its end; safe to repeat. Returns before the application is over."""

    def progress(self, application: Application) -> JobProgress | None:
        """What its master reports; None while there is none that answers."""

    def counters(self, application: Application) -> JobCounters | None:
        """Of one that is over, from MapReduce's history server; None where none answers."""

    def pause(self, seconds: float) -> None:
        """Wait; ends with E_STOPPED when the agent stops."""


class HadoopCommand(Protocol):
    """The node's own `hadoop` or `yarn` program."""

    def missing(self) -> OutageError | None:
        """Why it cannot be run; None when it is there."""

    def run(self, arguments: tuple[str, ...], waiting: Callable[[], None]) -> tuple[int, str]:
        """Exit code and the end of its output.

        Args:
            waiting: Called each second; the program is killed when it raises.
        """
