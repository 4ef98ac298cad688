"""DistCp on YARN or this node: which engine carries a transfer, and the job that DistCp is given.

`engine_for` decides: `always_native` has what rules DistCp out whatever the load is, and `choose`
compares the load with `ClusterRules` in `core.ports.cluster`, where the default thresholds are.
Where YARN then gives no container, `ClusterAttempt.stage` switches to native, unless the route has
`when_queued = "retry"`.

What one attempt does with an application, from the listing to the proof of every file, is
`cluster.jobs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import Assignment, EngineName, Source
from backhaul.core.objects import PlannedObject
from backhaul.core.ports.cluster import TIB, Cluster, ClusterRules, CopyJob
from backhaul.core.text import printable, redacted

GIB = 1024**3


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


def always_native(job: Assignment, cluster: Cluster | None, obstacle: str | None) -> str | None:
    """Why it is the native engine whatever the load is; None when the load decides.

    Args:
        obstacle: Why DistCp cannot carry the plan.
    """
    if job.engine is EngineName.NATIVE:
        return "engine = native"
    if job.request.destination.scheme != "hdfs":
        return "the target is not HDFS"
    if job.run_as is not None:
        return f"the route acts for {job.run_as}, and YARN would know the agent alone"
    if obstacle is not None:
        return obstacle
    if job.engine is EngineName.AUTO:
        if cluster is None:
            return "no ResourceManager configured"
        if (missing := cluster.obstacle()) is not None:
            return missing.message
    return None


def engine_for(
    job: Assignment, cluster: Cluster | None, load: Load, obstacle: str | None
) -> Choice:
    """The engine for a complete plan.

    Raises:
        OutageError: `yarn`: the route has `engine = distcp`, and this node cannot submit.
    """
    if load.objects == 0:
        return Choice(engine=EngineName.NATIVE, reason="nothing is left to copy")
    reason = always_native(job, cluster, obstacle)
    if reason is not None:
        return Choice(engine=EngineName.NATIVE, reason=reason)
    if cluster is None:
        raise no_cluster()
    if (missing := cluster.obstacle()) is not None:
        raise missing
    return choose(job.engine, load, cluster.rules)


def no_cluster() -> BackhaulError:
    """The error where an application must be found and no ResourceManager is configured."""
    return OutageError.of(
        "yarn",
        "E_YARN_NONE",
        "no ResourceManager is configured: HADOOP_CONF_DIR has no yarn-site.xml with one",
        hint="point HADOOP_CONF_DIR at the cluster's configuration, or use engine = native",
    )


def choose(wanted: EngineName, load: Load, rules: ClusterRules) -> Choice:
    """The engine for this load, where both could carry it."""
    if wanted is not EngineName.AUTO:
        return Choice(engine=wanted, reason=f"engine = {wanted}")
    load_text = (
        f"{_size(load.size_bytes)} in {load.objects:,} objects, largest {_size(load.largest_bytes)}"
    )
    if load.size_bytes < rules.auto_min_bytes:
        return _native(f"{load_text}: below auto_min_bytes = {_size(rules.auto_min_bytes)}")
    if load.size_bytes < rules.auto_min_mean_bytes * load.objects:
        least = _size(rules.auto_min_mean_bytes)
        return _native(f"{load_text}: on average below auto_min_mean_bytes = {least}")
    # One object is one mapper's, by one stream: with far more than an even share it alone decides
    # how long the job takes, and here it is read by ranges.
    if load.largest_bytes * maps_for(load, rules) > 2 * load.size_bytes:
        return _native(f"{load_text}: one object is more than twice the share of one mapper")
    return Choice(
        engine=EngineName.DISTCP, reason=f"{load_text}: at least {_size(rules.auto_min_bytes)}"
    )


def may_be_for_cluster(wanted: EngineName, load: Load, rules: ClusterRules) -> bool:
    """False once no more listing can make `choose` return distcp: copying may start.

    A guess for `auto`, so that a long listing of small objects does not hold up the copy: a
    listing that has shown 10,000 objects below the mean is taken to go on like that.
    """
    if wanted is EngineName.DISTCP:
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


MAX_LISTED = 10_000  # each is a request to S3 by DistCp's one listing thread


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
    """The error in a Hadoop command's output where it has no Kerberos ticket; None: another one."""
    lines = (line.strip() for line in output.splitlines())
    found = next((line for line in lines if any(word in line for word in _NO_TICKET)), None)
    if found is None:
        return None
    return OutageError.of(
        "credentials",
        "E_HADOOP_KERBEROS",
        printable(redacted(found), 300),
        hint="Hadoop's commands want a ticket: kinit, or [kerberos] with a keytab and `kinit` on"
        " the PATH",
    )
