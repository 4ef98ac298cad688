"""The cluster's own engine as the core sees it: when it is chosen, and what its applications say.

Pure, and the port that `engines.distcp` implements. What one attempt does with an application,
from the listing to the proof of every file, is `cluster_stage`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backhaul.core.errors import OutageError
from backhaul.core.model import EngineName, PlannedObject, Source
from backhaul.core.text import printable, redacted

GIB = 1024**3
TIB = 1024**4


@dataclass(frozen=True, kw_only=True)
class ClusterRules:
    """When DistCp is chosen and how it is run; `docs/decisions` says why these defaults.

    Attributes:
        auto_min_bytes: `engine = auto` leaves less than this to this node.
        auto_min_mean_bytes: And objects that are smaller on average: each costs a map some 0.1 s.
        max_maps: Mappers of one job at most.
        bytes_per_map: One more mapper for each so many bytes.
        bandwidth_bytes: Bytes per second over all mappers of one job; None: DistCp's own cap.
        queue: YARN's queue; None: the user's default.
        queue_timeout_s: An application that waits this long for its first container is killed.
        poll_s: Between two looks at a running application.
    """

    auto_min_bytes: int = 2 * TIB
    auto_min_mean_bytes: int = 64 * 1024**2
    max_maps: int = 20
    bytes_per_map: int = 256 * 1024**2
    bandwidth_bytes: int | None = None
    queue: str | None = None
    queue_timeout_s: float = 900.0
    poll_s: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one attempt has to carry."""

    objects: int = 0
    size_bytes: int = 0
    largest_bytes: int = 0

    def plus(self, planned: PlannedObject) -> Load:
        """With one object more."""
        size = planned.pin.size_bytes
        return Load(
            objects=self.objects + 1,
            size_bytes=self.size_bytes + size,
            largest_bytes=max(self.largest_bytes, size),
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which engine, and why; kept in the ledger."""

    engine: EngineName
    reason: str


def choose(asked: EngineName, load: Load, rules: ClusterRules) -> Choice:
    """The engine for this load, where both could carry it."""
    if asked is not EngineName.AUTO:
        return Choice(engine=asked, reason=f"engine = {asked} is asked for")
    told = (
        f"{_size(load.size_bytes)} in {load.objects:,} objects, largest {_size(load.largest_bytes)}"
    )
    if load.size_bytes < rules.auto_min_bytes:
        return _native(f"{told}: below auto_min_bytes = {_size(rules.auto_min_bytes)}")
    if load.size_bytes < rules.auto_min_mean_bytes * load.objects:
        least = _size(rules.auto_min_mean_bytes)
        return _native(f"{told}: on average below auto_min_mean_bytes = {least}")
    # One object is one mapper's, by one stream: with far more than an even share it alone decides
    # how long the job takes, and here it is read by ranges.
    if load.largest_bytes * maps_for(load, rules) > 2 * load.size_bytes:
        return _native(f"{told}: one object is more than twice the share of one mapper")
    return Choice(
        engine=EngineName.DISTCP, reason=f"{told}: at least {_size(rules.auto_min_bytes)}"
    )


def may_be_for_cluster(asked: EngineName, load: Load, rules: ClusterRules) -> bool:
    """False once no more listing can make `choose` say distcp: copying may start.

    A guess for `auto`, so that a long listing of small objects does not hold up the copy: a
    listing that has shown 10,000 objects below the mean is taken to go on like that.
    """
    if asked is EngineName.DISTCP:
        return True
    is_small = load.size_bytes < rules.auto_min_mean_bytes * load.objects
    return not (load.objects >= LOOK_OBJECTS and is_small)


LOOK_OBJECTS = 10_000


def _native(reason: str) -> Choice:
    return Choice(engine=EngineName.NATIVE, reason=reason)


def cannot_carry(planned: PlannedObject, source: Source, *, is_object: bool) -> str | None:
    """Why DistCp cannot bring this object to its name; None when it can.

    S3A makes a path of the key and DistCp keeps it: a key with a colon breaks the listing of its
    whole directory, and a name that the plan changed would arrive unchanged.
    """
    key = planned.pin.key
    if ":" in key:
        return "a key has a colon, which breaks DistCp's listing"
    kept = key.rsplit("/", 1)[-1] if is_object else key[len(source.key) :]
    if kept != planned.relative:
        return "a name is mapped, and DistCp keeps keys as they are"
    return None


def maps_for(load: Load, rules: ClusterRules) -> int:
    """How many mappers: one for each so many bytes, never more than objects."""
    wanted = -(-load.size_bytes // rules.bytes_per_map)
    return max(1, min(wanted, rules.max_maps, load.objects))


def _size(size_bytes: int) -> str:
    for unit, size in (("TiB", TIB), ("GiB", GIB), ("MiB", 1024**2)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} B"


# ---------------------------------------------------------------- applications


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
    """From the ResourceManager's two words; a state it has not had so far counts as running."""
    if state == "FINISHED":
        return _FINAL.get(final_status, AppState.FAILED)
    return _STATES.get(state, AppState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Application:
    """One application as the ResourceManager tells of it.

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
        """Whether they tell of just these files, all copied."""
        return self == JobCounters(copied=objects, skipped=0, failed=0, size_bytes=size_bytes)


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """What the application's master tells while it runs.

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


MAX_LISTED = 10_000  # each is a question to S3 of DistCp's one listing thread


def copy_job(
    *,
    transfer_id: str,
    epoch: int,
    source: Source,
    keys: tuple[str, ...] | None,
    target: str,
    load: Load,
    rules: ClusterRules,
    checksum_type: str,
) -> CopyJob:
    """The job for this load."""
    maps = maps_for(load, rules)
    bandwidth = None
    if rules.bandwidth_bytes is not None:
        bandwidth = max(1, rules.bandwidth_bytes // maps // 1024**2)
    return CopyJob(
        tags=(transfer_tag(transfer_id), epoch_tag(transfer_id, epoch)),
        source=source,
        keys=keys,
        target=target,
        maps=maps,
        bandwidth_mb=bandwidth,
        # Chunks that free mappers take: worth their files only with several objects for each.
        is_dynamic=load.objects >= 4 * maps and maps > 1,
        list_threads=max(1, min(40, load.objects // 100)),
        checksum_type=checksum_type,
        queue=rules.queue,
    )


def transfer_tag(transfer_id: str) -> str:
    """On every application of a transfer; YARN keeps tags in lower case."""
    return f"bh-{transfer_id}".lower()


def epoch_tag(transfer_id: str, epoch: int) -> str:
    """On the one application of an epoch."""
    return f"bh-{transfer_id}-{epoch}".lower()


_NO_TICKET = (
    "Client cannot authenticate via",
    "GSSException",
    "LoginException",
    "KrbException",
)


def refused_login(output: str) -> OutageError | None:
    """What a Hadoop command says where it has no Kerberos ticket; None: it says something else."""
    lines = (line.strip() for line in output.splitlines())
    said = next((line for line in lines if any(word in line for word in _NO_TICKET)), None)
    if said is None:
        return None
    return OutageError.of(
        "credentials",
        "E_HADOOP_KERBEROS",
        printable(redacted(said), 300),
        hint="Hadoop's commands want a ticket: kinit, or [kerberos] with a keytab and `kinit` on"
        " the PATH",
    )


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
        """Raise unless YARN answers: a client would try for as long as Hadoop's settings say."""

    def find(self, tag: str) -> list[Application]:
        """Every application with this tag that the ResourceManager remembers."""

    def submit(self, job: CopyJob, waiting: Callable[[], None]) -> None:
        """Run the client until it has listed and submitted; look by tag for what came of it.

        Args:
            waiting: Called about every second while it lists.

        Raises:
            TransientError: E_DISTCP_CLIENT: it failed; it may have submitted all the same.
        """

    def kill(self, application_id: str) -> None:
        """End it; safe to repeat. Returns once it was asked for, not once it is over."""

    def progress(self, application: Application) -> JobProgress | None:
        """What its master tells; None while there is none that answers."""

    def counters(self, application: Application) -> JobCounters | None:
        """Of one that is over, from MapReduce's history server; None where none answers."""

    def pause(self, seconds: float) -> None:
        """Wait; ends with E_STOPPED when the agent stops."""
